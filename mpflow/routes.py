"""One route as a value: which parts it takes, who handles them, under which policies.

Knows: what a route holds, and which policies make sense.
Must not know: other routes (`router.py`), parts that come, tasks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Any, Concatenate, Generic, Literal, TypeAlias, TypeVar, cast, get_args

import attrs

from mpflow.decoding import DecodePolicy
from mpflow.errors import RouteError, excerpt
from mpflow.part import Part
from mpflow.predicates import Predicate
from mpflow.wire.limits import parse_size

__all__ = ["Handler", "Needs", "OnError", "Order", "Route", "needs_of"]

T_co = TypeVar("T_co", covariant=True)

Handler: TypeAlias = (
    Callable[Concatenate[Part, ...], Awaitable[T_co]]
    | Callable[Concatenate[Part, ...], AbstractAsyncContextManager[T_co]]
)
"""`async (Part, **needs) -> T`, or a callable that returns an async context manager of T."""

Needs: TypeAlias = str | Iterable[str] | Mapping[str, str]
"""A key, several, or a mapping of the handler's parameters to keys."""

Order: TypeAlias = Literal["reject", "spool"]
"""What becomes of a part that comes before one that it needs: refused, or kept on disk."""

OnError: TypeAlias = Literal["abort", "collect"]
"""What a handler's failure does: end the flow, or stay in its `Handled`."""

_ON_ERROR: tuple[object, ...] = get_args(OnError)
_DECODE: tuple[object, ...] = get_args(DecodePolicy)
_ORDER: tuple[object, ...] = get_args(Order)


def needs_of(needs: Needs | None) -> Mapping[str, str]:
    """Needs as a read-only mapping of parameter to key; `RouteError` where they are none."""
    given: object = needs
    if given is None:
        return _NOTHING
    if isinstance(given, str):
        pairs: list[tuple[Any, Any]] = [(given, given)]
    elif isinstance(given, Mapping):
        pairs = list(cast("Mapping[Any, Any]", needs).items())
    elif isinstance(given, Iterable):
        pairs = [(key, key) for key in cast("Iterable[Any]", needs)]
    else:
        raise RouteError(f"expected needs as keys, got {excerpt(repr(given))}")
    for parameter, key in pairs:
        if not isinstance(parameter, str) or not isinstance(key, str):
            raise RouteError(f"expected needs as keys, got {excerpt(repr(pairs))}")
        if not parameter.isidentifier():
            raise RouteError(
                f"expected the need {excerpt(parameter)} as the name of a parameter: "
                "a mapping of parameter to key names another"
            )
    return MappingProxyType(dict(pairs)) if pairs else _NOTHING


_NOTHING: Mapping[str, str] = MappingProxyType({})


def _bytes(value: int | str | None) -> int | None:
    try:
        return parse_size(value)
    except (TypeError, ValueError) as error:
        raise RouteError(f"max_bytes of a route: {error}") from None


def _optional_key(route: Any, field: Any, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise RouteError(f"expected key as a str, got {excerpt(repr(value))}")


def _count(route: Any, field: Any, value: Any) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise RouteError(f"expected max_count as an int of at least 1, got {excerpt(repr(value))}")


def _seconds(route: Any, field: Any, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and value > 0):  # NaN is not above 0
        raise RouteError(f"expected timeout as seconds above 0, got {excerpt(repr(value))}")


def _on_error(route: Any, field: Any, value: OnError) -> None:
    if value not in _ON_ERROR:
        raise RouteError(f"expected on_error='abort' or 'collect', got {excerpt(repr(value))}")


def _decode(route: Any, field: Any, value: DecodePolicy) -> None:
    if value not in _DECODE:
        raise RouteError(f"expected decode='transfer', 'all' or 'none', got {excerpt(repr(value))}")


def _order(route: Any, field: Any, value: Order) -> None:
    if value not in _ORDER:
        raise RouteError(f"expected order='reject' or 'spool', got {excerpt(repr(value))}")


def _flag(route: Any, field: Any, value: Any) -> None:
    if not isinstance(value, bool):
        raise RouteError(f"expected {field.name} as a bool, got {excerpt(repr(value))}")


@attrs.frozen(eq=False, repr=False)
class Route(Generic[T_co]):
    """A route: the parts that fit `predicate` go to `handler`, whose result is a `T_co`.

    Routes are made by a router, and are equal only to themselves.
    """

    handler: Callable[Concatenate[Part, ...], Awaitable[T_co] | AbstractAsyncContextManager[T_co]]
    predicate: Predicate = attrs.field(kw_only=True)
    name: str = attrs.field(kw_only=True)
    """The handler's name, for messages."""
    key: str | None = attrs.field(default=None, kw_only=True, validator=_optional_key)
    """The key that is declared: `key=`, else the literal `name=`, else None."""
    required: bool = attrs.field(default=False, kw_only=True, validator=_flag)
    """Whether a body without such a part is refused."""
    max_count: int | None = attrs.field(default=None, kw_only=True, validator=_count)
    """How many parts the route takes at most; None is no limit."""
    max_bytes: int | None = attrs.field(default=None, kw_only=True, converter=_bytes)
    """Bytes of one part, in place of `Limits.max_part_bytes`; None leaves that in force."""
    timeout: float | None = attrs.field(default=None, kw_only=True, validator=_seconds)
    """Seconds from the handler's call to its answer; None is no limit of the route's own."""
    on_error: OnError = attrs.field(default="abort", kw_only=True, validator=_on_error)
    """`"abort"` ends the flow when a handler fails; `"collect"` keeps the failure and goes on."""
    decode: DecodePolicy = attrs.field(default="transfer", kw_only=True, validator=_decode)
    """What handlers that store a part undo of it: `"transfer"` its transfer encoding, `"all"` its
    content codings as well, `"none"` nothing."""
    needs: Mapping[str, str] = attrs.field(default=None, kw_only=True, converter=needs_of)
    """What the handler gets of other parts: the keys of their results, by parameter."""
    order: Order = attrs.field(default="reject", kw_only=True, validator=_order)
    """What becomes of a part that comes before one that it needs: `"reject"` refuses it,
    `"spool"` keeps it in a temporary file until the needs are met."""
    two_phase: bool | None = attrs.field(default=None, kw_only=True)
    """Whether the handler returns an async context manager; None: to be seen when it is called."""
    included: Route[T_co] | None = attrs.field(default=None, kw_only=True)
    """The route of another router that `include` made this one of."""

    def is_of(self, route: object) -> bool:
        """Whether it is that route, or was made of it by `include`."""
        own: Route[Any] | None = self
        while own is not None and own is not route:
            own = own.included
        return own is not None

    @property
    def label(self) -> str:
        """The route as a message names it: its key, else what it asks for."""
        return repr(self.predicate) if self.key is None else excerpt(self.key)

    def __repr__(self) -> str:
        return f"<Route {self.predicate!r} to {self.name}>"
