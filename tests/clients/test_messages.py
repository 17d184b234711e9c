"""`from_message` with the real requests and responses of frameworks and clients, over HTTP."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest

from mpflow import (
    ClientDisconnected,
    MultipartReader,
    NotMultipart,
    TruncatedBody,
    UnsupportedCoding,
)
from mpflow.wire.codings import Encoding, find_coding
from tests.http import answering, serving
from tests.support import BODY, TYPE, only_asyncio

pytestmark = [pytest.mark.clients, pytest.mark.anyio]

LARGE = BODY.replace(b"two", b"two" * 100_000)
HEADERS = {"Content-Type": TYPE}
Seen = list[Any]


async def take(message: object, seen: Seen) -> None:
    """Note what comes of a message: the sizes of its parts, or what was raised."""
    try:
        async with MultipartReader.from_message(message) as reader:
            seen.append([len(await part.read()) async for part in reader])
    except Exception as error:
        seen.append(type(error))


# -- frameworks -------------------------------------------------------------------------------


def starlette(seen: Seen) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def upload(request: Request) -> Response:
        await take(request, seen)
        return Response()

    return Starlette(routes=[Route("/", upload, methods=["POST"])])


def fastapi(seen: Seen) -> Any:
    from fastapi import FastAPI, Request

    app = FastAPI()

    async def upload(request: Any) -> None:
        await take(request, seen)

    upload.__annotations__ = {"request": Request}
    app.post("/")(upload)
    return app


def litestar(seen: Seen) -> Any:
    from litestar import Litestar, Request, post

    async def upload(request: Any) -> None:
        await take(request, seen)

    upload.__annotations__ = {"request": Request, "return": None}
    return Litestar([post("/")(upload)], request_max_body_size=None)


def falcon(seen: Seen) -> Any:
    from falcon.asgi import App

    class Upload:
        async def on_post(self, req: Any, resp: Any) -> None:
            await take(req, seen)

    app = App()
    app.add_route("/", Upload())
    return app


def blacksheep(seen: Seen) -> Any:
    from blacksheep import Application, Request, Response, Router

    app = Application(router=Router())

    async def upload(request: Any) -> Response:
        await take(request, seen)
        return Response(200)

    upload.__annotations__ = {"request": Request, "return": Response}
    app.router.add_post("/", upload)
    return app


FRAMEWORKS = [starlette, fastapi, litestar, falcon, blacksheep]


@only_asyncio
@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda made: made.__name__)
async def test_requests(framework: Callable[[Seen], Any]) -> None:
    seen: Seen = []
    async with serving(framework(seen)) as port, httpx.AsyncClient() as client:
        response = await client.post(f"http://127.0.0.1:{port}/", content=LARGE, headers=HEADERS)
        assert response.status_code < 300
        assert seen == [[3, 300_000]]


@only_asyncio
@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda made: made.__name__)
async def test_requests_in_a_coding(framework: Callable[[Seen], Any]) -> None:
    """None of the frameworks undoes it: refused before a byte is taken for a delimiter."""
    seen: Seen = []
    async with serving(framework(seen)) as port, httpx.AsyncClient() as client:
        for more in ({"Content-Encoding": "gzip"}, {"Content-Type": "text/plain"}):
            headers = HEADERS | more
            await client.post(f"http://127.0.0.1:{port}/", content=coded("gzip"), headers=headers)
    assert seen == [UnsupportedCoding, NotMultipart]
    gc.collect()  # a stream that was made and never read would warn


@only_asyncio
@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda made: made.__name__)
async def test_clients_that_go_away(framework: Callable[[Seen], Any]) -> None:
    seen: Seen = []
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {TYPE}\r\nContent-Length: {len(LARGE)}\r\n"
    async with serving(framework(seen)) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(head.encode() + b"\r\n" + LARGE[:1000])
        with anyio.fail_after(10):
            while not seen:
                await anyio.wait_all_tasks_blocked()
    # Falcon's stream ends as if all were well.
    assert seen == [TruncatedBody if framework is falcon else ClientDisconnected]


# -- clients ----------------------------------------------------------------------------------


async def with_httpx2(url: str, seen: Seen) -> None:
    import httpx2

    async with httpx2.AsyncClient() as client, client.stream("GET", url) as response:
        await take(response, seen)


async def with_niquests(url: str, seen: Seen) -> None:
    import niquests

    async with niquests.AsyncSession() as session:
        response = await session.get(url, stream=True)
        await take(response, seen)
        await response.close()


def coded(*codings: str) -> bytes:
    data = LARGE
    for coding in codings:
        encoding = Encoding([find_coding("content", coding)])
        data = encoding.encode(data) + encoding.finish()
    return data


CODED = [
    pytest.param({}, LARGE, id="plain"),
    *(
        pytest.param({"Content-Encoding": ", ".join(it)}, coded(*it), id="+".join(it))
        for it in [
            ("gzip",), ("x-gzip",), ("deflate",), ("br",), ("zstd",), ("gzip", "br"),
            ("gzip", "gzip"),
        ]
    ),
]  # fmt: skip


@pytest.mark.parametrize(("more", "sent"), CODED)
async def test_httpx2(more: dict[str, str], sent: bytes) -> None:
    await check(with_httpx2, more, sent)


@only_asyncio
@pytest.mark.parametrize(("more", "sent"), CODED)
async def test_niquests(more: dict[str, str], sent: bytes) -> None:
    await check(with_niquests, more, sent)


async def check(
    get: Callable[[str, Seen], Awaitable[None]], more: dict[str, str], sent: bytes
) -> None:
    seen: Seen = []
    async with answering(sent, HEADERS | more) as url:
        await get(url, seen)
    assert seen == [[3, 300_000]]
