"""`from_message`: real responses of httpx and aiohttp, real requests of aiohttp, and what is none.

Frameworks that need an installation of their own are tested in tests/clients.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web

from mpflow import (
    ClientDisconnected,
    InvalidBoundary,
    LimitExceeded,
    Limits,
    MalformedBody,
    MultipartReader,
    NotMultipart,
    TruncatedBody,
    UnsupportedCoding,
)
from tests.http import answering
from tests.support import BODY, TYPE, only_asyncio

pytestmark = pytest.mark.anyio

LARGE = BODY.replace(b"two", b"two" * 100_000)


async def bodies(reader: MultipartReader) -> list[bytes]:
    async with reader:
        return [await part.read() async for part in reader]


def headers(coding: str | None = None) -> dict[str, str]:
    return {"Content-Type": TYPE} | ({} if coding is None else {"Content-Encoding": coding})


CODED = [
    pytest.param(None, LARGE, id="plain"),
    pytest.param("identity", LARGE, id="identity"),
    pytest.param("gzip", gzip.compress(LARGE), id="gzip"),
    pytest.param("deflate", zlib.compress(LARGE), id="deflate"),
]


@pytest.mark.parametrize(("coding", "sent"), CODED)
async def test_a_response_of_httpx(coding: str | None, sent: bytes) -> None:
    async with (
        answering(sent, headers(coding)) as url,
        httpx.AsyncClient() as client,
        client.stream("GET", url) as response,
    ):
        reader = MultipartReader.from_message(response)
        assert reader.headers["content-type"] == TYPE
        assert await bodies(reader) == [b"one", b"two" * 100_000]


async def test_a_response_of_httpx_that_was_read_before() -> None:
    async with answering(gzip.compress(BODY), headers("gzip")) as url:
        async with httpx.AsyncClient() as client:
            response = await client.get(url)
        assert await bodies(MultipartReader.from_response(response)) == [b"one", b"two"]


@only_asyncio
@pytest.mark.parametrize(("coding", "sent"), CODED)
async def test_a_response_of_aiohttp(coding: str | None, sent: bytes) -> None:
    async with (
        answering(sent, headers(coding)) as url,
        aiohttp.ClientSession() as session,
        session.get(url) as response,
    ):
        assert await bodies(MultipartReader.from_message(response)) == [b"one", b"two" * 100_000]


@only_asyncio
async def test_a_client_that_leaves_the_coding_alone() -> None:
    async with (
        answering(gzip.compress(BODY), headers("gzip")) as url,
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(url) as response,
    ):
        with pytest.raises(UnsupportedCoding, match="the client undoes, got 'gzip'"):
            await bodies(MultipartReader.from_message(response))


async def test_a_coding_that_httpx_may_not_know() -> None:
    async with (
        answering(BODY, headers("odd")) as url,
        httpx.AsyncClient() as client,
        client.stream("GET", url) as response,
    ):
        with pytest.raises(UnsupportedCoding, match="'odd'"):
            MultipartReader.from_message(response)


async def test_a_response_that_is_cut() -> None:
    async with (
        answering(BODY, headers(), cut=len(BODY) - 30) as url,
        httpx.AsyncClient() as client,
        client.stream("GET", url) as response,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            await bodies(MultipartReader.from_message(response))


async def test_the_headers_of_a_response_are_enough_to_refuse() -> None:
    async with (
        answering(LARGE, headers()) as url,
        httpx.AsyncClient() as client,
        client.stream("GET", url) as response,
    ):
        limits = Limits(max_total_bytes=1000)
        with pytest.raises(LimitExceeded, match="Content-Length says"):
            MultipartReader.from_message(response, limits=limits)
        # A length of coded bytes says nothing of what comes of them.
        response.headers["Content-Encoding"] = "gzip"
        MultipartReader.from_message(response, limits=limits)
        response.headers["Content-Type"] = "text/plain"
        with pytest.raises(NotMultipart):
            MultipartReader.from_message(response)
        response.headers["Content-Type"] = "multipart/mixed"
        with pytest.raises(InvalidBoundary):
            MultipartReader.from_message(response)
        del response.headers["Content-Type"]
        with pytest.raises(NotMultipart, match="there is none"):
            MultipartReader.from_message(response)


# -- requests ---------------------------------------------------------------------------------


async def serve(app: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    return runner, f"http://{host}:{port}/"


@only_asyncio
async def test_a_request_of_aiohttp() -> None:
    found: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        try:
            found.append(await bodies(MultipartReader.from_message(request)))
        except Exception as error:
            found.append(type(error))
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handle)
    runner, url = await serve(app)
    try:
        async with aiohttp.ClientSession() as session:
            for sent, said in [
                (LARGE, headers()),
                (BODY[:-4], headers()),
                (gzip.compress(BODY), headers("gzip")),
                (BODY, {"Content-Type": "text/plain"}),
            ]:
                (await session.post(url, data=sent, headers=said)).release()
    finally:
        await runner.cleanup()
    assert found == [[b"one", b"two" * 100_000], TruncatedBody, UnsupportedCoding, NotMultipart]


class Request:
    """The shape of a framework's request: headers, and `stream()`."""

    def __init__(self, *pairs: tuple[str, str], error: Exception | None = None) -> None:
        self.headers = httpx.Headers(pairs)
        self.error = error

    async def stream(self) -> AsyncIterator[bytes]:
        yield BODY[:40]
        if self.error is not None:
            raise self.error
        yield BODY[40:]


async def test_the_shape_of_a_request() -> None:
    assert await bodies(MultipartReader.from_message(Request(("Content-Type", TYPE)))) == [
        b"one",
        b"two",
    ]
    with pytest.raises(MalformedBody, match="2 that differ"):
        MultipartReader.from_message(Request(("Content-Type", TYPE), ("Content-Type", "a/b")))
    with pytest.raises(UnsupportedCoding, match="without content coding, got 'br'"):
        MultipartReader.from_message(Request(("Content-Type", TYPE), ("Content-Encoding", "br")))


class ClientDisconnect(Exception):
    """Of this name in Starlette."""


@pytest.mark.parametrize(
    "error",
    [ClientDisconnect(), ConnectionResetError(), RuntimeError("client disconnected prematurely")],
    ids=lambda error: type(error).__name__,
)
async def test_a_client_that_goes_away(error: Exception) -> None:
    reader = MultipartReader.from_message(Request(("Content-Type", TYPE), error=error))
    with pytest.raises(ClientDisconnected) as caught:
        await bodies(reader)
    assert caught.value.__cause__ is error


async def test_an_error_of_the_framework_comes_as_it_is() -> None:
    reader = MultipartReader.from_message(
        Request(("Content-Type", TYPE), error=RuntimeError("other"))
    )
    with pytest.raises(RuntimeError, match="other"):
        await bodies(reader)


class Odd:
    """Headers, and no body; or a body that is none."""

    def __init__(self, **attributes: Any) -> None:
        self.headers = {"Content-Type": TYPE}
        self.__dict__.update(attributes)


@pytest.mark.parametrize(
    "obj",
    [
        b"bytes", None, Odd(), Odd(status=200), Odd(stream=3), Odd(stream=lambda: [b""]),
        Odd(stream=lambda path: path), Odd(status_code=200, content=b""), httpx.AsyncClient,
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_message(obj: object) -> None:
    with pytest.raises(TypeError, match="expected a request or a response with headers"):
        MultipartReader.from_message(obj)
