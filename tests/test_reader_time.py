"""The reader and time: sources that give nothing, and streams that never end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from mpflow import BrokenSource, LimitExceeded, Limits, MultipartReader, TruncatedBody
from mpflow.testing import Chunked, Sentinel, Slow, Stuck
from tests.clock import virtual_time
from tests.support import BODY, TYPE, Closable

pytestmark = pytest.mark.anyio

FIVE = Limits(idle_timeout=5)
IN_ONE = BODY.index(b"one") + 1


class Stream:
    """A receive stream that gives what an iterator gives: a scope may stand around its reads."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source

    async def receive(self) -> bytes:
        try:
            return await anext(self._source)
        except StopAsyncIteration:
            raise anyio.EndOfStream from None


class Scoped:
    """An async iterable that holds a cancel scope over each yield."""

    def __init__(self, *, seconds: float) -> None:
        self.seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for byte in BODY:
            with anyio.fail_after(1000):
                await anyio.sleep(self.seconds)
                yield bytes([byte])


# -- within a block ---------------------------------------------------------------------------


@virtual_time
async def test_a_source_that_gives_nothing_is_given_up_in_a_block() -> None:
    begin = anyio.current_time()
    with pytest.raises(LimitExceeded, match=r"within 5\.0 s") as caught:
        async with MultipartReader(Stuck(BODY, IN_ONE), TYPE, limits=FIVE) as reader:
            await (await anext(reader)).read()
    error = caught.value
    assert (error.limit, error.value, error.status) == ("idle_timeout", 5.0, 408)
    assert error.part is not None
    assert error.part.path == (0,)
    assert anyio.current_time() - begin == pytest.approx(5)


@virtual_time
async def test_a_source_that_never_gives_anything() -> None:
    with pytest.raises(LimitExceeded) as caught:
        async with MultipartReader(Stuck(b"", 0), TYPE) as reader:
            await reader.next_part()
    assert (caught.value.value, caught.value.part) == (30.0, None)


@virtual_time
async def test_each_read_has_the_whole_time() -> None:
    async with MultipartReader(Slow(BODY, 1, seconds=4.9), TYPE, limits=FIVE) as reader:
        assert [await it.read() async for it in reader] == [b"one", b"two"]
    assert anyio.current_time() == pytest.approx(4.9 * (BODY.index(b"--boundary--") + 12))


@virtual_time
async def test_time_counts_only_while_the_source_is_awaited() -> None:
    async with MultipartReader(Slow(BODY, 20, seconds=3), TYPE, limits=FIVE) as reader:
        async for it in reader:
            await anyio.sleep(3600)
            await it.read()
            await anyio.sleep(3600)


@virtual_time
async def test_a_source_may_hold_a_scope_over_its_yield() -> None:
    async with MultipartReader(Scoped(seconds=4), TYPE, limits=FIVE) as reader:
        assert [await it.read() async for it in reader] == [b"one", b"two"]
    with pytest.raises(LimitExceeded, match="idle_timeout"):
        async with MultipartReader(Scoped(seconds=6), TYPE, limits=FIVE) as reader:
            await reader.drain()


@virtual_time
async def test_no_idle_time() -> None:
    limits = Limits(idle_timeout=None)
    async with MultipartReader(Slow(BODY, 30, seconds=10_000), TYPE, limits=limits) as reader:
        assert [await it.read() async for it in reader] == [b"one", b"two"]


@virtual_time
async def test_the_scope_of_a_caller_comes_first() -> None:
    with anyio.move_on_after(3) as scope:
        async with MultipartReader(Stuck(BODY, IN_ONE), TYPE, limits=FIVE) as reader:
            await reader.drain()
    assert scope.cancelled_caught


@virtual_time
async def test_inner_levels_are_timed_by_the_outermost() -> None:
    sent = b"--boundary\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\nx"
    with pytest.raises(LimitExceeded) as caught:
        async with MultipartReader(Stuck(sent, len(sent)), TYPE, limits=FIVE) as reader:
            await (await anext(reader)).multipart().drain()
    assert caught.value.limit == "idle_timeout"


class AtClose(Closable):
    """Its iterator waits for long when it is closed."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            yield BODY[:IN_ONE]
            yield BODY[IN_ONE:]
        finally:
            await anyio.sleep(100)
            self.closed += 1


@virtual_time
@pytest.mark.parametrize("failing", [False, True])
async def test_closing_the_source_is_not_timed(failing: bool) -> None:
    given = AtClose()
    try:
        async with MultipartReader(given, TYPE, limits=FIVE) as reader:
            await anext(reader)
            if failing:
                raise KeyError("mine")
    except KeyError:
        assert failing
    assert given.closed == 1


@virtual_time
async def test_closing_what_gave_nothing_is_cancelled_too() -> None:
    class Iterator(Stuck):
        async def aclose(self) -> None:
            await anyio.sleep_forever()

    class Iterable:
        def __aiter__(self) -> Iterator:
            return Iterator(BODY, IN_ONE)

    with pytest.raises(LimitExceeded, match="idle_timeout"):
        async with MultipartReader(Iterable(), TYPE, limits=FIVE) as reader:
            await reader.drain()


class BadClose(Closable):
    """Its iterator fails when it is closed."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            yield BODY
        finally:
            raise OSError("close")


