"""The fields of an attrs class or a dataclass: what each is filled from, and with what.

Knows: how such classes say what their `__init__` takes. Must not know: results, parts, flows.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

import attrs

from mpflow.errors import RouteError, excerpt
from mpflow.fitting import arms, bare

__all__ = ["Field", "class_of", "fields_of", "record_in"]

_MANY: Final[Mapping[Any, Callable[[list[Any]], Any]]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.deque: collections.deque,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Reversible: list,
    collections.abc.Container: list,
    collections.abc.Iterable: list,
    collections.abc.Set: frozenset,
    collections.abc.MutableSet: set,
}
_HASHING: Final = frozenset({set, frozenset})


@attrs.frozen
class Field:
    """One field of a class: the key that it is filled from, and with what."""

    name: str
    """The name that the class's `__init__` has for it."""
    key: str
    type: Any
    """The type of one value."""
    gather: Callable[[list[Any]], Any] | None
    """Makes one value of those of many parts; None for a field of one part."""
    has_default: bool
    is_optional: bool
    is_checked: bool
    """Whether values must be of the type: where the class converts them, that is its affair."""

    @property
    def needs_hashes(self) -> bool:
        """Whether the values go into a set."""
        return self.gather in _HASHING

    @property
    def is_required(self) -> bool:
        return not (self.has_default or self.is_optional or self.gather)


def class_of(record: Any) -> type[Any]:
    """The class itself: of `Box[int]`, `Box`."""
    return cast("type[Any]", typing.get_origin(record) or record)


def is_record(hint: Any) -> bool:
    """Whether it is an attrs class or a dataclass, or one with its type variables filled in.

    Exceptions are none: where a type names one, it asks for a failure.
    """
    cls: object = class_of(hint)
    if not isinstance(cls, type) or issubclass(cls, BaseException):
        return False
    kind: type[Any] = cls
    return attrs.has(kind) or dataclasses.is_dataclass(kind)


def record_in(hint: Any) -> Any:
    """The one class in the type that results can be put into, or None."""
    found = [arm for arm in arms(hint) if is_record(arm)]
    return found[0] if len(found) == 1 else None


def fields_of(record: Any) -> tuple[Field, ...]:
    """The fields that `__init__` takes; `RouteError` for any other class, or one of no use."""
    if not is_record(record):
        raise RouteError(
            f"expected an attrs class or a dataclass to put results into, "
            f"got {excerpt(repr(record))}"
        )
    return _fields_of(record)


@functools.lru_cache(maxsize=256)
def _fields_of(record: Any) -> tuple[Field, ...]:
    cls = class_of(record)
    hints = _hints(record, cls)
    made = _attrs_fields(cls, hints) if attrs.has(cls) else _dataclass_fields(cls, hints)
    fields = tuple(field for field in made if field is not None)
    try:
        inspect.signature(cls).bind(**{field.name: None for field in fields})
    except TypeError as error:
        raise RouteError(f"{cls.__name__} cannot be made of its fields: {error}") from None
    except ValueError:
        pass  # it has no signature
    return fields


def _attrs_fields(cls: Any, hints: Mapping[str, Any]) -> Iterator[Field | None]:
    for a in attrs.fields(cls):
        if a.init:
            yield _field(
                a.alias or a.name,
                hints.get(a.name, Any if a.type is None else a.type),
                a.metadata,
                has_default=a.default is not attrs.NOTHING,
                is_checked=a.converter is None,
            )


def _dataclass_fields(cls: Any, hints: Mapping[str, Any]) -> Iterator[Field | None]:
    missing = dataclasses.MISSING
    kept = {f.name for f in dataclasses.fields(cls)}
    # `fields` leaves out what `__init__` takes and no instance keeps.
    every: Mapping[str, dataclasses.Field[Any]] = cls.__dataclass_fields__
    for f in every.values():
        hint: Any = hints.get(f.name, Any)
        is_init_only = _is_init_only(hint)
        if not f.init or not (f.name in kept or is_init_only):
            continue
        has_default = f.default is not missing or f.default_factory is not missing
        inner = getattr(hint, "type", Any) if is_init_only else hint
        yield _field(f.name, inner, f.metadata, has_default=has_default, is_checked=True)


