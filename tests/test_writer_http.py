"""Writers over real HTTP: as the body of httpx and aiohttp requests, as a server's answer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import anyio
import httpx
import pytest
from aiohttp import web

from mpflow import FormData, MultipartReader, MultipartWriter, WriteError
from mpflow.testing import Chunked
from tests.cli.service import BACKENDS, Service, running
from tests.support import only_asyncio

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 10_000


@pytest.fixture(scope="module", params=BACKENDS)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service"), request.param) as service:
        yield service


def form_of(folder: Path, *, stream: bool) -> FormData:
    path = folder / 'na"ïve 日本.bin'
    path.write_bytes(DATA)
    form = FormData({"user": "é 日本", "meta": "{}"})
    form.add("file", path)
    form.add("memory", b"x", filename="x.bin")
    if stream:
        form.add("stream", Chunked(DATA, 10_000), filename="stream.bin")
    return form


def check(reply: dict[str, list[dict[str, object]]], *, stream: bool) -> None:
    user, meta, *files = reply["parts"]
    assert (user["name"], user["value"]) == ("user", "é 日本")
    assert meta["name"] == "meta"
    assert [file["name"] for file in files] == ["file", "memory", "stream"][: 2 + stream]
    assert files[0]["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert files[-1]["size"] == (len(DATA) if stream else 1)


@pytest.mark.parametrize("stream", [False, True], ids=["sized", "chunked"])
async def test_the_content_of_httpx(service: Service, tmp_path: Path, stream: bool) -> None:
    form = form_of(tmp_path, stream=stream)
    async with httpx.AsyncClient(trust_env=False) as client:
        reply = await client.post(service.url, content=form, headers=form.headers)
    assert reply.status_code == 200, reply.text
    assert ("Content-Length" in reply.request.headers) is not stream
    assert ("Transfer-Encoding" in reply.request.headers) is stream
    check(reply.json(), stream=stream)


@only_asyncio
@pytest.mark.parametrize("stream", [False, True], ids=["sized", "chunked"])
async def test_the_data_of_aiohttp(service: Service, tmp_path: Path, stream: bool) -> None:
    form = form_of(tmp_path, stream=stream)
    async with (
        aiohttp.ClientSession() as session,
        session.post(service.url, data=form, headers=form.headers) as reply,
    ):
        assert reply.status == 200, await reply.text()
        assert ("Content-Length" in reply.request_info.headers) is not stream
        check(await reply.json(), stream=stream)


async def frames() -> AsyncIterator[tuple[bytes, dict[str, str]]]:
    for number in range(3):
        yield b"frame %d" % number, {"Content-Type": "image/jpeg"}


@only_asyncio
async def test_the_answer_of_aiohttp() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        root = MultipartWriter("x-mixed-replace", parts=frames())
        response = web.StreamResponse(headers=root.headers)
        await response.prepare(request)
        await root.write(response)
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/") as reply,
        ):
            reader = MultipartReader(reply.content, reply.headers["Content-Type"])
            assert [await part.read() async for part in reader] == [
                b"frame 0", b"frame 1", b"frame 2",
            ]  # fmt: skip
    finally:
        await runner.cleanup()


@only_asyncio
async def test_httpx_sends_it_again_after_a_redirect(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    async def first(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.Response(status=307, headers={"Location": "/again"})

    async def again(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.Response(text="done")

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/", first)
    app.router.add_post("/again", again)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        form = form_of(tmp_path, stream=False)
        async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as client:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            reply = await client.post(url, content=form, headers=form.headers)
        assert reply.text == "done"
        assert bodies == [await form.as_bytes()] * 2
    finally:
        await runner.cleanup()


async def test_httpx_cannot_send_a_named_pipe_again(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")

    class Redirecting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            assert isinstance(request.stream, httpx.AsyncByteStream)
            assert b"x" * 100 in b"".join([chunk async for chunk in request.stream])
            return httpx.Response(307, headers={"Location": "/again"})

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    form = FormData({"before": "y"})
    form.add("pipe", pipe)

    async def fill() -> None:
        with await anyio.to_thread.run_sync(pipe.open, "wb") as file:
            file.write(b"x" * 100)

    async with (
        httpx.AsyncClient(transport=Redirecting(), follow_redirects=True) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(fill)
        with pytest.raises(WriteError, match=r"got a named pipe, .*\(in part 1 'pipe'"):
            await client.post("http://x/", content=form, headers=form.headers)