async def test_what_closing_raises_is_raised() -> None:
    with pytest.raises(OSError, match="close"):
        async with MultipartReader(BadClose(), TYPE) as reader:
            await anext(reader)


# -- without a block --------------------------------------------------------------------------


@virtual_time
async def test_a_stream_that_gives_nothing_is_given_up_without_a_block() -> None:
    reader = MultipartReader(Stream(Stuck(BODY, IN_ONE)), TYPE, limits=FIVE)
    it = await anext(reader)
    with pytest.raises(LimitExceeded, match=r"within 5\.0 s") as caught:
        await it.read()
    assert (caught.value.status, caught.value.part) == (408, it.info.ref)
    assert anyio.current_time() == pytest.approx(5, abs=1)
    with pytest.raises(BrokenSource):
        await it.read()


@virtual_time
async def test_each_read_of_a_stream_has_the_whole_time() -> None:
    reader = MultipartReader(Stream(Slow(BODY, 10, seconds=4.9)), TYPE, limits=FIVE)
    assert [await it.read() async for it in reader] == [b"one", b"two"]


@virtual_time
async def test_no_scope_stands_around_the_reads_of_an_iterator() -> None:
    async with Closing(Scoped(seconds=50)) as source:
        reader = MultipartReader(source, TYPE, limits=FIVE)
        assert [await it.read() async for it in reader] == [b"one", b"two"]
    with anyio.move_on_after(100) as scope:
        await MultipartReader(Stuck(BODY, 9), TYPE, limits=FIVE).drain()
    assert scope.cancelled_caught


class Closing:
    """Makes the iterator of an iterable, and closes it at the end of the block."""

    def __init__(self, iterable: Any) -> None:
        self._iterator = aiter(iterable)

    async def __aenter__(self) -> Any:
        return self._iterator

    async def __aexit__(self, *args: object) -> None:
        await self._iterator.aclose()


# -- without end ------------------------------------------------------------------------------

HEAD = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"
MJPEG = "multipart/x-mixed-replace; boundary=frame"


@pytest.mark.parametrize("size", [1, 7])
async def test_a_part_is_given_out_as_soon_as_its_headers_are_in(size: int) -> None:
    # The CRLF of the blank line may begin a delimiter, which is known once it is all there.
    source = Sentinel(HEAD + b"data", len(HEAD), size)
    part = await anext(MultipartReader(source, MJPEG))
    assert part.content_type == "image/jpeg"


async def test_each_byte_is_given_out_as_soon_as_it_is_in() -> None:
    source = Sentinel(HEAD + b"hello", size=1)
    part = await anext(MultipartReader(source, MJPEG))
    assert [await part.receive() for _ in range(5)] == [b"h", b"e", b"l", b"l", b"o"]


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_a_part_ends_with_its_delimiter_line(size: int) -> None:
    sent = HEAD + b"hello\r\n--frame\r\n"
    reader = MultipartReader(Sentinel(sent, size=size), MJPEG)
    assert await (await anext(reader)).read() == b"hello"
    with pytest.raises(AssertionError, match="read on"):
        await anext(reader)


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_nothing_is_read_past_the_close_delimiter(size: int) -> None:
    reader = MultipartReader(Sentinel(HEAD + b"hello\r\n--frame--", size=size), MJPEG)
    assert [await it.read() async for it in reader] == [b"hello"]
    assert await reader.next_part() is None


async def test_frames_without_end() -> None:
    class Camera:
        frames = 0

        async def receive(self) -> bytes:
            self.frames += 1
            return HEAD + b"%d\r\n" % self.frames

    reader = MultipartReader(Camera(), MJPEG, limits=Limits.stream())
    count = 0
    async for it in reader:
        count += 1
        assert await it.read() == b"%d" % count
        if count == 2500:
            break

    with pytest.raises(LimitExceeded) as caught:
        await MultipartReader(Camera(), MJPEG).drain()
    assert (caught.value.limit, caught.value.value) == ("max_parts", 1000)


async def test_a_stream_that_breaks_off_is_an_error() -> None:
    reader = MultipartReader(Chunked(HEAD + b"hello\r\n", 3), MJPEG, limits=Limits.stream())
    with pytest.raises(TruncatedBody):
        await (await anext(reader)).read()
