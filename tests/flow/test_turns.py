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


@pytest.mark.parametrize("handler", [read, glance, fail])
@pytest.mark.parametrize(
    ("size", "most"), [(7, 1), (1000, 1), (32768, 1), (32769, 2), (65536, 2), (300_000, 1)]
)
async def test_a_turn_comes_at_least_every_second_chunk(
    handler: object, size: int, most: int, anyio_backend_name: str
) -> None:
    router = Router()
    router.add(handler, name="a", on_error="collect")  # type: ignore[call-overload]
    data = LARGE[: 200 * size]
    source = await dispatch(router, cut(form(Field("a", data, filename="a")), size))
    assert len(source.seen) > len(data) // size
    assert source.most(anyio_backend_name) <= most


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
