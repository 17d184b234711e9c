"""`Shape`: a class that results are put into, field by field.

Knows: which results a field takes, and what to say of those that do not fit.
Must not know: flows, how results are found (`Filed` is all it asks for), how classes are read.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import attrs

from mpflow.errors import MissingParts, PartRef, ResultsMismatch, RouteError, excerpt
from mpflow.fields import Field, class_of, fields_of, record_in
from mpflow.fitting import admits, fits, is_hashable, shown

__all__ = ["Declares", "Filed", "Item", "Shape"]


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

    __slots__ = ()

    @property
    @abstractmethod
    def declared_keys(self) -> Collection[str] | None:
        """The keys that routes declare, None where nobody knows."""

    @abstractmethod
    def declared(self, key: str) -> Sequence[Item]:
        """The parts of the routes that declare `key`, in wire order."""


class Declares(typing.Protocol):
    """A router, as far as it matters here."""

    @property
    def keys(self) -> Collection[str]: ...
    def inside(self, key: str, /) -> Iterable[Declares]: ...


@attrs.frozen
class Shape:
    """The fields of an attrs class or a dataclass. `of` raises `RouteError` for any other.

    A field is filled from the part of the key that is its name, or that its metadata names
    (`metadata={"key": ...}`; None leaves it to its default). `T` asks for one part, `T | None` or
    a default for one or none, `list[T]`, `tuple[T, ...]`, a set or a deque for any number, unless
    the metadata says `"many": False`: then it is the value of one part. Where `T` is such a class
    itself, the `Results` of a `Nested` are put into it.
    """

    cls: type[Any]
    fields: tuple[Field, ...]

    @classmethod
    def of(cls, wanted: Any) -> Shape:
        """The shape of the class."""
        fields = fields_of(wanted)
        return cls(class_of(wanted), fields)

    def check(self, keys: Collection[str]) -> None:
        """`RouteError` if a field has a key that no route declares."""
        unknown = [field.key for field in self.fields if field.key not in keys]
        if unknown:
            raise RouteError(
                f"{self.cls.__name__} has fields for the keys {', '.join(map(excerpt, unknown))}, "
                f"which no route declares"
            )

    def check_all(self, declared: Declares) -> None:
        """The same, and for the classes inside, where the routers are known that they are of."""
        todo, seen = [(self, declared)], set[tuple[Shape, int]]()
        while todo:
            shape, declared = todo.pop()
            if (shape, id(declared)) in seen:
                continue  # a class inside itself
            seen.add((shape, id(declared)))
            shape.check(declared.keys)
            for field in shape.fields:
                inner = record_in(field.type)
                if inner is not None:
                    todo += [(Shape.of(inner), router) for router in declared.inside(field.key)]

    @property
    def required(self) -> tuple[str, ...]:
        """The keys of which one part must come."""
        return tuple(field.key for field in self.fields if field.is_required)

    @property
    def single(self) -> frozenset[str]:
        """The keys of which one part is taken at most."""
        return frozenset(field.key for field in self.fields if field.gather is None)

    def build(self, results: Filed) -> Any:
        """An instance of the class.

        All that is missing, surplus, failed or of the wrong type is reported together:
        `MissingParts` where no more than that is wrong, else `ResultsMismatch`. Nothing is
        constructed before all fits; what a constructor raises then is raised as it is.
        """
        faults = _Faults()
        draft = _draft(self, results, "", faults)
        faults.raise_any(self.cls)
        return _made(draft)


def _draft(shape: Shape, results: Filed, path: str, faults: _Faults) -> _Draft:
    if results.declared_keys is not None:
        shape.check(results.declared_keys)
    draft = _Draft(shape.cls)
    for field in shape.fields:
        items = results.declared(field.key)
        where = path + field.key
        if field.gather is not None:
            if items or not (field.has_default or field.is_optional):
                draft.values[field.name] = _Many(
                    field.gather,
                    [_value(x, field, f"{where}[{i}]", faults) for i, x in enumerate(items)],
                )
                continue
        elif len(items) == 1:
            draft.values[field.name] = _value(items[0], field, where, faults)
            continue
        elif items:
            text = f"{where}: expected one part, got {len(items)}: {items[0].ref}, "
            faults.surplus.append(f"{text}{items[1].ref}")
            continue
        elif field.is_required:
            faults.missing.append(where)
        if not field.has_default:
            draft.values[field.name] = None
    return draft


def _value(item: Item, field: Field, where: str, faults: _Faults) -> Any:
    """What the field gets of one part: its value, a draft, or a failure that the type admits."""
    if item.error is not None:
        if not admits(item.error, field.type):
            faults.failed.append((f"{where}: {item.ref} failed: {_told(item.error)}", item.error))
        return item.error
    inner = record_in(field.type)
    if inner is not None and isinstance(item.value, Filed):
        return _draft(Shape.of(inner), item.value, f"{where}.", faults)
    if field.is_checked and not fits(item.value, field.type):
        faults.wrong.append(
            f"{where}: expected {shown(field.type)}, got {type(item.value).__name__} "
            f"from {item.ref}"
        )
    elif field.needs_hashes and not is_hashable(item.value):
        faults.wrong.append(
            f"{where}: expected a value that can be in a set, got {type(item.value).__name__} "
            f"from {item.ref}"
        )
    return item.value


@attrs.define(eq=False)
class _Draft:
    """An instance to be."""

    cls: type[Any]
    values: dict[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen(eq=False)
class _Many:
    """The values of many parts, of which `gather` makes one."""

    gather: Callable[[list[Any]], Any]
    values: list[Any]


def _made(value: Any) -> Any:
    if isinstance(value, _Draft):
        return value.cls(**{name: _made(inner) for name, inner in value.values.items()})
    if isinstance(value, _Many):
        return value.gather([_made(inner) for inner in value.values])
    return value


def _told(error: BaseException) -> str:
    """The failure in one bounded line, whatever its `repr` does."""
    try:
        text = str(error)
    except Exception:
        return type(error).__name__
    return f"{type(error).__name__}: {excerpt(text, limit=200)}" if text else type(error).__name__


@attrs.define(eq=False)
class _Faults:
    missing: list[str] = attrs.field(factory=list[str])
    surplus: list[str] = attrs.field(factory=list[str])
    wrong: list[str] = attrs.field(factory=list[str])
    failed: list[tuple[str, BaseException]] = attrs.field(factory=list[tuple[str, BaseException]])

    def raise_any(self, cls: type[Any]) -> None:
        if not (self.surplus or self.wrong or self.failed):
            if self.missing:
                raise MissingParts(self.missing)
            return
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
