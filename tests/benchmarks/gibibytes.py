"""Reads or writes 4 GiB, and says by how much memory grew; run as a process of its own.

Knows: how memory is measured. Must not know: what it may be.

    python gibibytes.py BACKEND read|write FILE WARM

FILE holds the body of the part; WARM, which is small, goes first: what is loaded and started once
counts for nothing. A line comes: the bytes that went by, and the growth of the peak.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
from anyio.lowlevel import checkpoint

from mpflow import Limits, MultipartReader, MultipartWriter
from mpflow.testing import content_type_of

PIECE = 256 * 1024
LIMITS = Limits(max_part_bytes="8 GiB", max_total_bytes="8 GiB")


class Body:
    """A body of one part, in pieces of 256 KiB, each of them new."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.began = self.ended = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await checkpoint()
        if not self.began:
            self.began = True
            return b"--b\r\n\r\n"
        if self.left:
            self.left -= PIECE
            return bytes(PIECE)
        if self.ended:
            raise StopAsyncIteration
        self.ended = True
        return b"\r\n--b--"


async def read(size: int, path: Path) -> int:
    seen = 0
    async with MultipartReader(Body(size), content_type_of("b", "mixed"), limits=LIMITS) as reader:
        async for part in reader:
            async for chunk in part:
                seen += len(chunk)
    return seen


async def write(size: int, path: Path) -> int:
    seen = 0

    async def drop(data: bytes) -> None:
        nonlocal seen
        seen += len(data)
        await checkpoint()

    root = MultipartWriter("mixed")
    root.append(path)
    await root.write(drop)
    assert seen == root.size
    return seen


def status(field: str) -> int:
    """Bytes that a line of /proc/self/status tells."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def main(work: str, *names: str) -> None:
    call, seen, before = {"read": read, "write": write}[work], 0, 0
    for path in reversed([Path(name) for name in names]):
        forget_peak()
        before = status("VmRSS")
        seen = await call(path.stat().st_size, path)
    print(seen, status("VmHWM") - before)


if __name__ == "__main__":
    _, backend, work, *names = sys.argv
    anyio.run(main, work, *names, backend=backend)
