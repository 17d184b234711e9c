"""A response with a content coding is right or refused, however it is cut into chunks.

Knows: a response in chunks, broken at its end. Must not know: how a coding is undone.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from mpflow import InvalidContent, LimitExceeded, Limits, MultipartReader, Part, Router
from mpflow.testing import body
from mpflow.wire.codings import Encoding, find_coding

pytestmark = pytest.mark.anyio

PARTS = [{"data": "one"}, {"data": "two" * 3_000}]


def body_of(subtype: str, *, epilogue: bytes = b"") -> tuple[bytes, str]:
    return body(PARTS, boundary="B", epilogue=epilogue), f"multipart/{subtype}; boundary=B"


def packed(name: str, data: bytes) -> bytes:
    if name == "gzip":
        return gzip.compress(data, 0)  # a wrong bit is a wrong byte, and nothing else
    if name == "deflate":
        return zlib.compress(data, 0)
    encoding = Encoding([find_coding("content", name)])
    return encoding.encode(data) + encoding.finish()


def flipped(data: bytes) -> bytes:
    return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


class Response:
    """A response of the shape of httpx, whose body comes in chunks of one size.

    Not httpx itself: its generators stand in each other, and trio warns of each that is left
    without having come to its end.
    """

    status_code = 200
    is_stream_consumed = False

    def __init__(
        self, data: bytes, size: int, headers: dict[str, str], error: Exception | None = None
    ) -> None:
        self.headers = headers
        self._chunks = iter([data[at : at + size] for at in range(0, len(data), size)])
        self._error = error

    def aiter_raw(self) -> Response:
        return self

    aiter_bytes = aiter_raw

    def __aiter__(self) -> Response:
        return self

    async def __anext__(self) -> bytes:
        await checkpoint()
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration if self._error is None else self._error


def answer(
    data: bytes,
    size: int,
    content_type: str,
    coding: str | None,
    *,
    error: Exception | None = None,
    limits: Limits | None = None,
) -> MultipartReader:
    headers = {"Content-Type": content_type}
    headers |= {} if coding is None else {"Content-Encoding": coding}
    return MultipartReader.from_message(Response(data, size, headers, error), limits=limits)


async def iterate(reader: MultipartReader) -> list[bytes]:
    return [await part.read() async for part in reader]


async def walk(reader: MultipartReader) -> list[bytes]:
    return [await part.read() async for part in reader.walk()]


async def pairs(reader: MultipartReader) -> list[bytes]:
    return [await document.read() async for document, _ in reader.pairs()]


async def related(reader: MultipartReader) -> list[bytes]:
    async with reader.related() as parts:
        root = await (await parts.root()).read()
        return [root, *[await part.read() async for part in parts]]


async def frames(reader: MultipartReader) -> list[bytes]:
    async with reader.frames(latest=False) as found:
        return [frame.data async for frame in found]


async def read(part: Part) -> bytes:
    return await part.read()


async def flow(reader: MultipartReader, **options: Any) -> list[bytes]:
    router = Router()
    router.add(read)
    return [handled.value for handled in await router.dispatch(reader, **options)]


async def hurried(reader: MultipartReader) -> list[bytes]:
    return await flow(reader, epilogue="ignore")


Read = Callable[[MultipartReader], Awaitable[list[bytes]]]
READS: list[tuple[Read, str]] = [
    (iterate, "mixed"), (walk, "mixed"), (pairs, "mixed"), (related, "related"),
    (frames, "x-mixed-replace"), (flow, "mixed"), (hurried, "mixed"),
]  # fmt: skip
CODINGS = ["gzip", "deflate", "br", "zstd"]
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-1],
    "cut trailer": lambda data: data[:-4],
    "junk": lambda data: data + b"JUNKJUNK",
    "flipped": flipped,
}


@pytest.mark.parametrize(("read", "subtype"), READS, ids=[read.__name__ for read, _ in READS])
@pytest.mark.parametrize("coding", CODINGS)
async def test_a_response_that_is_right(coding: str, read: Read, subtype: str) -> None:
    data, content_type = body_of(subtype, epilogue=b"bye")
    for size in (1 if coding in ("br", "zstd") else 100, 777, 1 << 20):
        async with answer(packed(coding, data), size, content_type, coding) as reader:
            assert await read(reader) == [b"one", b"two" * 3_000]


@pytest.mark.parametrize(("read", "subtype"), READS, ids=[read.__name__ for read, _ in READS])
@pytest.mark.parametrize(
    ("coding", "broken"),
    [(c, b) for c in CODINGS for b in BROKEN if c in ("gzip", "deflate") or b != "flipped"],
)
async def test_a_response_that_is_wrong(coding: str, broken: str, read: Read, subtype: str) -> None:
    data, content_type = body_of(subtype)
    sent = BROKEN[broken](packed(coding, data))
    for size in (1 if len(sent) < 1000 else 100, 777, len(sent) - 3, 1 << 20):
        async with answer(sent, size, content_type, coding) as reader:
            with pytest.raises(InvalidContent, match=coding) as caught:
                await read(reader)
            assert caught.value.message.endswith(", in the Content-Encoding of the response")
            assert caught.value.offset is None


async def test_what_is_wrong_is_told_each_time() -> None:
    data, content_type = body_of("mixed")
    async with answer(packed("gzip", data)[:-1], 777, content_type, "gzip") as reader:
        for _ in range(2):
            with pytest.raises(InvalidContent, match="is cut or empty, in the Content-Encoding"):
                await reader.drain()


@pytest.mark.parametrize("size", [100, 1 << 20])
async def test_the_epilogue_of_such_a_response_is_bounded(size: int) -> None:
    data, content_type = body_of("mixed", epilogue=b"e" * 20)
    sent = packed("gzip", data)
    limits = Limits(max_epilogue=10)
    async with answer(sent, size, content_type, "gzip", limits=limits) as reader:
        with pytest.raises(LimitExceeded) as caught:
            await reader.drain()
        assert (caught.value.limit, caught.value.offset) == (
            "max_epilogue",
            data.index(b"--B--") + 5 + 10,
        )
        assert reader.taken == 2


async def test_a_server_that_goes_away_behind_the_close_delimiter() -> None:
    data, content_type = body_of("mixed")
    sent, gone = packed("gzip", data)[:-1], ConnectionResetError("gone")
    async with answer(sent, 777, content_type, "gzip", error=gone) as reader:
        with pytest.raises(ConnectionResetError, match="gone"):
            await reader.drain()


async def test_a_plain_response_is_left_behind_its_close_delimiter() -> None:
    data, content_type = body_of("mixed")
    never = AssertionError("it was read on")
    async with answer(data, len(data), content_type, None, error=never) as reader:
        assert await iterate(reader) == [b"one", b"two" * 3_000]
