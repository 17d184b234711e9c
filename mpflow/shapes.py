"""`Shape`: a class that results are put into, field by field.

Knows: attrs classes and dataclasses, their fields, and which values fit a type.
Must not know: flows, or how results are found (`Filed` is all it asks for).
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast

import attrs

from mpflow.errors import MissingParts, PartRef, ResultsMismatch, RouteError, excerpt
from mpflow.fitting import arms, bare, fits, shown

__all__ = ["Filed", "Item", "Shape"]

_MANY: Final[Mapping[Any, Callable[[list[Any]], Any]]] = {
    list: list,
    tuple: tuple,
    collections.abc.Sequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
}
_MAX_FAILURES: Final = 10


class Item(typing.Protocol):
    """What became of one part."""

    @property
    def ref(self) -> PartRef: ...
    @property
    def value(self) -> Any: ...
    @property
    def error(self) -> BaseException | None: ...


class Filed(ABC):
    """Results that were filed under keys."""

    @abstractmethod
    def declared(self, key: str) -> Sequence[Item]:
        """The parts of the routes that declare `key`, in wire order."""


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

    @property
    def is_required(self) -> bool:
        return not (self.has_default or self.is_optional or self.gather)


@attrs.frozen
class Shape:
    """The fields of an attrs class or a dataclass. Raises `RouteError` for any other.

    A field is filled from the part of the key that is its name, or that its metadata names
    (`metadata={"key": ...}`). `T` asks for one part, `T | None` or a default for one or none,
    `list[T]` and `tuple[T, ...]` for any number, unless the metadata says `"many": False`. Where
    `T` is such a class itself, the `Results` of a `Nested` are put into it.
    """

    cls: type[Any]
    fields: tuple[Field, ...]

    @classmethod
    def of(cls, wanted: type[Any]) -> Shape:
        """The shape of the class."""
        if not _is_record(wanted):
            raise RouteError(
                f"expected an attrs class or a dataclass to put results into, "
                f"got {excerpt(repr(wanted))}"
            )
        return _shape(wanted)

    def check(self, keys: Collection[str]) -> None:
        """`RouteError` if a field has a key that no route declares."""
        unknown = [field.key for field in self.fields if field.key not in keys]
        if unknown:
            raise RouteError(
                f"{self.cls.__name__} has fields for the keys {', '.join(map(excerpt, unknown))}, "
                f"which no route declares"
            )

    @property
    def single(self) -> frozenset[str]:
        """The keys of which one part is taken at most."""
        return frozenset(field.key for field in self.fields if field.gather is None)

    def build(self, results: Filed) -> Any:
        """An instance of the class.

        All that is missing, surplus, failed or of the wrong type is reported together:
        `MissingParts` where no more than that is wrong, else `ResultsMismatch`.
        """
        faults = _Faults()
        made = self._build(results, "", faults)
        faults.raise_any(self.cls)
        return made

    def _build(self, results: Filed, path: str, faults: _Faults) -> Any:
        before = faults.count
        values: dict[str, Any] = {}
        for field in self.fields:
            items = results.declared(field.key)
            where = path + field.key
            if field.gather is not None:
                if items or not field.has_default:
                    found = [
                        self._value(item, field, f"{where}[{i}]", faults)
                        for i, item in enumerate(items)
                    ]
                    values[field.name] = field.gather(found)
            elif len(items) == 1:
                values[field.name] = self._value(items[0], field, where, faults)
            elif items:
                text = f"{where}: expected one part, got {len(items)}: {items[0].ref}, "
                faults.surplus.append(f"{text}{items[1].ref}")
            elif field.is_required:
                faults.missing.append(where)
            elif not field.has_default:
                values[field.name] = None
        return self.cls(**values) if faults.count == before else None

    def _value(self, item: Item, field: Field, where: str, faults: _Faults) -> Any:
        if item.error is not None:
            # A type that admits exceptions asks for them.
            if not fits(item.error, field.type) or field.type in (Any, object):
                faults.failed.append(
                    (f"{where}: {item.ref} failed: {item.error!r:.200}", item.error)
                )
            return item.error
        inner = _record_in(field.type)
        if inner is not None and isinstance(item.value, Filed):
            return _shape(inner)._build(item.value, f"{where}.", faults)
        if not fits(item.value, field.type):
            faults.wrong.append(
                f"{where}: expected {shown(field.type)}, got {type(item.value).__name__} "
                f"from {item.ref}"
            )
        return item.value


@attrs.define(eq=False)
class _Faults:
    missing: list[str] = attrs.field(factory=list[str])
    surplus: list[str] = attrs.field(factory=list[str])
    wrong: list[str] = attrs.field(factory=list[str])
    failed: list[tuple[str, BaseException]] = attrs.field(factory=list[tuple[str, BaseException]])

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.surplus) + len(self.wrong) + len(self.failed)

    def raise_any(self, cls: type[Any]) -> None:
        if not self.count:
            return
        if self.count == len(self.missing):
            raise MissingParts(self.missing)
        error = ResultsMismatch(
            cls.__name__,
            missing=self.missing,
            surplus=self.surplus,
            wrong=self.wrong,
            failed=[text for text, _ in self.failed],
        )
        if self.failed:
            causes = [cause for _, cause in self.failed]
            error.__cause__ = BaseExceptionGroup(f"{len(causes)} parts failed", causes)
        raise error


# -- classes ----------------------------------------------------------------------------------


def _is_record(cls: Any) -> bool:
    return isinstance(cls, type) and (attrs.has(cls) or dataclasses.is_dataclass(cls))


def _shape(cls: type[Any]) -> Shape:
    key: Any = cls
    return cast("Shape", _made(key))


@functools.lru_cache(maxsize=256)
def _made(cls: Any) -> Any:
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception as error:
        raise RouteError(
            f"the types of {cls.__name__} cannot be looked up: {type(error).__name__}: {error}"
        ) from error
    if attrs.has(cls):
        return Shape(
            cls,
            tuple(
                _field(
                    a.alias or a.name,
                    hints.get(a.name, Any),
                    a.default is not attrs.NOTHING,
                    a.metadata,
                )
                for a in attrs.fields(cls)
                if a.init
            ),
        )
    return Shape(
        cls,
        tuple(
            _field(f.name, hints.get(f.name, Any), _has_default(f), f.metadata)
            for f in dataclasses.fields(cls)
            if f.init
        ),
    )


def _has_default(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _field(name: str, hint: Any, has_default: bool, metadata: Mapping[Any, Any]) -> Field:
    key, many = metadata.get("key", name), metadata.get("many")
    if not isinstance(key, str) or not isinstance(many, bool | None):
        raise RouteError(
            f"expected the metadata of the field {name!r} as 'key', a str, and 'many', a bool"
        )
    hint = bare(hint)
    is_optional = fits(None, hint) and hint not in (Any, object)
    gather, element = (None, hint) if many is False else _many(hint)
    if many is True and gather is None:
        raise RouteError(f"expected the field {name!r} of many parts as a list[...] or a tuple")
    return Field(name, key, element, gather, has_default, is_optional)


def _many(hint: Any) -> tuple[Callable[[list[Any]], Any] | None, Any]:
    """For `list[T]` and its like what makes one of many values, and T."""
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    gather = _MANY.get(origin)
    if gather is None:
        return None, hint
    if not args:
        return gather, Any
    if origin is tuple and (len(args) != 2 or args[1] is not Ellipsis):
        return None, hint  # a tuple of fixed length is a value
    return gather, bare(args[0])


def _record_in(hint: Any) -> type[Any] | None:
    """The one class in the type that results can be put into."""
    found = [arm for arm in arms(hint) if _is_record(arm)]
    return found[0] if len(found) == 1 else None
