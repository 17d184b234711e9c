"""What one task waits on until another one sets it, once.

Knows: the futures of asyncio, the events of trio. Must not know: who waits, and for what.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from anyio.lowlevel import current_token

if TYPE_CHECKING:
    from asyncio import Future

__all__ = ["Wake", "wakes_here"]


class Wake(Protocol):
    """An event for one task that waits right after it was made, so before anybody sets it."""

    def set(self) -> None: ...

    def wait(self) -> Awaitable[object]: ...


class _OfFuture:
    """A bare future of asyncio: an event costs twice as much, once a chunk of a large part."""

    __slots__ = ("_future",)

    def __init__(self, future: Future[None]) -> None:
        self._future = future

    def set(self) -> None:
        if not self._future.done():  # it is, where who waits was cancelled
            self._future.set_result(None)

    def wait(self) -> Awaitable[object]:
        return self._future


def wakes_here() -> Callable[[], Wake]:
    """What makes one on the event loop that runs, without the look-ups of `anyio.Event`."""
    create_future = getattr(current_token().native_token, "create_future", None)
    if create_future is None:
        trio: Any = sys.modules["trio"]
        event: Callable[[], Wake] = trio.Event
        return event
    return lambda: _OfFuture(create_future())
