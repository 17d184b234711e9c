"""The kinds of predicates: frozen values that judge a part by its `PartInfo`.

Knows: what each kind asks, how predicates compose with `& | ~`, and how they print.
Must not know: routes, handlers, bodies, and what people write to make one (`make.py`).
"""

from __future__ import annotations

import fnmatch
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import attrs

from mpflow.errors import RouteError, excerpt
from mpflow.info import PartInfo

__all__ = [
    "And",
    "AnyPart",
    "ContentType",
    "Custom",
    "Depth",
    "Disposition",
    "Filename",
    "Header",
    "Index",
    "Name",
    "Not",
    "Or",
    "Path",
    "Predicate",
    "PredicateLike",
    "as_predicate",
]


class Predicate(ABC):
    """The base of all predicates: call one with a `PartInfo`, get a bool.

    `a & b`, `a | b` and `~a` compose; the left side is asked first and the right side only if it
    matters. A plain callable `(PartInfo) -> bool` may stand on either side. Composing with
    anything else raises `RouteError`. Equal predicates ask the same.
    """

    __slots__ = ()

    @abstractmethod
    def __call__(self, info: PartInfo, /) -> bool:
        """Whether the part fits. Each kind answers for itself; the base has no answer."""

    def __and__(self, other: PredicateLike) -> Predicate:
        return And(_flat(And, self, as_predicate(other)))

    def __rand__(self, other: PredicateLike) -> Predicate:
        return as_predicate(other) & self

    def __or__(self, other: PredicateLike) -> Predicate:
        return Or(_flat(Or, self, as_predicate(other)))

    def __ror__(self, other: PredicateLike) -> Predicate:
        return as_predicate(other) | self

    def __invert__(self) -> Predicate:
        return Not(self)

    def __bool__(self) -> bool:
        raise TypeError("a predicate is neither true nor false: compose with & | ~")


PredicateLike: TypeAlias = Predicate | Callable[[PartInfo], bool]
"""A predicate, or a plain callable `(PartInfo) -> bool`. It is sync, and may raise `Rejected`."""


def as_predicate(value: PredicateLike) -> Predicate:
    """`value` as a predicate: itself, or the callable wrapped; anything else is `RouteError`."""
    if isinstance(value, Predicate):
        return value
    if isinstance(value, str):
        text = excerpt(value)
        raise RouteError(f"expected a predicate, got {text}: is name={text} meant?")
    if not callable(value):
        raise RouteError(f"expected a predicate, got {excerpt(repr(value))}")
    _check_test(value)
    return Custom(value)


def _check_test(test: Callable[..., object]) -> None:
    what = getattr(test, "__qualname__", None) or excerpt(repr(test))
    inner = inspect.unwrap(test)
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        raise RouteError(
            f"expected a sync predicate, and {what} is async: a handler is given with "
            f"`@router.route()`, with the parentheses, or with `router.add(handler)`"
        )
    try:
        signature = inspect.signature(test)
    except (TypeError, ValueError):  # some builtins have none
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise RouteError(
            f"expected a predicate that takes one PartInfo, got {what}: {error}"
        ) from None


# -- composed ---------------------------------------------------------------------------------


@attrs.frozen(repr=False)
class And(Predicate):
    """All of `items`, asked in order until one says no."""

    items: tuple[Predicate, ...]

    def __call__(self, info: PartInfo, /) -> bool:
        for item in self.items:  # noqa: SIM110 - all() with a generator costs twice this loop
            if not item(info):
                return False
        return True

    def __repr__(self) -> str:
        return " & ".join(f"({x!r})" if isinstance(x, Or) else repr(x) for x in self.items)


@attrs.frozen(repr=False)
class Or(Predicate):
    """Any of `items`, asked in order until one says yes."""

    items: tuple[Predicate, ...]

    def __call__(self, info: PartInfo, /) -> bool:
        for item in self.items:  # noqa: SIM110 - any() with a generator costs twice this loop
            if item(info):
                return True
        return False

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.items))


@attrs.frozen(repr=False)
class Not(Predicate):
    """What `item` does not match."""

    item: Predicate

    def __call__(self, info: PartInfo, /) -> bool:
        return not self.item(info)

    def __invert__(self) -> Predicate:
        return self.item

    def __repr__(self) -> str:
        inner = repr(self.item)
        return f"~({inner})" if isinstance(self.item, And | Or) else f"~{inner}"


def _flat(kind: type[And] | type[Or], *sides: Predicate) -> tuple[Predicate, ...]:
    items: list[Predicate] = []
    for side in sides:
        items.extend(side.items if isinstance(side, kind) else (side,))
    return tuple(items)


# -- simple -----------------------------------------------------------------------------------


@attrs.frozen(repr=False)
class AnyPart(Predicate):
    """Every part."""

    def __call__(self, info: PartInfo, /) -> bool:
        return True

    def __repr__(self) -> str:
        return "any_part()"


