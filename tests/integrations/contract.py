"""What every framework does with an upload, over a real server and with a real client.

Knows: what is uploaded, and what must come of it. Must not know: any framework.

A module says how its framework serves a `Demo` (`make_app`), and gets the tests of `Contract`.
They run under uvicorn on asyncio, and under hypercorn on trio.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs
import httpx
import pytest
import uvicorn
from aiohttp import web
from anyio.abc import SocketStream
from trio.lowlevel import in_trio_run

from mpflow import Limits, Part, Rejected, Router
from mpflow.reports import FlowFinished, PartStarted, Report
from mpflow.testing import Chunked, PartSpec, body, content_type_of
from mpflow_handlers import Save, Saved, Text
from tests.http import serving as serving_with_hypercorn

__all__ = ["Contract", "Demo", "Upload", "client_of", "form", "problem", "serving", "twice"]

PHOTO = bytes(range(256)) * 300
MOST = 1_000_000


@attrs.frozen
class Upload:
    """What the endpoint gets."""

    title: str
    photo: Saved
    odd: str | None = None

    def told(self) -> dict[str, object]:
        """What the endpoint answers before the commit: the file has no path yet."""
        return {"title": self.title, "size": self.photo.size, "name": self.photo.name}


@asynccontextmanager
async def odd(part: Part) -> AsyncGenerator[str]:
    """Its commit fails."""
    yield await part.text()
    raise OSError("the secret of the database")


class Demo:
    """A router that saves a photo, and what a test wants to know of it.

    At `/typed` the upload is dispatched into an `Upload`, which the answer tells as JSON; at
    `/flow` the same in two steps, where the endpoint fails inside of the block if the title is
    `fail` (`check`). `given` is what both give.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Report] = []
        self.started = anyio.Event()
        self.ended = anyio.Event()
        self.router = Router(limits=Limits(max_total_bytes=MOST), observer=self._observe)
        self.router.add(Text(), name="title")
        self.router.add(Save(folder, name=lambda info: info.safe_filename), name="photo")
        self.router.add(odd, name="odd")

        @self.router.before
        async def authorize(headers: Mapping[str, str]) -> None:
            if headers.get("Authorization") == "Bearer bad":
                raise Rejected(401, "who are you", {"WWW-Authenticate": "Bearer"})

    def _observe(self, report: Report) -> None:
        self.events.append(report)
        if isinstance(report, PartStarted) and report.part.name == "photo":
            self.started.set()
        elif isinstance(report, FlowFinished):
            self.ended.set()

    def check(self, title: str) -> None:
        if title == "fail":
            raise RuntimeError("the secret of the endpoint")

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@asynccontextmanager
async def serving_with_uvicorn(app: Any) -> AsyncGenerator[int]:
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="auto")
    server, started, ended = uvicorn.Server(config), anyio.Event(), anyio.Event()
    startup = server.startup

    async def start(sockets: Any = None) -> None:
        await startup(sockets)
        started.set()

    async def run() -> None:
        await server.serve()
        ended.set()

    server.startup = start  # type: ignore[method-assign]  # it tells nobody
    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await started.wait()
        try:
            yield server.servers[0].sockets[0].getsockname()[1]
        finally:
            server.should_exit = True
            with anyio.CancelScope(shield=True):
                await ended.wait()


