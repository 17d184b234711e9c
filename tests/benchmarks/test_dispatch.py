"""What a dispatch costs: ten thousand tiny fields, each to an async handler, results collected.

Run with `nox -s bench`. The cost is told as a ratio to a bare anyio checkpoint of the same run:
machines differ, and the ratio does not.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import Limits, MultipartReader, Part, Router
from mpflow.testing import Chunked

pytestmark = pytest.mark.benchmark

PARTS = 10_000
ROUNDS = 7
BODY = (
    b"".join(
        b'--b\r\nContent-Disposition: form-data; name="field%d"\r\n\r\nvalue %d\r\n' % (i, i)
        for i in range(PARTS)
    )
    + b"--b--\r\n"
)
GOAL = {"asyncio": 4.2, "trio": 4.0}


async def _dispatch() -> None:
    router = Router(limits=Limits(max_parts=None, max_total_header_bytes=None))

    @router.route()
    async def field(part: Part) -> bytes:
        return await part.read()

    reader = MultipartReader(Chunked(BODY, 65536), "multipart/form-data; boundary=b")
    results = await router.dispatch(reader)
    assert len(results) == PARTS
    assert results["field9999"] == b"value 9999"


async def _checkpoints() -> None:
    for _ in range(PARTS):
        await checkpoint()


async def _microseconds(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) / PARTS * 1e6


async def _measure() -> tuple[float, float]:
    """Microseconds a part and a checkpoint: medians of rounds that take turns."""
    await _dispatch()
    pairs = [
        (await _microseconds(_dispatch), await _microseconds(_checkpoints)) for _ in range(ROUNDS)
    ]
    parts, checkpoints = zip(*pairs, strict=True)
    return statistics.median(parts), statistics.median(checkpoints)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ten_thousand_tiny_fields(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    gc.collect()
    gc.freeze()  # the heap of the test session is none of the dispatch's business
    try:
        part, bare = anyio.run(_measure, backend=backend)
    finally:
        gc.unfreeze()
    ratio = part / bare
    with capsys.disabled():
        print(
            f"\n{backend}: {part:.2f} us a part, {bare:.2f} us a checkpoint: "
            f"{ratio:.2f} checkpoints a part (goal: at most {GOAL[backend]})"
        )
    assert ratio <= GOAL[backend]
