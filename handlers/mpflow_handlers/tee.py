"""`Tee`: one part for several handlers at once.

Knows: which handlers, and whose failure counts. Must not know: how they run side by side.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal, TypeAlias

import attrs

from mpflow import Branches, Part, RouteError

__all__ = ["Tee"]

_Handler: TypeAlias = (
    Callable[[Part], Awaitable[Any]] | Callable[[Part], AbstractAsyncContextManager[Any]]
)


@attrs.frozen
class _Collected:
    """A child whose failure is kept, and does not fail the part."""

    handler: _Handler


def _child(handler: _Handler | _Collected) -> tuple[_Handler, Literal["abort", "collect"]]:
    if isinstance(handler, _Collected):
        return handler.handler, "collect"
    if not callable(handler):
        raise RouteError(f"expected handlers for a Tee, got {handler!r:.60}")
    return handler, "abort"


@attrs.frozen(init=False)
class Tee:
    """Gives each handler the whole part, and the tuple of their values, in order.

    The children run side by side, as fast as the slowest of them. The failure of one fails the
    part, so that what the others stored is rolled back; `Tee.collect(handler)` makes an exception
    for a child that may fail.
    """

    children: tuple[tuple[_Handler, Literal["abort", "collect"]], ...]

    def __init__(self, *handlers: _Handler | _Collected) -> None:
        if not handlers:
            raise RouteError("expected at least one handler for a Tee, got none")
        object.__setattr__(self, "children", tuple(_child(handler) for handler in handlers))

    @staticmethod
    def collect(handler: _Handler) -> _Collected:
        """The handler as a child of a `Tee` that may fail without failing the part."""
        _child(handler)
        return _Collected(handler)

    @asynccontextmanager
    async def __call__(self, part: Part) -> AsyncGenerator[tuple[Any, ...], None]:
        async with Branches(part, self.children) as values:
            yield values
