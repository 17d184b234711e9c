"""`from_message`: real responses of httpx and aiohttp, real requests of aiohttp, and what is none.

Frameworks that need an installation of their own are tested in tests/clients.
"""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from httpx import _decoders

from mpflow import (
    ClientDisconnected,
    EmptyBody,
    InvalidBoundary,
    InvalidContent,
    LimitExceeded,
    Limits,
    MalformedBody,
    MultipartError,
    MultipartReader,
    NotMultipart,
    TruncatedBody,
    UnsupportedCoding,
)
from mpflow.wire.codings import Encoding, find_coding
from tests.http import answering
from tests.support import BODY, TYPE, only_asyncio

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
LARGE = BODY.replace(b"two", b"two" * 100_000)


async def bodies(reader: MultipartReader) -> list[bytes]:
    async with reader:
        return [await part.read() async for part in reader]


def headers(coding: str | None = None) -> dict[str, str]:
    return {"Content-Type": TYPE} | ({} if coding is None else {"Content-Encoding": coding})


def coded(data: bytes, *codings: str) -> bytes:
    for coding in codings:
        encoding = Encoding([find_coding("content", coding)])
        data = encoding.encode(data) + encoding.finish()
    return data


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


CODED = [
    pytest.param(None, LARGE, id="plain"),
    pytest.param("identity", LARGE, id="identity"),
    pytest.param("gzip", gzip.compress(LARGE), id="gzip"),
    pytest.param("GZip", gzip.compress(LARGE), id="case"),
    pytest.param("x-gzip", gzip.compress(LARGE), id="x-gzip"),
    pytest.param("deflate", zlib.compress(LARGE), id="deflate"),
    pytest.param("deflate", raw_deflate(LARGE), id="raw-deflate"),
    pytest.param("br", coded(LARGE, "br"), id="br"),
    pytest.param("zstd", coded(LARGE, "zstd"), id="zstd"),
    pytest.param("br, gzip", coded(LARGE, "br", "gzip"), id="two"),
    pytest.param("gzip, identity, gzip", coded(LARGE, "gzip", "gzip"), id="twice"),
]
WHOLE = [b"one", b"two" * 100_000]


@pytest.mark.parametrize(("coding", "sent"), CODED)
async def test_a_response_of_httpx(coding: str | None, sent: bytes) -> None:
    async with (
        answering(sent, headers(coding)) as url,
        httpx.AsyncClient() as client,
        client.stream("GET", url) as response,
    ):
        reader = MultipartReader.from_message(response)
        assert reader.headers["content-type"] == TYPE
        assert await bodies(reader) == WHOLE


