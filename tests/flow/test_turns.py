"""Everybody else has a turn, however fast the source gives, and whatever becomes of a part.

Knows: how often a task beside a dispatch runs. Must not know: how the pump decides when.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import LimitExceeded, MultipartReader, Part, Router
from mpflow.flow.channel import MAX_AHEAD
from tests.flow.support import BOUNDARY, CONTENT_TYPE, Field, cut, form, head, tail

pytestmark = pytest.mark.anyio

LARGE = bytes(1_500_000)


class AtOnce:
    """A source that never waits. Notes at each read how many turns others have had."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks = iter(chunks)
        self.turns = 0
        self.seen: list[int] = []

    def __aiter__(self) -> AtOnce:
        return self

    async def __anext__(self) -> bytes:
        self.seen.append(self.turns)
        for chunk in self.chunks:
            return chunk
        raise StopAsyncIteration

    async def take_turns(self) -> None:
        while True:
            self.turns += 1
            await checkpoint()

    def most(self, name: str) -> int:
        """How many reads there were at most between two turns of somebody else."""
        counts = Counter(turns for turns in self.seen if turns)
        # Trio runs those that are ready in any order: two turns of the flow may follow each other.
        return max(counts.values()) // (2 if name == "trio" else 1)


async def read(part: Part) -> int:
    return sum([len(chunk) async for chunk in part])


async def slow(part: Part) -> int:
    size = 0
    async for chunk in part:
        size += len(chunk)
        for _ in range(5):
            await checkpoint()
    return size


async def glance(part: Part) -> int:
    return len(await part.receive(1))


async def fail(part: Part) -> int:
    raise LookupError("it wants no more")


async def dispatch(router: Router, chunks: list[bytes]) -> AtOnce:
    source = AtOnce(chunks)
    async with anyio.create_task_group() as group:
        group.start_soon(source.take_turns)
        await checkpoint()
        with suppress(LimitExceeded):
            await router.dispatch(MultipartReader(source, CONTENT_TYPE))
        group.cancel_scope.cancel()
    return source


@pytest.mark.parametrize(
    ("handler", "shared"), [(read, MAX_AHEAD + 1), (slow, 2), (glance, 2), (fail, 2)]
)
@pytest.mark.parametrize("size", [7, 1000, 32768, 32769, 65536, 300_000])
async def test_a_turn_comes_at_least_every_second_chunk_or_as_the_handler_keeps_up(
    handler: object, shared: int, size: int, anyio_backend_name: str
) -> None:
    most = shared if 32768 < size <= 65536 else 1
    router = Router()
    router.add(handler, name="a", on_error="collect")  # type: ignore[call-overload]
    data = LARGE[: 200 * size]
    source = await dispatch(router, cut(form(Field("a", data, filename="a")), size))
    assert len(source.seen) > len(data) // size
    assert source.most(anyio_backend_name) <= most


FIRST = head(Field("a", filename="a")) + bytes(40_000)
OTHER = b"\r\n" + head(Field("b"))
END = b"\r\n" + tail()


def bytewise(data: bytes) -> list[bytes]:
    return cut(data, 1)


@pytest.mark.parametrize(
    "rest",
    [
        [*bytewise(b"a" * 3000), END],
        [b""] * 3000 + [END],
        [*[OTHER + b"value"] * 60, END],
        [*bytewise(OTHER + b"value"), END],
        [b"\r\n" + head(Field("_charset_")) + b"utf-8", *[b" "] * 50, END],
        [END, *[b"epilogue"] * 500],
        [*[b"a" * 70_000] * 9, b"", b"", *bytewise(END)],
    ],
    ids=["bytes", "empty", "fields", "headers", "charset", "epilogue", "large"],
)
@pytest.mark.parametrize("handler", [read, glance, fail])
async def test_what_follows_a_large_chunk_leaves_others_their_turns(
    handler: object, rest: list[bytes], anyio_backend_name: str
) -> None:
    router = Router()
    router.add(handler, on_error="collect")  # type: ignore[call-overload]
    source = await dispatch(router, [FIRST, *rest])
    assert source.most(anyio_backend_name) <= 2
    assert len(source.seen) > len(rest) or b"_charset_" in rest[0]


async def test_what_is_spooled_behind_a_large_chunk_leaves_others_their_turns(
    anyio_backend_name: str,
) -> None:
    router = Router()

    @router.route(name="a")
    async def size(part: Part) -> int:
        return await read(part)

    @router.route(name="b", order="spool", needs={"size": "c"})
    async def late(part: Part, size: int) -> int:
        return size + await read(part)

    @router.route(name="c")
    async def last(part: Part) -> int:
        return await read(part)

    rest = [OTHER, *[b"b" * 100] * 300, b"\r\n" + head(Field("c")) + b"c", END]
    source = await dispatch(router, [FIRST, *rest])
    assert len(source.seen) > len(rest)
    assert source.most(anyio_backend_name) <= 2


@pytest.mark.parametrize("rest", [b"", b"a"])
async def test_a_dispatch_of_a_source_without_end_can_be_cancelled(rest: bytes) -> None:
    class Endless(AtOnce):
        async def __anext__(self) -> bytes:
            self.seen.append(0)
            return FIRST if len(self.seen) == 1 else rest

    router = Router()
    router.add(read)
    source = Endless([])
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                for _ in range(10):
                    await checkpoint()
                scope.cancel()

            group.start_soon(cancel)
            await router.dispatch(MultipartReader(source, CONTENT_TYPE))
    assert scope.cancelled_caught
    assert len(source.seen) < 50


@pytest.mark.parametrize("most", ["1 KiB", "60 KiB", "64 KiB", "100 KiB"])
async def test_a_part_that_is_too_large_and_is_drained_leaves_others_their_turns(
    most: str, anyio_backend_name: str
) -> None:
    router = Router()
    router.add(read, name="a", max_bytes=most, on_error="collect")
    source = await dispatch(router, cut(form(Field("a", LARGE, filename="a")), 65536))
    assert len(source.seen) > len(LARGE) // 65536
    assert source.most(anyio_backend_name) <= 2


async def test_large_chunks_of_small_fields_leave_others_a_turn_each(
    anyio_backend_name: str,
) -> None:
    router = Router()
    router.add(read, name="a")
    fields = form(*[Field("a", b"value")] * 1000)
    source = await dispatch(router, cut(fields, 8192))
    assert len(source.seen) > len(fields) // 8192
    assert source.most(anyio_backend_name) <= 1


async def test_a_handler_has_its_part_once_the_second_large_chunk_is_here() -> None:
    began: list[int] = []

    async def note(part: Part) -> None:
        began.append(len(source.seen))
        await part.drain()

    router = Router()
    router.add(note, name="a")
    begin = head(Field("a", filename="a")) + b"a" * 65536
    source = AtOnce([begin, *[b"b" * 65536] * 20, b"\r\n" + tail(BOUNDARY)])
    await router.dispatch(MultipartReader(source, CONTENT_TYPE))
    assert began[0] <= 2