@asynccontextmanager
async def serving_with_aiohttp(app: web.Application) -> AsyncGenerator[int]:
    runner = web.AppRunner(app, lingering_time=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(app: Any) -> AsyncGenerator[str]:
    """The address of an application under hypercorn on trio, under uvicorn on asyncio.

    Those of aiohttp have a server of their own.
    """
    serve = serving_with_hypercorn if in_trio_run() else serving_with_uvicorn
    if isinstance(app, web.Application):
        serve = serving_with_aiohttp
    async with serve(app) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def client_of(app: Any) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of an application that is served."""
    async with (
        serving(app) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client,
    ):
        yield client


class Content(httpx.AsyncByteStream):
    """A body without a generator: httpx leaves those it made behind where an answer comes early."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return Chunked(self._data, 50_000)


async def send(
    client: httpx.AsyncClient, path: str, data: bytes, headers: Mapping[str, str]
) -> httpx.Response:
    headers = {"Content-Type": content_type_of(), "Host": "x", **headers}
    url = client.base_url.join(path)
    return await client.send(httpx.Request("POST", url, headers=headers, stream=Content(data)))


def form(title: str | None = "At sea", *more: Any, photo: bytes = PHOTO) -> bytes:
    first = [] if title is None else [("title", title)]
    return body([*first, PartSpec(photo, name="photo", filename='na"ïve 日本.jpg'), *more])


async def twice(dispatch: Any, request: Any, demo: Demo) -> dict[str, object]:
    """What an endpoint does that dispatches once more what a first dispatch has left."""
    failing = Router()

    @failing.route()
    async def fail(part: Part) -> None:
        raise ConnectionError("the database blinked")

    with suppress(ConnectionError):
        await dispatch(request, failing)
    told: dict[str, object] = (await dispatch(request, demo.router, into=Upload)).told()
    return told


class Contract:
    """The tests, for what `make_app` gives."""

    disconnect = "ClientDisconnected"
    """The error of a client that goes away."""

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def demo(self, tmp_path: Path) -> Demo:
        return Demo(tmp_path)

    def make_app(self, demo: Demo) -> Any:
        raise NotImplementedError

    def client(self, demo: Demo) -> Any:
        return client_of(self.make_app(demo))

    async def post(
        self, client: httpx.AsyncClient, path: str, content: bytes, **headers: str
    ) -> httpx.Response:
        length = {"Content-Length": str(len(content))}
        return await send(client, path, content, {**length, **headers})

    async def expect_read_before(self, app: Any, demo: Demo, *paths: str) -> None:
        """At these paths the application reads before it dispatches."""
        async with client_of(app) as client:
            for path in paths:
                with anyio.fail_after(20):
                    reply = await self.post(client, path, form())
                assert (reply.status_code, problem(reply)["error"]) == (500, "RouteError"), path
        assert demo.files() == []

    @pytest.mark.parametrize("path", ["/typed", "/flow"])
    async def test_an_upload(self, demo: Demo, path: str) -> None:
        async with self.client(demo) as client:
            reply = await self.post(client, path, form())
        assert reply.status_code == 200, reply.text
        name = "na_ïve 日本.jpg"
        assert reply.json() == {"title": "At sea", "size": len(PHOTO), "name": name}
        assert demo.files() == [name]
        assert (demo.folder / name).read_bytes() == PHOTO

    @pytest.mark.parametrize("path", ["/typed", "/flow"])
    async def test_a_part_that_is_missing(self, demo: Demo, path: str) -> None:
        async with self.client(demo) as client:
            reply = await self.post(client, path, form(None))
        assert (reply.status_code, problem(reply)["missing"]) == (422, ["title"])
        assert demo.files() == []

    async def test_a_part_that_no_route_takes(self, demo: Demo) -> None:
        async with self.client(demo) as client:
            reply = await self.post(client, "/typed", form("x", ("other", "y")))
        assert reply.status_code == 422
        assert problem(reply)["part"] == {"path": [2], "name": "other"}
        assert demo.files() == []

    async def test_a_refusal_by_the_headers(self, demo: Demo) -> None:
        async with self.client(demo) as client:
            reply = await self.post(client, "/typed", form(), Authorization="Bearer bad")
            assert (reply.status_code, problem(reply)["detail"]) == (401, "who are you")
            assert reply.headers["WWW-Authenticate"] == "Bearer"
            reply = await client.post("/flow", content=b"{}")
            assert (reply.status_code, problem(reply)["error"]) == (415, "NotMultipart")
            reply = await self.post(client, "/typed", form(photo=bytes(2 * MOST)))
            assert (reply.status_code, problem(reply)["limit"]) == (413, "max_total_bytes")
        assert not demo.started.is_set()

    async def test_a_body_that_turns_out_too_large(self, demo: Demo) -> None:
        """The answer comes early; httpx reads while it writes, and the server must not reset."""

        async with self.client(demo) as client:
            chunked = {"Transfer-Encoding": "chunked"}
            reply = await send(client, "/typed", form(photo=bytes(MOST)), chunked)
        assert (reply.status_code, problem(reply)["limit"]) == (413, "max_total_bytes")
        assert demo.started.is_set()
        assert demo.files() == []

    async def test_an_early_answer_to_a_client_that_writes_first(self, demo: Demo) -> None:
        """Python's own reads nothing before it has written all."""

        def upload(address: str) -> tuple[int, bytes]:
            connection = HTTPConnection(address, timeout=30)
            with closing(connection):
                headers = {"Content-Type": content_type_of()}
                connection.request("POST", "/typed", form(photo=bytes(8 * MOST)), headers)
                response = connection.getresponse()
                return response.status, response.read()

        async with serving(self.make_app(demo)) as url:
            address = url.removeprefix("http://")
            status, told = await anyio.to_thread.run_sync(upload, address)
        assert (status, json.loads(told)["limit"]) == (413, "max_total_bytes")

    @pytest.mark.parametrize("path", ["/typed", "/flow"])
    async def test_a_commit_that_fails(
        self, demo: Demo, path: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        # The odd part comes first: nothing of the photo is published after it has failed.
        first = ("odd", "x")
        content = body([first, ("title", "x"), PartSpec(PHOTO, name="photo", filename="a")])
        async with self.client(demo) as client:
            reply = await self.post(client, path, content)
        assert (reply.status_code, problem(reply)["error"]) == (500, "CommitFailed")
        assert "secret" not in reply.text
        assert any(r.name == "mpflow.integrations" for r in caplog.records)
        assert demo.files() == []

    async def test_an_endpoint_that_fails(self, demo: Demo) -> None:
        async with self.client(demo) as client:
            reply = await self.post(client, "/flow", form("fail"))
        assert reply.status_code == 500
        assert "secret" not in reply.text
        assert demo.files() == []

    @pytest.mark.parametrize("framing", ["Content-Length: 77000", "Transfer-Encoding: chunked"])
    @pytest.mark.parametrize("path", ["/typed", "/flow"])
    async def test_a_client_that_goes_away(self, demo: Demo, path: str, framing: str) -> None:
        async with serving(self.make_app(demo)) as url:
            port = int(url.rpartition(":")[2])
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await self.begin(stream, path, framing)
                with anyio.fail_after(20):
                    await demo.started.wait()
            with anyio.fail_after(20):
                await demo.ended.wait()
        (end,) = (report for report in demo.events if isinstance(report, FlowFinished))
        assert end.outcome != "committed"
        assert type(end.error).__name__ == self.disconnect
        assert demo.files() == []

    async def begin(self, stream: SocketStream, path: str, framing: str) -> None:
        data = form()[:50_000]
        if framing.endswith("chunked"):
            data = b"%x\r\n%b\r\n" % (len(data), data)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type_of()}\r\n"
        await stream.send(f"{head}{framing}\r\n\r\n".encode() + data)

    async def test_nothing_is_asked_for_that_is_refused(self, demo: Demo) -> None:
        """RFC 9110, 10.1.1: "a client that will wait for a 100 (Continue) response"."""
        if in_trio_run():
            return  # hypercorn asks by itself
        head = (
            "POST /typed HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n"
            f"Content-Type: {content_type_of()}\r\nExpect: 100-continue\r\n\r\n"
        )
        async with serving(self.make_app(demo)) as url:
            port = int(url.rpartition(":")[2])
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(head.encode())
                with anyio.fail_after(20):
                    answer = await stream.receive()
        assert answer.startswith(b"HTTP/1.1 413 "), answer

    async def test_what_is_expected_is_asked_for(self, demo: Demo) -> None:
        data = form()
        head = (
            f"POST /typed HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
            f"Content-Type: {content_type_of()}\r\nExpect: 100-continue\r\n\r\n"
        )
        async with serving(self.make_app(demo)) as url:
            port = int(url.rpartition(":")[2])
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(head.encode())
                with anyio.fail_after(20):
                    assert (await stream.receive()).startswith(b"HTTP/1.1 100 ")
                    await stream.send(data)
                    assert (await stream.receive()).startswith(b"HTTP/1.1 200 ")


def problem(reply: httpx.Response) -> dict[str, Any]:
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    assert reply.headers.get_list("x-content-type-options") == ["nosniff"]
    document: dict[str, Any] = reply.json()
    assert document["status"] == reply.status_code
    return document
