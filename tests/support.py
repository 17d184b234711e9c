"""What the tests of reading share.

Knows: readers, parts and small bodies. Must not know: routers, flows, handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from inspect import isasyncgen
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import MultipartReader, Part, PartInfo
from mpflow.testing import body, content_type_of

__all__ = [
    "BODY", "TYPE", "Pieces", "at_most", "crlf", "only_asyncio", "only_trio", "part_of", "parts_of",
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


async def at_most(passes: int, call: Callable[[], Awaitable[object]]) -> None:
    """Call, and cancel the call once it waits, after so many passes of the scheduler."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                for _ in range(passes):
                    await anyio.wait_all_tasks_blocked()
                scope.cancel()

            group.start_soon(cancel)
            await call()
    assert scope.cancelled_caught


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