def _is_init_only(hint: object) -> bool:
    return hint is dataclasses.InitVar or isinstance(hint, dataclasses.InitVar)


def _hints(record: Any, cls: type[Any]) -> dict[str, Any]:
    """The types of a class's fields, its type variables filled in."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception as error:
        raise RouteError(
            f"the types of {cls.__name__} cannot be looked up: {type(error).__name__}: {error} "
            f"(they must be defined in its module, or in its own annotations without quotes)"
        ) from error
    filled: dict[type[Any], dict[Any, Any]] = {}
    _fill_classes(record, filled)
    owners = {name: owner for owner in reversed(cls.__mro__) for name in _own_hints(owner)}
    return {
        name: _fill(hint, filled.get(owners.get(name, cls), {})) for name, hint in hints.items()
    }


def _own_hints(cls: type[Any]) -> Iterable[str]:
    return inspect.get_annotations(cls)


def _fill_classes(record: Any, filled: dict[type[Any], dict[Any, Any]]) -> None:
    """What the type variables of a class, and of those above it, stand for."""
    cls = class_of(record)
    variables: tuple[Any, ...] = getattr(cls, "__parameters__", ())
    values = dict(zip(variables, typing.get_args(record), strict=False))
    filled.setdefault(cls, values)
    for base in _bases(cls):
        if class_of(base) not in (object, typing.Generic, typing.Protocol):
            _fill_classes(_fill(base, values), filled)


def _bases(cls: type[Any]) -> tuple[Any, ...]:
    # Not an inherited one: `types.get_original_bases` says so from Python 3.12 on.
    return tuple(vars(cls).get("__orig_bases__", cls.__bases__))


def _fill(hint: Any, values: Mapping[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return values.get(hint, hint)
    variables: tuple[Any, ...] = getattr(hint, "__parameters__", ())
    if not variables or isinstance(hint, type):
        return hint
    return hint[tuple(values.get(variable, variable) for variable in variables)]


def _field(
    name: str, hint: Any, metadata: Mapping[Any, Any], *, has_default: bool, is_checked: bool
) -> Field | None:
    """The field, or None for one that is left to its default."""
    key, many = metadata.get("key", name), metadata.get("many")
    if not isinstance(key, str | None) or not isinstance(many, bool | None):
        raise RouteError(
            f"expected the metadata of the field {name!r} as 'key', a str or None, and 'many', "
            f"a bool"
        )
    if key is None:
        if not has_default:
            raise RouteError(f"expected a default of the field {name!r}, as its key is None")
        return None
    is_optional = any(arm in (None, type(None)) for arm in arms(hint))
    gather, element = (None, bare(hint)) if many is False else _many(hint)
    if many is True and gather is None:
        raise RouteError(
            f"expected the field {name!r} of many parts as a list[...], a tuple[..., ...], a set, "
            f"a deque or what these are"
        )
    inner = record_in(element)
    if gather in _HASHING and inner is not None and class_of(inner).__hash__ is None:
        raise RouteError(
            f"expected a class that can be in a set for the field {name!r}, and "
            f"{class_of(inner).__name__} has no hash (a frozen one has)"
        )
    return Field(name, key, element, gather, has_default, is_optional, is_checked)


def _many(hint: Any) -> tuple[Callable[[list[Any]], Any] | None, Any]:
    """For `list[T]` and its like, or one or None, what makes one of many values, and T."""
    others = [arm for arm in arms(hint) if arm not in (None, type(None))]
    one = others[0] if len(others) == 1 else None
    origin, args = typing.get_origin(one) or one, typing.get_args(one)
    gather = _MANY.get(origin)
    if gather is None:
        return None, bare(hint)
    if not args:
        return gather, Any
    if origin is tuple and (len(args) != 2 or args[1] is not Ellipsis):
        return None, bare(hint)  # a tuple of fixed length is a value
    return gather, bare(args[0])