@attrs.frozen(repr=False)
class Name(Predicate):
    """The part's name is `value`."""

    value: str

    def __call__(self, info: PartInfo, /) -> bool:
        return info.name == self.value

    def __repr__(self) -> str:
        return f"name({excerpt(self.value)})"


@attrs.frozen(repr=False)
class Filename(Predicate):
    """The part's filename fits `pattern`, in any case; without a pattern: there is a filename."""

    pattern: str | None
    _fits: re.Pattern[str] | None = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_fits", _glob(self.pattern))

    def __call__(self, info: PartInfo, /) -> bool:
        value = info.filename
        return value is not None and self.accepts(value)

    def accepts(self, value: str) -> bool:
        """Whether a part with this filename is taken."""
        if self._fits is None or self._fits.match(value.casefold()) is not None:
            return True
        # Folded, some letters become two, and a `?` stands for one.
        return not value.isascii() and self._fits.match(value.lower()) is not None

    def __repr__(self) -> str:
        return f"filename({True if self.pattern is None else self.pattern!r})"


@attrs.frozen(repr=False)
class ContentType(Predicate):
    """The part's content type lies in the media range `major/minor`, each None for any.

    It has each of `params`, pairs of a name in lower case and a value, in any case.
    """

    major: str | None
    minor: str | None
    params: frozenset[tuple[str, str]] = frozenset()
    _prefix: str = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        prefix = "" if self.major is None else f"{self.major}/{self.minor or ''}"
        object.__setattr__(self, "_prefix", prefix)

    def __call__(self, info: PartInfo, /) -> bool:
        if self.minor is None:
            fits = info.content_type.startswith(self._prefix)
        else:
            fits = info.content_type == self._prefix
        return fits and (not self.params or self.has_params(info))

    def has_params(self, info: PartInfo) -> bool:
        """Whether the part's content type has all of the parameters."""
        came = info.content_type_params
        return all(name in came and came[name].casefold() == value for name, value in self.params)

    def __str__(self) -> str:
        params = "".join(f"; {name}={value}" for name, value in sorted(self.params))
        return f"{self.major or '*'}/{self.minor or '*'}{params}"

    def __repr__(self) -> str:
        return f"content_type({excerpt(str(self), limit=200)})"


@attrs.frozen(repr=False)
class Header(Predicate):
    """A header `field` (any case) whose value, or one of whose values, fits `pattern`."""

    field: str
    pattern: str | None
    _fits: re.Pattern[str] | None = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_fits", _glob(self.pattern))

    def __call__(self, info: PartInfo, /) -> bool:
        return any(self.accepts(value) for value in info.headers.getall(self.field, ()))

    def accepts(self, value: str) -> bool:
        """Whether a part with this value of the header is taken."""
        return self._fits is None or self._fits.match(value) is not None

    def __repr__(self) -> str:
        return f"header({self.field!r}{'' if self.pattern is None else f', {self.pattern!r}'})"


@attrs.frozen(repr=False)
class Disposition(Predicate):
    """The part's disposition is `value`."""

    value: str

    def __call__(self, info: PartInfo, /) -> bool:
        return info.disposition == self.value

    def __repr__(self) -> str:
        return f"disposition({self.value!r})"


@attrs.frozen(repr=False)
class Index(Predicate):
    """The part is number `value` of its multipart."""

    value: int

    def __call__(self, info: PartInfo, /) -> bool:
        return info.index == self.value

    def __repr__(self) -> str:
        return f"index({self.value})"


@attrs.frozen(repr=False)
class Depth(Predicate):
    """The part has `value` parts around it."""

    value: int

    def __call__(self, info: PartInfo, /) -> bool:
        return info.depth == self.value

    def __repr__(self) -> str:
        return f"depth({self.value})"


@attrs.frozen(repr=False)
class Path(Predicate):
    """The part's path is `indexes`, where None stands for any index."""

    indexes: tuple[int | None, ...]

    def __call__(self, info: PartInfo, /) -> bool:
        return len(info.path) == len(self.indexes) and all(
            wanted is None or wanted == came
            for wanted, came in zip(self.indexes, info.path, strict=True)
        )

    def __repr__(self) -> str:
        return f"path({', '.join(map(repr, self.indexes))})"


@attrs.frozen(repr=False)
class Custom(Predicate):
    """What somebody's own callable says. It may raise, and may say otherwise the next time."""

    test: Callable[[PartInfo], object]

    def __call__(self, info: PartInfo, /) -> bool:
        return bool(self.test(info))

    def __repr__(self) -> str:
        return str(getattr(self.test, "__qualname__", None) or excerpt(repr(self.test)))


def _glob(pattern: str | None) -> re.Pattern[str] | None:
    # `translate` uses atomic groups: no glob backtracks more than polynomially.
    return None if pattern is None else re.compile(fnmatch.translate(pattern))
