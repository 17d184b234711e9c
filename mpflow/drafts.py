"""Drafts: results as they would go into a class, and all that does not fit it.

Knows: which results a field takes, and what to say of those that do not fit.
Must not know: flows, how results are found (`Filed` is all it asks for), how classes are read.
"""

from __future__ import annotations

import enum
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeGuard

import attrs

from mpflow.errors import (
    MissingParts,
    MultipartError,
    PartRef,
    ResultsMismatch,
    RouteError,
    excerpt,
)
from mpflow.fields import Field, class_of, fields_of, record_in
from mpflow.fitting import admits, arms, fits, is_hashable, places, shown

__all__ = ["Faults", "Filed", "Item", "Pending", "Refused", "check_keys", "draft", "made"]


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


class Pending(enum.Enum):
    """In place of a value: the part came, and its handler has not answered."""

    PENDING = "pending"


@attrs.frozen(eq=False)
class Refused(Filed):
    """What is known of a flow that is refused, as parts are missing in it or in one inside it.

    `missing` and `waiting` are those of its `MissingParts`. `is_whole` says whether all of its
    parts came: else more may be missing than is known. `inner` are the flows inside that are
    refused, by the parts that they read; they stand in place of the values in `results`.
    """

    results: Filed
    missing: Sequence[str]
    waiting: Sequence[str]
    is_whole: bool
    inner: Sequence[tuple[PartRef, Refused]]

    @property
    def declared_keys(self) -> Collection[str] | None:
        return self.results.declared_keys

    def declared(self, key: str) -> Sequence[Item]:
        return self.results.declared(key)


@attrs.define(eq=False)
class Faults:
    """What does not fit, and where."""

    missing: list[str] = attrs.field(factory=list[str])
    surplus: list[str] = attrs.field(factory=list[str])
    wrong: list[str] = attrs.field(factory=list[str])
    failed: list[tuple[str, BaseException]] = attrs.field(factory=list[tuple[str, BaseException]])
    waiting: list[str] = attrs.field(factory=list[str])
    unfit: list[str] = attrs.field(factory=list[str])
    """The places of what is wrong or failed."""
    _told: set[Refused] = attrs.field(factory=set[Refused])

    def miss(self, where: str) -> None:
        if where not in self.missing:
            self.missing.append(where)

    def refuse(self, refused: Refused, fields: Sequence[Field], path: str) -> None:
        """What a flow says that is missing: a field by its path, all else as the flow has it."""
        self._told.add(refused)
        paths = {excerpt(field.key): path + field.key for field in fields}
        inside = f" in {path[:-1]}" if path else ""
        for label in refused.missing:
            self.miss(paths.get(label, label + inside))
        self.waiting += [text + inside for text in refused.waiting]

    def refuse_inner(self, refused: Refused) -> None:
        """The same of flows inside whose results no field takes."""
        for ref, inner in refused.inner:
            if inner not in self._told:
                self._told.add(inner)
                for label in inner.missing:
                    self.miss(f"{label} in {ref}")
                self.waiting += [f"{text} in {ref}" for text in inner.waiting]
            self.refuse_inner(inner)

    def error(self, cls: type[Any]) -> MissingParts | ResultsMismatch | None:
        """All of it as one error: `MissingParts` where no more than that is wrong."""
        if not (self.surplus or self.wrong or self.failed):
            return MissingParts(self.missing, self.waiting) if self.missing else None
        causes = [cause for _, cause in self.failed]
        error = ResultsMismatch(
            cls.__name__,
            missing=self.missing,
            surplus=self.surplus,
            wrong=self.wrong,
            failed=[text for text, _ in self.failed],
            waiting=self.waiting,
            unfit=self.unfit,
            status=422 if self.failed and all(map(_is_clients, causes)) else None,
        )
        if causes:
            error.__cause__ = BaseExceptionGroup(f"{len(causes)} parts failed", causes)
        return error


def check_keys(cls: type[Any], fields: Sequence[Field], keys: Collection[str]) -> None:
    """`RouteError` if a field has a key that is none of `keys`, which routes declare."""
    unknown = [field.key for field in fields if field.key not in keys]
    if unknown:
        raise RouteError(
            f"{cls.__name__} has fields for the keys {', '.join(map(excerpt, unknown))}, "
            f"which no route declares"
        )


def draft(record: Any, results: Filed, path: str, faults: Faults) -> object:
    """What `made` makes an instance of the class of; what does not fit goes into `faults`."""
    cls, fields = class_of(record), fields_of(record)
    if results.declared_keys is not None:
        check_keys(cls, fields, results.declared_keys)
    refused = results if isinstance(results, Refused) else None
    if refused is not None:
        faults.refuse(refused, fields, path)
    drawn = _Draft(cls)
    for field in fields:
        where = path + field.key
        items = results.declared(field.key)
        if items or field.gather is not None:
            _fill(drawn, field, items, where, faults)
            continue
        if field.is_required and (refused is None or refused.is_whole):
            faults.miss(where)
        if not field.has_default:
            drawn.values[field.name] = None
    if refused is not None:
        faults.refuse_inner(refused)
    return drawn


