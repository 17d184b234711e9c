"""What follows from a predicate: which others it implies, which it excludes, the name it asks for.

Knows: the kinds of predicates. Must not know: routes.
Everything here is sound and incomplete: True is a proof, False means "not proven". Somebody's own
predicate is never assumed to be pure, so nothing follows from one, not even itself.
"""

from __future__ import annotations

from mpflow.predicates.kinds import (
    And,
    AnyPart,
    ContentType,
    Depth,
    Disposition,
    Filename,
    Header,
    Index,
    Name,
    Not,
    Or,
    Path,
    Predicate,
)

__all__ = ["excludes", "implies", "literal_name", "never_matches", "split_name"]

_GLOB = frozenset("*?[")
_BUILTIN = (AnyPart, ContentType, Depth, Disposition, Filename, Header, Index, Name, Path)
_VALUED = (Name, Index, Depth, Disposition)
"""A part has one of each: two different values exclude each other."""


def implies(one: Predicate, other: Predicate) -> bool:
    """Whether every part that `one` matches is proven to match `other` (or to raise in it)."""
    if isinstance(one, Or):
        return all(implies(item, other) for item in one.items)
    if isinstance(other, And):
        return all(implies(one, item) for item in other.items)
    if isinstance(other, Or) and any(implies(one, item) for item in other.items):
        return True
    if isinstance(one, And):
        return any(implies(item, other) for item in one.items) or never_matches(one)
    if isinstance(other, AnyPart):
        return True
    if isinstance(other, Not):
        if isinstance(one, Not):
            return implies(other.item, one.item)
        return excludes(one, other.item)
    return _simple_implies(one, other)


def excludes(one: Predicate, other: Predicate) -> bool:
    """Whether no part is proven to match both."""
    for this, that in ((one, other), (other, one)):
        if isinstance(this, Or):
            return all(excludes(item, that) for item in this.items)
        if isinstance(this, And) and any(excludes(item, that) for item in this.items):
            return True
        if isinstance(this, Not) and implies(that, this.item):
            return True
    return _simple_excludes(one, other)


def never_matches(predicate: Predicate) -> bool:
    """Whether no part is proven to match, such as `name("a") & name("b")`."""
    if isinstance(predicate, Or):
        return all(never_matches(item) for item in predicate.items)
    if isinstance(predicate, And):
        items = predicate.items
        return any(never_matches(item) for item in items) or any(
            excludes(one, other) for place, one in enumerate(items) for other in items[:place]
        )
    return isinstance(predicate, Not) and implies(AnyPart(), predicate.item)


def literal_name(predicate: Predicate) -> str | None:
    """The only name that a part which matches can have, where the predicate asks for one."""
    items = predicate.items if isinstance(predicate, And) else (predicate,)
    return next((item.value for item in items if isinstance(item, Name)), None)


def split_name(predicate: Predicate) -> tuple[str | None, Predicate | None]:
    """The literal name that is asked for first, and what else is asked (None: nothing).

    A name that is asked for only after a plain callable does not count: the callable may raise
    for parts of any name.
    """
    items = predicate.items if isinstance(predicate, And) else (predicate,)
    for place, item in enumerate(items):
        if isinstance(item, Name):
            rest = items[:place] + items[place + 1 :]
            if len(rest) > 1:
                return item.value, And(rest)
            return item.value, rest[0] if rest else None
        if not _is_total(item):
            break
    return None, None if isinstance(predicate, AnyPart) else predicate


def _is_total(predicate: Predicate) -> bool:
    """Whether it never raises and has no effect: whether it may be left out or asked later."""
    if isinstance(predicate, And | Or):
        return all(_is_total(item) for item in predicate.items)
    if isinstance(predicate, Not):
        return _is_total(predicate.item)
    return isinstance(predicate, _BUILTIN)


def _simple_implies(one: Predicate, other: Predicate) -> bool:
    match one, other:
        case Filename(), Filename():
            return one == other or _glob_implies(one, other)
        case Header(), Header() if one.field == other.field:
            return one == other or _glob_implies(one, other)
        case ContentType(), ContentType():
            return (
                other.major in (None, one.major)
                and other.minor in (None, one.minor)
                and other.params <= one.params
            )
        case Path(), Path():
            return len(one.indexes) == len(other.indexes) and all(
                theirs in (None, ours)
                for ours, theirs in zip(one.indexes, other.indexes, strict=True)
            )
        case _:
            return isinstance(one, _BUILTIN) and one == other


def _simple_excludes(one: Predicate, other: Predicate) -> bool:
    match one, other:
        case ContentType(), ContentType():
            return (
                _differ(one.major, other.major)
                or _differ(one.minor, other.minor)
                or any(
                    name == key and value != wanted
                    for name, value in one.params
                    for key, wanted in other.params
                )
            )
        case Path(), Path():
            return len(one.indexes) != len(other.indexes) or any(
                map(_differ, one.indexes, other.indexes)
            )
        case Filename(), Filename():
            return _glob_excludes(one, other) or _glob_excludes(other, one)
        case _:
            # Not headers: one that comes twice has two values.
            return isinstance(one, _VALUED) and type(one) is type(other) and one != other


def _differ(one: str | int | None, other: str | int | None) -> bool:
    """Whether both are given, and are two."""
    return one is not None and other is not None and one != other


def _literal(glob: str | None) -> str | None:
    return None if glob is None or _GLOB & set(glob) else glob


def _glob_implies(one: Filename | Header, other: Filename | Header) -> bool:
    literal = _literal(one.pattern)
    return other.pattern is None or (literal is not None and other.accepts(literal))


def _glob_excludes(one: Filename, other: Filename) -> bool:
    literal = _literal(one.pattern)
    if literal is None or other.accepts(literal):
        return False
    # A filename such as "weiß" fits "weiss", and "????", too.
    return other.pattern is not None and not {"?", "["} & set(other.pattern)
