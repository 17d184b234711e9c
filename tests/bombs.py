"""Reads parts that are bombs, and says what it cost; run as a process of its own.

Knows: the verbs that undo codings, and how memory is measured. Must not know: how bombs are made.

    python bombs.py BACKEND BODY...

Each BODY is a file that holds a multipart of the boundary `b` with one part. A line of JSON comes
for each of them and each of `WORKS`.
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO

import anyio
from anyio.lowlevel import checkpoint

from mpflow import LimitExceeded, Limits, MultipartReader, Part
from mpflow.testing import content_type_of

TYPE = content_type_of("b", "mixed")
SMALL = Limits(max_memory="256 KiB")


async def stream(part: Part) -> None:
    async for _ in part.decoded():
        pass


WORKS: dict[str, tuple[Callable[[Part], Awaitable[Any]], Limits | None]] = {
    "decoded": (stream, None),
    # Without the ratio, the size is what stops it.
    "size": (stream, Limits(max_decoded_ratio=None, max_decoded_bytes="64 MiB")),
    "read": (lambda part: part.read(decode=True, limit="256 KiB"), None),
    "json": (lambda part: part.json(), SMALL),
    "text": (lambda part: part.text(), SMALL),
}


class Pieces:
    """A file in pieces of 64 KiB, as a server hands out a body."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await checkpoint()
        if data := self.file.read(65536):
            return data
        raise StopAsyncIteration


async def limit_of(path: str, work: str) -> str | None:
    """The limit that stops the work, None where none does."""
    call, limits = WORKS[work]
    with open(path, "rb") as file:  # noqa: ASYNC230 - it is in the page cache
        async with MultipartReader(Pieces(file), TYPE, limits=limits) as reader:
            try:
                await call(await anext(reader))
            except LimitExceeded as error:
                return error.limit
    return None


def status(field: str) -> int:
    """Bytes that a line of /proc/self/status tells."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


async def measure(path: str, work: str) -> dict[str, Any]:
    await limit_of(path, work)  # what is loaded and started once counts for nothing
    tracemalloc.start()
    limit = await limit_of(path, work)
    _, held = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"body": Path(path).name, "work": work, "limit": limit, "held": held}


async def main(paths: list[str]) -> None:
    for path in paths:
        for work in WORKS:
            print(json.dumps(await measure(path, work)))
    print(json.dumps({"peak": status("VmHWM")}))


if __name__ == "__main__":
    anyio.run(main, sys.argv[2:], backend=sys.argv[1])
