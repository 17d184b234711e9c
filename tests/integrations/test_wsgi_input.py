"""werkzeug's chunked bodies: what breaks off ends with an error, and no byte is made up.

Knows: werkzeug's server and its file of a chunked body. Must not know: how it is read.
"""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.serving import DechunkedInput, make_server

from mpflow import ClientDisconnected, Part, Router
from mpflow.integrations import wsgi
from mpflow.integrations.honest import honest
from mpflow.testing import PartSpec, body, content_type_of

PATIENCE = 30.0


@pytest.mark.parametrize(("method", "size"), [("read", 65536), ("read", -1), ("readline", -1)])
@pytest.mark.parametrize("came", [b"", b"yyyyyyyyyy"])
def test_a_chunk_that_breaks_off(method: str, size: int, came: bytes) -> None:
    file = honest(DechunkedInput(io.BytesIO(b"30000\r\n" + came)))
    with pytest.raises(OSError, match="expected more of the body"):
        getattr(file, method)(size)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, -1])
def test_chunks_that_are_whole(size: int) -> None:
    file = honest(DechunkedInput(io.BytesIO(b"3\r\na\nb\r\n5\r\nc\nd\ne\r\n0\r\n\r\nnext")))
    assert b"".join(iter(lambda: file.read(size), b"")) == b"a\nbc\nd\ne"


def test_other_files_are_left_alone() -> None:
    for file in (io.BytesIO(), io.BufferedReader(io.BytesIO()), None):
        assert honest(file) is file


@pytest.fixture(params=[True, False])
def failures(request: pytest.FixtureRequest) -> Iterator[tuple[int, bytearray, list[Exception]]]:
    """A server's port, what its handler was given, and what its dispatch raised."""
    given = bytearray()
    raised: list[Exception] = []
    router = Router()

    @router.route()
    async def gather(part: Part) -> None:
        async for chunk in part:
            given.extend(chunk)

    def app(environ: Any, start_response: Any) -> Any:
        try:
            wsgi.dispatch(router, environ)
        except Exception as error:
            raised.append(error)
            return wsgi.respond(error, start_response)
        start_response("204 No Content", [])
        return []

    server = make_server(
        "127.0.0.1", 0, wsgi.Lingering(app) if request.param else app, threaded=True
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port, given, raised
    server.shutdown()
    thread.join(PATIENCE)
    server.server_close()


def test_an_upload_that_breaks_off_in_a_chunk(
    failures: tuple[int, bytearray, list[Exception]],
) -> None:
    port, given, raised = failures
    data = body([PartSpec(b"y" * 4000, name="a")])[:4010]
    head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type_of()}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n30000\r\n".encode() + data)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert [type(error) for error in raised] == [ClientDisconnected]
    assert given == b"y" * len(given)
