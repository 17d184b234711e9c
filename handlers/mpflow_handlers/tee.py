"""`Tee`: one part for several handlers at once.

Knows: which handlers, and whose failure counts. Must not know: how they run side by side.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from inspect import Signature
from typing import Any, Concatenate, Literal, TypeAlias

import attrs

from mpflow import Branches, Part, RouteError, accepted_needs, needs_of, signature_over

__all__ = ["Tee"]

_Handler: TypeAlias = (
    Callable[Concatenate[Part, ...], Awaitable[Any]]
    | Callable[Concatenate[Part, ...], AbstractAsyncContextManager[Any]]
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
    for a child that may fail. Each child gets those of the route's `needs` that it takes.
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

    @property
    def needs(self) -> Mapping[str, str]:
        """What the children say that they need."""
        merged: dict[str, str] = {}
        for handler, _ in self.children:
            for parameter, key in needs_of(getattr(handler, "needs", None)).items():
                if merged.setdefault(parameter, key) != key:
                    raise RouteError(
                        f"a child of a Tee needs {merged[parameter][:40]!a} as {parameter!r}, "
                        f"and another child needs {key[:40]!a}"
                    )
        return merged

    @property
    def call_signature(self) -> Signature:
        """What it is called with, for the check when it is registered."""
        return signature_over(*(handler for handler, _ in self.children))

    @asynccontextmanager
    async def __call__(self, part: Part, **needs: Any) -> AsyncGenerator[tuple[Any, ...], None]:
        children = self.children
        if needs:
            children = tuple(
                (partial(handler, **accepted_needs(handler, needs)), on_error)
                for handler, on_error in children
            )
        async with Branches(part, children) as values:
            yield values
