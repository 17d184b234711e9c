"""What the tests of reading share.

Knows: readers, parts and small bodies. Must not know: routers, flows, handlers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from inspect import isasyncgen
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import MultipartReader, Part, PartInfo
from mpflow.sources import open_source
from mpflow.testing import body, content_type_of

__all__ = [
    "BODY", "TYPE", "Closable", "Pieces", "cancelled", "crlf", "only_asyncio", "only_trio",
    "part_of", "parts_of", "read_all",
]  # fmt: skip

TYPE = content_type_of("boundary", "mixed")
"""The content type of `BODY`."""

BODY = body([{"data": "one"}, {"data": "two"}])
"""A body of two parts, `one` and `two`."""

_asyncio, _uvloop, _trio = (
    pytest.param(("asyncio", {}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {"restrict_keyboard_interrupt_to_checkpoints": True}), id="trio"),
)
only_asyncio = pytest.mark.parametrize("anyio_backend", [_asyncio, _uvloop], indirect=True)
"""Mark for what only asyncio has: on asyncio and uvloop."""
only_trio = pytest.mark.parametrize("anyio_backend", [_trio], indirect=True)
"""Mark for what only trio has."""


def crlf(text: str) -> bytes:
    """Text as it stands on the wire: UTF-8, with CRLF for each LF."""
    return text.replace("\n", "\r\n").encode()


async def parts_of(source: Any, content_type: str = TYPE, **options: Any) -> list[bytes]:
    """The bodies of all parts that a source holds. A generator is closed."""
    reader = MultipartReader(source, content_type, **options)
    try:
        return [await part.read() async for part in reader]
    finally:
        if isasyncgen(source):  # reading ended before it did
            await source.aclose()


async def cancelled(call: Callable[[], Awaitable[object]], *, after: int = 50) -> bool:
    """Call, and cancel the call after so many passes of the scheduler; whether it came to that."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                for _ in range(after):
                    await checkpoint()
                scope.cancel()

            group.start_soon(cancel)
            await call()
            group.cancel_scope.cancel()
    return scope.cancelled_caught


async def read_all(obj: object) -> bytes:
    """All that a source holds."""
    source = open_source(obj)
    return b"".join([bytes(chunk) async for chunk in source])


class Closable:
    """An async iterable that makes its iterator, and notes when that is closed."""

    def __init__(self, data: bytes = BODY) -> None:
        self.data = data
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for byte in self.data:
                yield bytes([byte])
        finally:
            self.closed += 1


class Pieces:
    """The body of a part: pieces, one a call. It survives a cancelled `receive`.

    `error` is raised where the end would be. None among the pieces stands for a wait without end,
    once.
    """

    def __init__(self, pieces: Iterable[bytes | None], *, error: Exception | None = None) -> None:
        self._pieces = list(pieces)
        self._error = error or anyio.EndOfStream()

    async def receive(self) -> bytes:
        await checkpoint()
        if not self._pieces:
            raise self._error
        piece = self._pieces.pop(0)
        if piece is None:
            await anyio.sleep_forever()
            raise AssertionError("unreachable")
        return piece


def part_of(
    pieces: Iterable[bytes | None],
    *,
    error: Exception | None = None,
    level: MultipartReader | None = None,
    **said: Any,
) -> Part:
    """A part whose body comes in pieces; `said` goes to `PartInfo.of`."""
    return Part(
        PartInfo.of(**said),
        Pieces(pieces, error=error),
        level=level or MultipartReader(b"", TYPE),
    )