@pytest.mark.parametrize("knows_br", [True, False])
@pytest.mark.parametrize(("coding", "sent"), CODED)
async def test_a_response_of_httpx_that_was_read_before(
    coding: str | None, sent: bytes, knows_br: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It undid what it knew: br and zstd by libraries of its own, x-gzip never."""
    if not knows_br:
        monkeypatch.delitem(_decoders.SUPPORTED_DECODERS, "br")
    async with answering(sent, headers(coding)) as url:
        async with httpx.AsyncClient() as client:
            response = await client.get(url)
        if coding == "br, gzip":  # nobody can tell what was undone of it
            with pytest.raises(UnsupportedCoding, match=r"read as it comes.*'br, gzip'"):
                MultipartReader.from_response(response)
        else:
            assert await bodies(MultipartReader.from_response(response)) == WHOLE


@only_asyncio
@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("auto", [True, False])
@pytest.mark.parametrize(("coding", "sent"), CODED)
async def test_a_response_of_aiohttp(
    coding: str | None, sent: bytes, auto: bool, counts: bool
) -> None:
    async with (
        answering(sent, headers(coding)) as url,
        aiohttp.ClientSession(auto_decompress=auto) as session,
        session.get(url) as response,
    ):
        message: Any = response
        if not counts:  # as older ones, whose streams do not tell that they undo a coding
            stream = SimpleNamespace(iter_any=response.content.iter_any)
            message = SimpleNamespace(headers=response.headers, status=200, content=stream)
        reader = MultipartReader.from_message(message)
        if not counts and not auto and (coding == "br" or sent == raw_deflate(LARGE)):
            with pytest.raises(MultipartError):  # it does not begin like anything
                await bodies(reader)
        else:
            assert await bodies(reader) == WHOLE


@only_asyncio
async def test_a_request_of_aiohttp_that_leaves_the_coding_alone() -> None:
    async with (
        answering(gzip.compress(LARGE), headers("gzip")) as url,
        aiohttp.ClientSession() as session,
        session.get(url, auto_decompress=False) as response,
    ):
        assert await bodies(MultipartReader.from_message(response)) == WHOLE


@only_asyncio
@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("auto", [True, False])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_response_of_aiohttp_with_a_wrong_byte(
    coding: str, auto: bool, counts: bool
) -> None:
    text = "".join(f"{number * number:x} " for number in range(60_000))
    whole = coded(BODY.replace(b"two", text.encode()), coding)
    sent = whole[: len(whole) // 2] + b"\xff" * 4096
    async with (
        answering(sent, headers(coding)) as url,
        aiohttp.ClientSession(auto_decompress=auto) as session,
        session.get(url) as response,
    ):
        message: Any = response
        if not counts:
            stream = SimpleNamespace(iter_any=response.content.iter_any)
            message = SimpleNamespace(headers=response.headers, status=200, content=stream)
        with pytest.raises(MultipartError) as caught:
            await bodies(MultipartReader.from_message(message))
        if counts and not (auto and coding == "br"):  # aiohttp takes those for more of the text
            assert isinstance(caught.value, InvalidContent)
            assert "in the Content-Encoding of the response" in caught.value.message


@only_asyncio
@pytest.mark.parametrize("auto", [True, False])
async def test_a_response_of_aiohttp_that_is_cut_at_its_end(auto: bool) -> None:
    """As docs/how-to/read-messages.md says: who wants to know has aiohttp leave the coding."""
    async with (
        answering(gzip.compress(LARGE)[:-8], headers("gzip")) as url,
        aiohttp.ClientSession(auto_decompress=auto) as session,
        session.get(url) as response,
    ):
        reader = MultipartReader.from_message(response)
        if auto:
            assert await bodies(reader) == WHOLE
        else:
            with pytest.raises(InvalidContent, match="is cut or empty"):
                await bodies(reader)


@only_asyncio
async def test_a_response_of_aiohttp_whose_connection_is_lost() -> None:
    async with (
        answering(gzip.compress(LARGE), headers("gzip"), cut=-8) as url,
        aiohttp.ClientSession() as session,
        session.get(url) as response,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await bodies(MultipartReader.from_message(response))


@only_asyncio
@pytest.mark.parametrize("coding", [None, "gzip", "br", "x-gzip"])
async def test_an_answer_without_a_body(coding: str | None) -> None:
    """Nothing is no gzip: it is no body, which the reader says."""
    async with answering(b"", headers(coding)) as url:
        async with httpx.AsyncClient() as client, client.stream("GET", url) as response:
            with pytest.raises(EmptyBody):
                await bodies(MultipartReader.from_message(response))
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            with pytest.raises(EmptyBody):
                await bodies(MultipartReader.from_message(response))


@pytest.mark.parametrize(
    ("coding", "match"),
    [("odd", "'odd'"), ("gzip, odd", "'odd'"), (", ".join(["gzip"] * 9), "at most 5 content")],
)
async def test_a_coding_that_nobody_knows(coding: str, match: str) -> None:
    async with (
        answering(BODY, headers(coding)) as url,
        httpx.AsyncClient() as client,
        client.stream("GET", url) as response,
    ):
        with pytest.raises(UnsupportedCoding, match=match) as caught:
            MultipartReader.from_message(response)
        assert caught.value.status == 415


async def test_a_response_that_is_not_in_its_coding() -> None:
    for sent in (BODY, gzip.compress(LARGE)[:-300]):
        async with (
            answering(sent, headers("gzip")) as url,
            httpx.AsyncClient() as client,
            client.stream("GET", url) as response,
        ):
            with pytest.raises(InvalidContent, match="gzip"):
                await bodies(MultipartReader.from_message(response))


@cache
def bomb(*codings: str) -> bytes:
    """16 MiB of one part."""
    return coded(BODY.replace(b"two", bytes(16 * MIB)), *codings)


async def count(reader: MultipartReader, seen: list[int]) -> None:
    async with reader:
        async for part in reader:
            async for chunk in part:
                seen[0] += len(chunk)


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (None, "max_decoded_ratio"),
        (Limits(max_decoded_ratio=None, max_total_bytes=4 * MIB), "max_total_bytes"),
    ],
)
@pytest.mark.parametrize("codings", [("gzip",), ("br",), ("zstd",), ("gzip", "gzip")])
async def test_a_response_that_is_a_bomb(
    codings: tuple[str, ...], limits: Limits | None, limit: str
) -> None:
    sent, seen = bomb(*codings), [0]
    async with (
        answering(sent, headers(", ".join(codings))) as url,
        httpx.AsyncClient() as client,
        client.stream("GET", url) as response,
    ):
        tracemalloc.start()
        try:
            with pytest.raises(LimitExceeded) as caught:
                await count(MultipartReader.from_message(response, limits=limits), seen)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert caught.value.limit == limit
    assert seen[0] <= 8 * MIB
    assert peak < 2 * MIB  # with what httpx holds


class Shape:
    """A response of the shape of httpx, without `aiter_raw`."""

    status_code = 200

    def __init__(self, coding: str | None = None) -> None:
        self.headers = headers(coding)

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        yield BODY


async def test_a_response_that_cannot_be_read_as_it_came() -> None:
    for coding in (None, "gzip", "deflate"):
        assert await bodies(MultipartReader.from_message(Shape(coding))) == [b"one", b"two"]
    for coding in ("br", "x-gzip", "gzip, zstd"):
        with pytest.raises(UnsupportedCoding, match=f"gzip or deflate, got '{coding}'"):
            MultipartReader.from_message(Shape(coding))


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
