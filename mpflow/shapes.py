"""`Shape`: a class that results are put into, field by field.

Knows: what such a class asks for, and whether routers can give it.
Must not know: flows, how classes are read, what is said of results that do not fit (`drafts.py`).
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Iterable, Iterator
from typing import Any, TypeAlias

import attrs

from mpflow.drafts import Faults, Filed, Item, Refused, check_keys, draft, made
from mpflow.errors import MissingParts, ResultsMismatch
from mpflow.fields import Field, class_of, fields_of, record_in
from mpflow.fitting import places

__all__ = ["Declares", "Filed", "Inside", "Item", "Shape"]


class Declares(typing.Protocol):
    """A router, as far as it matters here."""

    @property
    def keys(self) -> Collection[str]: ...
    def inside(self, key: str, /) -> Iterable[Inside]: ...


Inside: TypeAlias = "Declares | tuple[Inside, ...] | None"
"""Whose results a handler gives: a router's, those of several in a tuple, or nobody's."""


@attrs.frozen
class Shape:
    """The fields of an attrs class or a dataclass. `of` raises `RouteError` for any other.

    A field is filled from the part of the key that is its name, or that its metadata names
    (`metadata={"key": ...}`; None leaves it to its default). `T` asks for one part, `T | None` or
    a default for one or none, `list[T]`, `tuple[T, ...]`, a set or a deque for any number, unless
    the metadata says `"many": False`: then it is the value of one part. Where `T` is such a class
    itself, the `Results` of a `Nested` are put into it; where it is a tuple of such, those that a
    handler gives in a tuple, as `Tee` does.
    """

    cls: type[Any]
    fields: tuple[Field, ...]
    record: Any
    """The class, or one with its type variables filled in."""

    @classmethod
    def of(cls, wanted: Any) -> Shape:
        """The shape of the class."""
        fields = fields_of(wanted)
        return cls(class_of(wanted), fields, wanted)

    def check(self, keys: Collection[str]) -> None:
        """`RouteError` if a field has a key that no route declares."""
        check_keys(self.cls, self.fields, keys)

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
                for inside in declared.inside(field.key):
                    todo += [
                        (Shape.of(inner), router) for inner, router in _met(field.type, inside)
                    ]

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
        faults = Faults()
        drawn = draft(self.record, results, "", faults)
        error = faults.error(self.cls)
        if error is not None:
            raise error
        return made(drawn)

    def refusal(self, refused: Refused) -> MissingParts | ResultsMismatch | None:
        """What a flow is refused with: what is missing, with all that is known not to fit."""
        faults = Faults()
        draft(self.record, refused, "", faults)
        return faults.error(self.cls)


def _met(hint: Any, inside: Inside) -> Iterator[tuple[Any, Declares]]:
    """The classes in a type, each with the router whose results are put into it."""
    if inside is None:
        return
    if isinstance(inside, tuple):
        for one, own in zip(places(hint, len(inside)) or (), inside, strict=False):
            yield from _met(one, own)
        return
    inner = record_in(hint)
    if inner is not None:
        yield inner, inside
