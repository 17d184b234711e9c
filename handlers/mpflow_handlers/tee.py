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
    for a child that may fail. Each child gets those of the route's `needs` that
    are its own: what it says that it needs, and what its parameters take.
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
    def handlers_inside(self) -> tuple[_Handler, ...]:
        """Whose values it gives, in order: for checks of the routers inside them."""
        return tuple(handler for handler, _ in self.children)

    @property
    def needs(self) -> Mapping[str, str] | None:
        """What the children say that they need; None if none of them says anything."""
        said = [getattr(handler, "needs", None) for handler, _ in self.children]
        merged: dict[str, str] = {}
        for own in said:
            for parameter, key in needs_of(own).items():
                if merged.setdefault(parameter, key) != key:
                    raise RouteError(
                        f"a child of a Tee needs {merged[parameter][:40]!a} as {parameter!r}, "
                        f"and another child needs {key[:40]!a}"
                    )
        return None if all(own is None for own in said) else merged

    @property
    def call_signature(self) -> Signature:
        """What it is called with, for the check when it is registered."""
        return signature_over(*(handler for handler, _ in self.children))

    @asynccontextmanager
    async def __call__(self, part: Part, /, **needs: Any) -> AsyncGenerator[tuple[Any, ...], None]:
        children: list[tuple[Callable[[Part], Any], Literal["abort", "collect"]]] = [
            (_with(handler, needs), on_error) for handler, on_error in self.children
        ]
        async with Branches(part, children) as values:
            yield values


def _with(handler: _Handler, needs: Mapping[str, Any]) -> Callable[[Part], Any]:
    """The child with those of the values that are its own.

    They are what it takes; of a child that says what it needs, that, and what its parameters name.
    """
    if not needs:
        return handler
    own: Any = getattr(handler, "needs", None)
    if own is None:
        return partial(handler, **accepted_needs(handler, needs))
    named = signature_over(handler).parameters.values()
    names = {*needs_of(own), *(p.name for p in named if p.kind is p.KEYWORD_ONLY)}
    return partial(handler, **{name: value for name, value in needs.items() if name in names})
