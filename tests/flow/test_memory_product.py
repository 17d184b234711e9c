"""Rule 26 of a flow: its published product, with many large parts, slow handlers and large chunks.

Knows: docs/design.md, "What a flow may hold". Must not know: where the bytes wait.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from mpflow import Limits, Part, Router
from tests.clock import virtual_time
from tests.flow.support import Chunks, Field, head, reader, tail

pytestmark = pytest.mark.anyio

KIB = 1024
MIB = 1024 * KIB

PIECE = 64 * KIB
SLOTS = 16
READY = 256 * KIB + PIECE
PRODUCT = SLOTS * PIECE + READY + 8 * PIECE
"""Bytes of a level with the defaults: whole parts, what is ready, the channel of the open part."""
HANDLERS = SLOTS * PIECE
"""Bytes that the handlers of these tests keep themselves: the last piece that each took."""
REST = 400 * KIB
"""Bytes of everything else: tasks, records, results."""

UNLIMITED = Limits(max_total_bytes=None, max_part_bytes="1 GiB")


def chunks(parts: int, size: int, chunk: int) -> Iterator[bytes]:
    """A body of so many parts of that size, in chunks that are made as they are asked for."""
    left = b""
    for number in range(parts):
        left += head(Field(f"n{number}"))
        todo = size
        while todo:
            step = min(todo, chunk - len(left) if len(left) < chunk else 0)
            if step:
                left += bytes(step)
                todo -= step
            if len(left) >= chunk:
                yield left
                left = b""
        left += b"\r\n"
    yield left + tail()


async def peak_of(router: Router, source: Chunks) -> int:
    """Bytes that were held at most, beside what was there before."""
    flow = router.flow(reader(source, limits=UNLIMITED))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        async with flow:
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before


@pytest.mark.parametrize("size", [100 * KIB, 10 * MIB], ids=["100KiB", "10MiB"])
async def test_200_parts_slow_handlers_and_chunks_of_a_mebibyte(size: int) -> None:
    """A handler holds its last piece until as many as may run at once do the same."""
    sizes: list[int] = []
    waiting, gate = 0, anyio.Event()

    router = Router(limits=UNLIMITED)

    @router.route()
    async def slow(part: Part) -> None:
        nonlocal waiting, gate
        total, data = 0, b""
        async for piece in part:
            total, data = total + len(piece), piece
            await checkpoint()
        sizes.append(total)
        waiting += 1
        if waiting == SLOTS or len(sizes) == 200:
            waiting = 0
            gate.set()
            gate = anyio.Event()
        else:
            await gate.wait()
        assert len(data) <= PIECE

    source = Chunks(chunks(200, size, MIB))
    peak = await peak_of(router, source)
    assert sizes == [size] * 200
    assert source.given > 200 * size
    # The chunk itself, and the one that the source makes of it meanwhile.
    assert peak <= PRODUCT + HANDLERS + 2 * MIB + REST
    print(f"{source.given / MIB:.0f} MiB in chunks of 1 MiB: at most {peak / MIB:.2f} MiB held")


@virtual_time
async def test_a_handler_that_keeps_up_and_then_stops_has_eight_pieces_wait_at_most() -> None:
    """What is left of its part fits in; the next part waits until no more than a piece is left."""
    size, stops_at = 2 * MIB + 7 * PIECE, 2 * MIB
    taken, ahead, began = 0, list[int](), list[str | None]()
    gates = list[anyio.Event]()
    router = Router(limits=UNLIMITED)

    @router.route(name="n0")
    async def first(part: Part) -> None:
        nonlocal taken
        async for piece in part:
            taken += len(piece)
            if taken >= stops_at:
                gates.append(anyio.Event())
                await gates[0].wait()

    @router.route()
    async def second(part: Part) -> int:
        began.append(part.name)
        return len(await part.read(limit=None))

    async def at_once() -> None:
        """A source that waits lets the handler take each piece as it comes."""

    source = Chunks(chunks(2, size, PIECE), at_once)

    async def run() -> None:
        async with router.flow(reader(source, limits=UNLIMITED)) as flow:
            assert flow.results["n1"] == size

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await wait_all_tasks_blocked()
        while gates:
            assert began == ([] if size - taken > PIECE else ["n1"])
            ahead += [source.given - taken] if not began else []
            gates.pop().set()
            await wait_all_tasks_blocked()
    assert began == ["n1"]
    assert 3 * PIECE < max(ahead) <= 9 * PIECE  # with the chunk in which the part ends
