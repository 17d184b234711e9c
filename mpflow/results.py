"""What came of a message: one `Handled` a part, in wire order and by key.

Knows: values, failures, and how they are found again.
Must not know: how a part was handled, or who is asking.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, TypeVar, cast, overload

import attrs

from mpflow.errors import NoResult, PartRef, excerpt
from mpflow.info import PartInfo
from mpflow.routes import Route
from mpflow.shapes import Filed, Shape

__all__ = ["Handled", "Results"]

T = TypeVar("T")
D = TypeVar("D")

_TwoPhase: TypeAlias = Callable[..., AbstractAsyncContextManager[T]]
_OnePhase: TypeAlias = Callable[..., Awaitable[T]]
_Key: TypeAlias = str | Route[Any] | Callable[..., Any]


# Not frozen: that costs a tiny part a third of a microsecond.
@attrs.define(eq=False, repr=False)
class Handled:
    """What became of one part, not to be changed.

    It keeps no byte of the body but what the value holds.
    """

    part: PartInfo
    """What the part said about itself, and its `size` in bytes on the wire."""
    key: str | None
    """What the part is filed under: its route's key, else its own name, else None."""
    route: Route[Any]
    """The route that took it."""
    value: Any = None
    """What the handler returned or yielded; None where it failed."""
    error: BaseException | None = None
    """Why the handler failed, on a route with `on_error="collect"`; else None."""

    @property
    def ref(self) -> PartRef:
        """The part, as errors name it."""
        return self.part.ref

    def __repr__(self) -> str:
        outcome = f"value={self.value!r}" if self.error is None else f"error={self.error!r}"
        return f"<Handled {self.ref} by {self.route.name}: {outcome}>"


