"""`frames()`: each frame as soon as it is whole, and the newest one for who is slow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import LimitExceeded, Limits, MultipartReader, TruncatedBody
from mpflow.testing import Chunked, content_type_of
from tests.support import cancelled

pytestmark = pytest.mark.anyio

TYPE = content_type_of("b", "x-mixed-replace")


def frame(data: bytes, size: int | str | None = None) -> bytes:
    length = b"" if size is None else f"Content-Length: {size}\r\n".encode()
    return b"--b\r\nContent-Type: image/jpeg\r\n" + length + b"\r\n" + data + b"\r\n"


class Camera:
    """Sends what it is told to, and nothing else; `sent` is how much of it was asked for."""

    def __init__(self) -> None:
        self.send, self._receive = anyio.create_memory_object_stream[bytes](1000)
        self.sent = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await self._receive.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None
        self.sent += 1
        return data

    def close(self) -> None:
        self.send.close()
        self._receive.close()


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("length", [None, 3])
async def test_each_frame(size: int, length: int | None) -> None:
    sent = b"".join(frame(data, length) for data in (b"one", b"two", b"six")) + b"--b--"
    async with MultipartReader(Chunked(sent, size), TYPE).frames(latest=False) as frames:
        found = [(it.info.index, it.info.content_type, it.data) async for it in frames]
    assert found == [
        (0, "image/jpeg", b"one"),
        (1, "image/jpeg", b"two"),
        (2, "image/jpeg", b"six"),
    ]
    assert (frames.dropped, frames.mismatched) == (0, 0)


async def test_a_frame_is_whole_at_its_content_length() -> None:
    camera = Camera()
    async with MultipartReader(camera, TYPE).frames() as frames:
        await camera.send.send(frame(b"one", 3))
        assert (await anext(frames)).data == b"one"  # though no delimiter came yet
        await camera.send.send(frame(b"two"))
        await anyio.wait_all_tasks_blocked()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(frames)
        assert scope.cancelled_caught  # nobody knows yet whether it is whole
        await camera.send.send(frame(b"six", 3))
        assert [(await anext(frames)).data, frames.dropped] == [b"six", 1]
    camera.close()


@pytest.mark.parametrize("wrong", [1, 4, 100])
async def test_a_content_length_that_is_wrong_is_not_believed_again(wrong: int) -> None:
    sent = b"".join(frame(data, wrong) for data in (b"one", b"two", b"six")) + b"--b--"
    async with MultipartReader(Chunked(sent, 1), TYPE).frames(latest=False) as frames:
        found = [it.data async for it in frames]
    # A frame that its length cuts short has gone out already.
    assert found == [b"one"[:wrong], b"two", b"six"]
    assert frames.mismatched == 1


@pytest.mark.parametrize("odd", ["", "x", "-1", "9" * 5000, "٣"])
async def test_what_is_no_content_length(odd: str) -> None:
    sent = frame(b"one", odd) + b"--b--"
    limits = Limits(max_header_line="8 KiB", max_header_bytes="16 KiB")
    async with MultipartReader(sent, TYPE, limits=limits).frames() as frames:
        assert [it.data async for it in frames] == [b"one"]
    assert frames.mismatched == 0


async def test_a_slow_consumer_gets_the_newest() -> None:
    camera = Camera()
    async with MultipartReader(camera, TYPE).frames() as frames:
        for number in range(500):
            await camera.send.send(frame(b"%03d" % number, 3))
        await anyio.wait_all_tasks_blocked()
        assert (await anext(frames)).data == b"499"
        assert frames.dropped == 499
        await camera.send.send(frame(b"500", 3))
        assert (await anext(frames)).data == b"500"
        assert frames.dropped == 499
    camera.close()


async def test_who_wants_each_frame_makes_the_sender_wait() -> None:
    camera = Camera()
    async with MultipartReader(camera, TYPE).frames(latest=False) as frames:
        for number in range(500):
            await camera.send.send(frame(b"%03d" % number, 3))
        await anyio.wait_all_tasks_blocked()
        assert camera.sent < 5
        for number in range(500):
            assert (await anext(frames)).data == b"%03d" % number
    assert frames.dropped == 0
    camera.close()


async def test_no_totals_bound_a_stream_without_end() -> None:
    class Endless:
        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            await checkpoint()
            return frame(b"x" * 10, 10) * 10

    reader = MultipartReader(Endless(), TYPE)
    async with reader.frames(latest=False) as frames:
        async for it in frames:
            if it.info.index == 3000:  # past max_parts and max_total_header_bytes
                break
    reader = MultipartReader(Endless(), TYPE, limits=Limits(max_parts=5))
    async with reader.frames(latest=False) as frames:
        with pytest.raises(LimitExceeded, match="max_parts"):
            [it async for it in frames]


async def test_the_size_of_a_frame() -> None:
    sent = frame(b"one") + frame(b"four") + b"--b--"
    async with MultipartReader(sent, TYPE).frames(latest=False, max_bytes=3) as frames:
        assert (await anext(frames)).data == b"one"
        for _ in range(2):
            with pytest.raises(LimitExceeded, match="frames of at most 3 bytes") as caught:
                await anext(frames)
        assert caught.value.limit == "max_bytes"


async def test_a_cut_stream_gives_what_was_whole() -> None:
    sent = frame(b"one") + frame(b"two", 3)[:-3]
    async with MultipartReader(sent, TYPE).frames(latest=False) as frames:
        assert (await anext(frames)).data == b"one"
        with pytest.raises(TruncatedBody):
            await anext(frames)


async def test_what_the_block_raises_comes_as_it_is() -> None:
    camera = Camera()
    with pytest.raises(KeyError):
        async with MultipartReader(camera, TYPE).frames():
            raise KeyError
    camera.close()


async def test_cancellation() -> None:
    camera = Camera()

    async def watch() -> None:
        async with MultipartReader(camera, TYPE).frames() as frames:
            await anext(frames)

    assert await cancelled(watch)
    camera.close()


async def test_frames_are_entered_once_and_first() -> None:
    frames: Any = MultipartReader(b"--b--", TYPE).frames()
    with pytest.raises(RuntimeError, match="expected frames to be entered"):
        await anext(frames)
    async with frames:
        assert [it async for it in frames] == []
    with pytest.raises(RuntimeError, match="once"):
        await frames.__aenter__()
    with pytest.raises(StopAsyncIteration):
        await anext(frames)
