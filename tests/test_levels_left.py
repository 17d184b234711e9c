"""Levels that are left before their end: what was not had does not count, however the body is cut.

Knows: limits that all levels share. Must not know: what is decoded ahead.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest

from mpflow import LimitExceeded, Limits, MultipartReader, Part, Router
from mpflow.testing import Chunked
from mpflow.wire import Decoder
from mpflow_handlers import Nested

pytestmark = pytest.mark.anyio

TYPE = "multipart/mixed; boundary=b"
FIELD = b'Content-Disposition: form-data; name="x"\r\n\r\nv\r\n'
INNER = b"--i\r\n" + b"--i\r\n".join([FIELD] * 30) + b"--i--\r\n"
HEAD = (
    b'Content-Disposition: form-data; name="n"\r\n'
    b"Content-Type: multipart/related; boundary=i\r\n\r\n"
)
SIZES = [1, 7, 200, 10**6]


def body(count: int) -> bytes:
    return b"".join(b"--b\r\n" + HEAD + INNER + b"\r\n" for _ in range(count)) + b"--b--\r\n"


async def left(reader: MultipartReader) -> int:
    count = 0
    async for part in reader:
        async for _ in part.multipart():
            count += 1
            break
    return count


async def closed(reader: MultipartReader) -> int:
    count = 0
    async for part in reader:
        async with part.multipart() as inner:
            count += await inner.next_part() is not None
    return count


async def made_of_the_part(reader: MultipartReader) -> int:
    count = 0
    async for part in reader:
        inner = MultipartReader(part, part.headers["Content-Type"])
        count += await inner.next_part() is not None
    return count


async def pairs(reader: MultipartReader) -> int:
    return len([it.name async for it, _ in reader.pairs()])


async def roots(reader: MultipartReader) -> int:
    count = 0
    async for part in reader:
        count += await part.multipart().related().root() is not None
    return count


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("read", [left, closed, made_of_the_part, pairs, roots])
@pytest.mark.parametrize(
    "limits",
    [Limits(max_parts=20), Limits(max_total_header_bytes=10 * (len(HEAD) + len(FIELD)))],
    ids=["parts", "headers"],
)
async def test_only_the_parts_that_were_had_count(
    size: int, read: Callable[[MultipartReader], Awaitable[int]], limits: Limits
) -> None:
    reader = MultipartReader(Chunked(body(10), size), TYPE, limits=limits)
    assert await read(reader) == 10


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("most", [33, 32])
async def test_a_level_behind_one_that_was_left_has_all_that_is_left(size: int, most: int) -> None:
    reader = MultipartReader(Chunked(body(2), size), TYPE, limits=Limits(max_parts=most))
    first = await anext(reader)
    await anext(first.multipart())
    inner = (await anext(reader)).multipart()
    if most == 33:
        assert len([it async for it in inner]) == 30
        assert await reader.next_part() is None
    else:
        with pytest.raises(LimitExceeded, match="max_parts") as caught:
            await inner.drain()
        assert caught.value.part is not None
        assert caught.value.part.path == (1, 29)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("nested", [True, False])
async def test_handlers_that_leave_a_level(size: int, nested: bool) -> None:
    async def first(part: Part) -> str:
        async for inner in part.multipart():
            return await inner.text()
        raise AssertionError

    async def once(part: Part) -> None:
        await part.read()

    router = Router()
    if nested:
        inside = Router()
        inside.add(once, name="x", max_count=1)
        router.add(Nested(inside), name="n", on_error="collect")
    else:
        router.add(first, name="n")
    limits = Limits(max_parts=30 if nested else 20)
    results = await router.dispatch(MultipartReader(Chunked(body(10), size), TYPE, limits=limits))
    assert len(results) == 10
    assert len(results.errors) == (10 if nested else 0)


@pytest.mark.parametrize("data", [FIELD, b"X-Odd: y\r\n\r\nv\r\n"])
def test_a_decoder_that_is_let_go_of_is_no_garbage(data: bytes) -> None:
    """It holds what came, which would stay until the garbage collector comes round."""
    gc.collect()
    gc.disable()
    try:
        decoder = Decoder("b")
        decoder.receive_data(b"--b\r\n" + b"--b\r\n".join([data] * 100))
        decoder.next_event()
        del decoder
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_can_read_the_source() -> None:
    reader = MultipartReader(Chunked(body(1), 20), TYPE)
    await asyncio.create_task(reader.fill())
    assert await left(reader) == 1