class Results(Filed):
    """The parts of a message that were handled: iterate for wire order, look up by key.

    Wherever a key is asked for, a handler or a route will do, and a type checker then knows the
    type of what comes out. A handler finds the parts of all routes that lead to it.
    """

    __slots__ = ("_by_key", "_handled", "_keys")

    def __init__(
        self, handled: Iterable[Handled] = (), *, keys: Collection[str] | None = None
    ) -> None:
        self._handled = tuple(handled)
        self._keys = keys
        self._by_key: dict[str | None, Handled | list[Handled]] | None = None

    def __iter__(self) -> Iterator[Handled]:
        return iter(self._handled)

    def __len__(self) -> int:
        return len(self._handled)

    def __contains__(self, key: _Key) -> bool:
        """Whether any part was filed there, failed ones too."""
        return bool(self._find(key))

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: Route[T]) -> T: ...
    @overload
    def __getitem__(self, key: _OnePhase[T]) -> T: ...
    @overload
    def __getitem__(self, key: _TwoPhase[T]) -> T: ...
    def __getitem__(self, key: _Key) -> Any:
        """The value of the only part of that key.

        None or several parts raise `NoResult`; a part that failed raises its error.
        """
        found = self._find(key)
        if len(found) != 1:
            raise NoResult(self._missing(key) if not found else _several(key, found))
        return _value(found[0])

    @overload
    def get(self, key: str, default: Any = None) -> Any: ...
    @overload
    def get(self, key: Route[T], default: None = None) -> T | None: ...
    @overload
    def get(self, key: Route[T], default: D) -> T | D: ...
    @overload
    def get(self, key: _OnePhase[T], default: None = None) -> T | None: ...
    @overload
    def get(self, key: _OnePhase[T], default: D) -> T | D: ...
    @overload
    def get(self, key: _TwoPhase[T], default: None = None) -> T | None: ...
    @overload
    def get(self, key: _TwoPhase[T], default: D) -> T | D: ...
    def get(self, key: _Key, default: Any = None) -> Any:
        """The value of the only part of that key, or `default` where there is none.

        Several parts raise `NoResult`; a part that failed raises its error.
        """
        found = self._find(key)
        if len(found) > 1:
            raise NoResult(_several(key, found))
        return _value(found[0]) if found else default

    @overload
    def all(self, key: str) -> list[Any]: ...
    @overload
    def all(self, key: Route[T]) -> list[T]: ...
    @overload
    def all(self, key: _OnePhase[T]) -> list[T]: ...
    @overload
    def all(self, key: _TwoPhase[T]) -> list[T]: ...
    def all(self, key: _Key) -> list[Any]:
        """The values of all parts of that key that succeeded, in wire order; maybe none."""
        return [item.value for item in self._find(key) if item.error is None]

    def into(self, cls: type[T]) -> T:
        """The results as an instance of an attrs class or a dataclass, a key for each field.

        `name: T` takes the one part of the key `name`; `T | None`, or a default, one or none;
        `list[T]` and `tuple[T, ...]` any number; where T is such a class itself, the results of a
        `Nested`. A field's metadata may say otherwise: `{"key": ...}` (None leaves it to its
        default), `{"many": False}`. Raises `RouteError` for a field whose key no route declares;
        of all else that is wrong together, `MissingParts`, or `ResultsMismatch` where a value has
        the wrong type, a handler has failed (unless the type names its exception) or several parts
        came for one. What the class itself raises comes out as it is.
        """
        made: T = Shape.of(cls).build(self)
        return made

    @property
    def declared_keys(self) -> Collection[str] | None:
        """The keys that the routes declare; None for results that no router made."""
        return self._keys

    def declared(self, key: str) -> list[Handled]:
        """The parts of the routes that declare `key`, in wire order."""
        return [item for item in self._find(key) if item.route.key == key]

    @property
    def errors(self) -> list[BaseException]:
        """The failures that were collected, in wire order."""
        return [item.error for item in self._handled if item.error is not None]

    def raise_for_errors(self) -> None:
        """Raise all collected failures as one `ExceptionGroup`; do nothing if there are none."""
        errors = self.errors
        if errors:
            raise BaseExceptionGroup(f"{len(errors)} of {len(self)} parts failed", errors)

    def __repr__(self) -> str:
        return f"<Results of {len(self)} parts, {len(self.errors)} failed>"

    def _find(self, key: _Key) -> list[Handled]:
        if isinstance(key, str):
            found = self._index().get(key, [])
            return found if isinstance(found, list) else [found]
        if isinstance(key, Route):
            route: object = cast("object", key)
            return [item for item in self._handled if item.route.is_of(route)]
        if not callable(key):
            raise TypeError(f"expected a key, a handler or a route, got {excerpt(repr(key))}")
        return [item for item in self._handled if _same_handler(item.route.handler, key)]

    def _index(self) -> dict[str | None, Handled | list[Handled]]:
        """What is filed where. Most keys have one part: no list is made for it."""
        if self._by_key is None:
            index: dict[str | None, Handled | list[Handled]] = {}
            for item in self._handled:
                other = index.setdefault(item.key, item)
                if other is item:
                    continue
                if isinstance(other, list):
                    other.append(item)
                else:
                    index[item.key] = [other, item]
            self._by_key = index
        return self._by_key

    def _missing(self, key: _Key) -> str:
        known = [excerpt(name) for name in self._index() if name is not None]
        came = f"{', '.join(known[:10])}{', ...' if len(known) > 10 else ''}" if known else "none"
        return f"expected one part of {_label(key)}, got none; the keys that came: {came}"


def _same_handler(one: object, other: object) -> bool:
    # A method is another object each time it is looked up.
    return one is other or (isinstance(one, types.MethodType) and one == other)


def _value(item: Handled) -> Any:
    if item.error is not None:
        raise item.error
    return item.value


def _several(key: _Key, found: list[Handled]) -> str:
    return (
        f"expected one part of {_label(key)}, got {len(found)}, the first two are "
        f"{found[0].ref} and {found[1].ref}: results.all() gives the values of all"
    )


def _label(key: _Key) -> str:
    if isinstance(key, str):
        return f"key {excerpt(key)}"
    if isinstance(key, Route):
        return f"the route to {key.name}"
    return f"handler {getattr(key, '__qualname__', None) or excerpt(repr(key))}"
