"""What a predicate asks for, as far as a document can say it: names, filenames, content types.

Knows: the kinds of predicates. Must not know: routes, or who documents them.
"""

from __future__ import annotations

from itertools import product

import attrs

from mpflow.predicates.implication import implies
from mpflow.predicates.kinds import (
    And,
    AnyPart,
    ContentType,
    Filename,
    Name,
    Not,
    Or,
    Predicate,
)

__all__ = ["Asked", "asked"]

MOST = 64
"""How many ways to fit a predicate are told apart; past that nothing is said of it."""


@attrs.frozen
class Asked:
    """One way to fit a predicate. None: it may be anything."""

    name: str | None = None
    is_file: bool | None = None
    """Whether a filename is asked for (True), or none may be there (False)."""
    content_type: ContentType | None = None


def asked(predicate: Predicate) -> tuple[Asked, ...]:
    """The ways to fit a predicate; what else it asks is left out, so each may be too wide."""
    match predicate:
        case Or(items=items):
            ways = tuple(way for item in items for way in asked(item))
            return ways if len(ways) <= MOST else (Asked(),)
        case And(items=items):
            return _together([asked(item) for item in items])
        case Name(value=value):
            return (Asked(name=value),)
        case Filename():
            return (Asked(is_file=True),)
        case Not(item=Filename(pattern=None)):
            return (Asked(is_file=False),)
        case ContentType(major=str()):
            return (Asked(content_type=predicate),)
        case AnyPart() | _:
            return (Asked(),)


def _together(each: list[tuple[Asked, ...]]) -> tuple[Asked, ...]:
    """One way of each, in all combinations that do not contradict themselves."""
    ways: tuple[Asked, ...] = (Asked(),)
    for items in each:
        if len(ways) * len(items) > MOST:
            continue
        joined = (_both(one, other) for one, other in product(ways, items))
        ways = tuple(dict.fromkeys(way for way in joined if way is not None))
    return ways


def _both(one: Asked, other: Asked) -> Asked | None:
    """What both ask for; None where no part can be both."""
    if None not in (one.name, other.name) and one.name != other.name:
        return None
    if None not in (one.is_file, other.is_file) and one.is_file != other.is_file:
        return None
    return Asked(
        one.name if other.name is None else other.name,
        one.is_file if other.is_file is None else other.is_file,
        _narrower(one.content_type, other.content_type),
    )


def _narrower(one: ContentType | None, other: ContentType | None) -> ContentType | None:
    if one is None:
        return other
    if other is None:
        return one
    return other if implies(other, one) else one
