"""Rule 26 of a flow: its published product, with many large parts, slow handlers and large chunks.

Knows: docs/design.md, "What a flow may hold". Must not know: where the bytes wait.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import Limits, Part, Router
from tests.flow.support import Chunks, Field, head, reader, tail

pytestmark = pytest.mark.anyio

KIB = 1024
MIB = 1024 * KIB

PIECE = 64 * KIB
SLOTS = 16
READY = 256 * KIB + PIECE
PRODUCT = SLOTS * PIECE + READY + 2 * PIECE
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
