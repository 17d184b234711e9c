"""What writing costs: 256 MiB from a file, against reading it; a thousand small parts; memory.

Run with `nox -s bench`. The memory comes first: the peak of a process never goes down.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from mpflow import FormData, MultipartWriter
from mpflow.sources import open_source

pytestmark = pytest.mark.benchmark

MIB = 1024 * 1024
ROUNDS = 7
GOAL = 1.15


async def _read(path: Path) -> None:
    """As mpflow reads a file that it is given: in worker threads, 256 KiB at once."""
    with path.open("rb", buffering=0) as file:
        async for _ in open_source(file):
            pass


async def _write(path: Path) -> None:
    root = MultipartWriter()
    root.append(path)
    async for _ in root:
        pass


async def _seconds(work: Callable[[Path], Awaitable[None]], path: Path) -> float:
    began = time.perf_counter()
    await work(path)
    return time.perf_counter() - began


async def _measure(path: Path) -> tuple[float, float]:
    await _write(path)
    pairs = [(await _seconds(_read, path), await _seconds(_write, path)) for _ in range(ROUNDS)]
    return min(read for read, _ in pairs), min(write for _, write in pairs)


def test_four_gibibytes_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(4096 * MIB)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    anyio.run(_write, path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"\n4 GiB written with {grown:.1f} MiB more")
    assert grown < 16


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_file_costs_little_more_than_reading_it(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        for _ in range(256):
            file.write(os.urandom(MIB))
    read, write = anyio.run(_measure, path, backend=backend)
    print(
        f"\n{backend}: 256 MiB read in {read * 1e3:.0f} ms, written in {write * 1e3:.0f} ms, "
        f"{write / read:.2f} times that"
    )
    assert write <= GOAL * read


def test_small_parts() -> None:
    form = FormData((f"field{number}", f"value {number}") for number in range(10_000))
    began = time.perf_counter()
    body = anyio.run(form.as_bytes)
    took = time.perf_counter() - began
    print(f"\n10,000 fields, {len(body)} bytes: {took / 10_000 * 1e6:.1f} µs each")
    assert took < 2