def _fill(drawn: _Draft, field: Field, items: Sequence[Item], where: str, faults: Faults) -> None:
    """Give a field what came for it, or nothing of many."""
    if field.gather is not None:
        if items or not (field.has_default or field.is_optional):
            values = [_value(x, field, f"{where}[{i}]", faults) for i, x in enumerate(items)]
            drawn.values[field.name] = _Many(field.gather, values)
        elif not field.has_default:
            drawn.values[field.name] = None
    elif len(items) == 1:
        drawn.values[field.name] = _value(items[0], field, where, faults)
    else:
        text = f"{where}: expected one part, got {len(items)}: {items[0].ref}, "
        faults.surplus.append(f"{text}{items[1].ref}")


def made(value: Any) -> Any:
    """The instance that was drafted, those inside it first."""
    if isinstance(value, _Draft):
        return value.cls(**{name: made(inner) for name, inner in value.values.items()})
    if isinstance(value, _Many):
        return value.gather([made(inner) for inner in value.values])
    return value


@attrs.define(eq=False)
class _Draft:
    """An instance to be."""

    cls: type[Any]
    values: dict[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen(eq=False)
class _Many:
    """Several values, of which `gather` makes one."""

    gather: Callable[[list[Any]], Any]
    values: list[Any]


def _value(item: Item, field: Field, where: str, faults: Faults) -> Any:
    """What the field gets of one part: its value, a draft, or a failure that the type admits."""
    place = _Place(where, item.ref, field, faults)
    if item.error is not None:
        return _failed(item.error, field.type, place)
    return _fitted(item.value, field.type, place)


@attrs.frozen(eq=False)
class _Place:
    """Where a value goes, and which part it is of."""

    where: str
    ref: PartRef
    field: Field
    faults: Faults

    def wrong(self, expected: str, value: object) -> None:
        self.faults.unfit.append(self.where)
        self.faults.wrong.append(
            f"{self.where}: expected {expected}, got {type(value).__name__} from {self.ref}"
        )


def _failed(error: BaseException, hint: Any, place: _Place) -> BaseException:
    if not admits(error, hint):
        text = f"{place.where}: {place.ref} failed: {_told(error)}"
        place.faults.unfit.append(place.where)
        place.faults.failed.append((text, error))
    return error


def _fitted(value: Any, hint: Any, place: _Place) -> Any:
    if value is Pending.PENDING:
        return value
    inner = record_in(hint)
    if isinstance(value, Refused) and inner is None:
        _refused(value, hint, place)
        return None
    if inner is not None and isinstance(value, Filed):
        return draft(inner, value, f"{place.where}.", place.faults)
    if inner is not None and isinstance(value, BaseException):  # of `Tee.collect`
        return _failed(value, hint, place)
    pairs = _pairs(value, hint)
    if pairs is not None:  # such as those of a Tee
        values = [
            _fitted(one, own, attrs.evolve(place, where=f"{place.where}[{i}]"))
            for i, (one, own) in enumerate(pairs)
        ]
        return _Many(tuple, values)
    if place.field.is_checked and not fits(value, hint):
        place.wrong(shown(hint), value)
    elif place.field.needs_hashes and not is_hashable(value):
        place.wrong("a value that can be in a set", value)
    return value


def _refused(value: Refused, hint: Any, place: _Place) -> None:
    """Of a flow that is refused inside a `Tee`: into the one class that the tuple has."""
    for arm in arms(hint):
        of_tuple = typing.get_args(arm) if typing.get_origin(arm) is tuple else ()
        records = [(i, record_in(one)) for i, one in enumerate(of_tuple)]
        found = [(i, record) for i, record in records if record is not None]
        if len(found) == 1:
            i, record = found[0]
            draft(record, value, f"{place.where}[{i}].", place.faults)
            return


def _pairs(value: object, hint: Any) -> list[tuple[Any, Any]] | None:
    """What a tuple holds, with its types, where results in it are to be put into a class."""
    if not _is_tuple(value):
        return None
    hints = places(hint, len(value))
    pairs = None if hints is None else list(zip(value, hints, strict=True))
    return pairs if pairs is not None and any(_is_put(*pair) for pair in pairs) else None


def _is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    return type(value) is tuple  # a named one cannot be made of a list


def _is_put(value: object, hint: Any) -> bool:
    if isinstance(value, Filed | BaseException):
        return record_in(hint) is not None
    return _pairs(value, hint) is not None


def _is_clients(error: BaseException) -> bool:
    """Whether a handler failed over what the client sent."""
    return isinstance(error, MultipartError) and error.status < 500


def _told(error: BaseException) -> str:
    """The failure in one bounded line, whatever its `repr` does."""
    try:
        text = str(error)
    except Exception:
        return type(error).__name__
    return f"{type(error).__name__}: {excerpt(text, limit=200)}" if text else type(error).__name__
