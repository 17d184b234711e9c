"""Responses of httpx over real connections, whose length is not told beforehand."""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import httpx
import pytest

from mpflow import MultipartReader, Part, Router

pytestmark = pytest.mark.anyio

BODY = b"--b\r\n\r\nhello\r\n--b--\r\n"


@contextmanager
def server(
    rest: list[bytes], go_on: threading.Event | None = None
) -> Generator[tuple[str, set[int]], None, None]:
    """Answers with `BODY` in one chunk, then with each of `rest`; who has called, by its port."""
    ports: set[int] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            ports.add(self.client_address[1])
            self.send_response(200)
            self.send_header("Content-Type", "multipart/mixed; boundary=b")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(BODY), BODY))
            try:
                for data in rest:
                    self.wfile.write(data)
                if go_on is not None:
                    go_on.wait(60)
            except OSError:
                pass  # the client has gone
            self.close_connection = go_on is not None

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{service.server_port}/", ports
        finally:
            if go_on is not None:
                go_on.set()
            service.shutdown()
            thread.join()


@pytest.mark.parametrize("read", ["iterate", "dispatch"])
async def test_its_connection_is_used_again(read: str) -> None:
    router = Router()

    @router.route(key="all")
    async def take(part: Part) -> bytes:
        return await part.read()

    with server([b"0\r\n\r\n"]) as (url, ports):
        async with httpx.AsyncClient() as client:
            for _ in range(5):
                async with (
                    client.stream("GET", url) as response,
                    MultipartReader.from_message(response) as reader,
                ):
                    if read == "iterate":
                        assert [await part.read() async for part in reader] == [b"hello"]
                    else:
                        await router.dispatch(reader)
    gc.collect()  # trio warns of generators that were left
    assert len(ports) == 1


# On trio httpx's own generators warn where a response is left before its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("rest", [[], [b"ffff\r\n" + bytes(65535) + b"\r\n"] * 64])
async def test_one_without_end_is_left(rest: list[bytes]) -> None:
    go_on = threading.Event()
    with server(rest, go_on) as (url, _), anyio.fail_after(30):
        async with httpx.AsyncClient(timeout=60) as client, client.stream("GET", url) as response:
            async with MultipartReader.from_message(response) as reader:
                assert [await part.read() async for part in reader] == [b"hello"]
            assert response.num_bytes_downloaded < 1_000_000
    gc.collect()
