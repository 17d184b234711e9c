"""Whether a value is of a type, as far as one can tell by looking.

Knows: unions, literals, containers and what `typing` wraps types in.
Must not know: where values come from, or what a misfit means.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from mpflow.errors import excerpt

__all__ = ["admits", "arms", "bare", "fits", "is_hashable", "places", "shown"]


def bare(hint: Any) -> Any:
    """The type without what says nothing of values: Annotated, Final, NewType, type aliases."""
    while True:
        origin = typing.get_origin(hint)
        if origin in (typing.Annotated, typing.Final, typing.ClassVar):
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif hasattr(hint, "__value__") and not isinstance(hint, type):
            hint = hint.__value__
        else:
            return hint


def arms(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    hint = bare(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(arm for one in typing.get_args(hint) for arm in arms(one))
    return (hint,)


def fits(value: object, hint: Any) -> bool:
    """Whether the value is of the type. Where looking tells nothing (a protocol, ...), it is."""
    return any(_fits(value, arm) for arm in arms(hint))


def admits(error: BaseException, hint: Any) -> bool:
    """Whether the type asks for such an exception: it names its class, or one above that."""
    named = [typing.get_origin(arm) or arm for arm in arms(hint)]
    return any(
        isinstance(arm, type) and issubclass(arm, BaseException) and isinstance(error, arm)
        for arm in named
    )


def is_hashable(value: object) -> bool:
    """Whether the value can be in a set. A list in a tuple tells that only when it is asked."""
    try:
        hash(value)
    except Exception:
        return False
    return True


def places(hint: Any, count: int) -> tuple[Any, ...] | None:
    """The types of what a tuple of that length holds, where the type asks for such a one."""
    found: list[tuple[Any, ...]] = []
    for arm in arms(hint):
        args = typing.get_args(arm)
        if typing.get_origin(arm) is not tuple or any(map(_is_unpacked, args)):
            continue
        if len(args) == 2 and args[1] is Ellipsis:
            args = args[:1] * count
        if len(args) == count:
            found.append(args)
    return found[0] if len(found) == 1 else None


def _fits(value: object, hint: Any) -> bool:
    if hint is None or hint is type(None):
        return value is None
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in args)
    cls = origin or hint
    if not isinstance(cls, type):
        return True  # Any, a type variable, ...
    if typing.is_typeddict(cls):
        return isinstance(value, dict)
    if not _is_instance(value, cls):
        return False
    return _items_fit(value, origin, args)


def _is_instance(value: object, cls: type) -> bool:
    if isinstance(value, bool) and cls in (int, float, complex):
        return cls is int
    if cls is float:
        cls_or_int: Any = (float, int)  # PEP 484: where a float is expected, an int will do
        return isinstance(value, cls_or_int)
    if cls is complex:
        cls_or_less: Any = (complex, float, int)
        return isinstance(value, cls_or_less)
    try:
        return isinstance(value, cls)
    except TypeError:  # a protocol that is not for run time
        return True


def _items_fit(value: Any, origin: Any, args: tuple[Any, ...]) -> bool:
    """Whether what is in the value fits, where the type's arguments are those of its items.

    That is said of builtins and of ABCs alone: a class of somebody's own may have its type
    variables for anything (`class Grid(list[tuple[str, T]], Generic[T])`).
    """
    if not args or not _is_theirs(origin):
        return True
    kind = _class(value)
    if issubclass(origin, tuple):
        if len(args) == 2 and args[1] is Ellipsis:
            return all(fits(item, args[0]) for item in value)
        if any(map(_is_unpacked, args)):
            return True
        return len(args) == len(value) and all(map(fits, value, args))
    if issubclass(origin, Mapping):
        known = len(args) == 2 and issubclass(kind, Mapping)
        return not known or all(fits(k, args[0]) and fits(v, args[1]) for k, v in value.items())
    if issubclass(kind, list | tuple | set | frozenset) and len(args) == 1:
        return all(fits(item, args[0]) for item in value)
    return True


def _is_theirs(origin: Any) -> bool:
    return getattr(origin, "__module__", None) in ("builtins", "collections", "collections.abc")


def _class(value: object) -> type[Any]:
    return type(value)


def _is_unpacked(arg: Any) -> bool:
    """Whether it stands for any number of items: `*tuple[int, ...]`, `*Ts`."""
    return bool(getattr(arg, "__unpacked__", False)) or typing.get_origin(arg) is typing.Unpack


def shown(hint: Any) -> str:
    """The type as a message names it."""
    return (
        inspect.formatannotation(hint) if isinstance(hint, type) else excerpt(str(hint), limit=80)
    )
