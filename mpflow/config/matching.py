"""`match = {...}`: which parts a route takes, as a predicate.

Knows: the keys of a match table. Must not know: routes, handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from mpflow.config.places import Place
from mpflow.errors import RouteError
from mpflow.predicates import Predicate, PredicateLike, as_predicate, keywords

__all__ = ["MATCH_KEYS", "read_match"]

_SIMPLE: Final = (
    "name",
    "filename",
    "content_type",
    "header",
    "disposition",
    "index",
    "depth",
    "path",
)
MATCH_KEYS: Final = (*_SIMPLE, "any", "all", "not")


def read_match(place: Place, value: object) -> Predicate | None:
    """The predicate of a match table, or one that is given as it is; None where it has faults."""
    if callable(value):
        return as_predicate(cast("PredicateLike", value))
    table = place.table(value, "a table of what the part has to have")
    if table is None:
        return None
    before = len(place.problems.found)
    if not table:
        place.problem("expected at least one key; leave `match` out to take every part")
    place.refuse_others(table, MATCH_KEYS, "match")
    asked: dict[str, Any] = {}
    for key in _SIMPLE:
        if key in table and (given := _simple(place.at(key), key, table[key])) is not None:
            asked[key] = given
    joined: list[Predicate] = []
    for key, read in _JOINED.items():
        if key in table and (made := read(place.at(key), table[key])) is not None:
            joined.append(made)
    if len(place.problems.found) > before:
        return None
    return keywords(_all(joined), **asked) if joined else keywords(**asked)


def _simple(place: Place, key: str, value: object) -> object:
    """What `keywords` takes for the key; None where it does not take it."""
    if value is None:
        place.problem(f"expected a value of {key}, got None")
        return None
    if key == "header" and (headers := _named(value)):
        return _headers(place, headers)
    given = _path(value) if key == "path" else value
    try:
        keywords(**cast("Any", {key: given}))
    except RouteError as error:
        place.problem(error.message)
        return None
    return given


def _named(value: object) -> Mapping[object, object]:
    return cast("Mapping[object, object]", value) if isinstance(value, Mapping) else {}


def _headers(place: Place, value: Mapping[object, object]) -> object:
    """Headers by name, each looked at by itself, so that all faults are told."""
    before = len(place.problems.found)
    for name, glob in value.items():
        try:
            keywords(header=cast("Any", {name: glob}))
        except RouteError as error:
            (place.at(name) if isinstance(name, str) else place).problem(error.message)
    return None if len(place.problems.found) > before else value


def _path(value: object) -> object:
    """Indexes as a tuple; TOML has no None, so that `"*"` stands for any."""
    if not isinstance(value, list | tuple):
        return value
    return tuple(None if index == "*" else index for index in cast("list[object]", value))


def _several(place: Place, value: object) -> list[Predicate]:
    found = list(place.array(value, "an array of match tables"))
    if not found and isinstance(value, list | tuple):
        place.problem("expected at least one match table, got an empty array")
    read = [read_match(inner, item) for inner, item in found]
    return [predicate for predicate in read if predicate is not None]


def _all(items: list[Predicate]) -> Predicate:
    joined, *rest = items
    for item in rest:
        joined = joined & item
    return joined


def _read_all(place: Place, value: object) -> Predicate | None:
    items = _several(place, value)
    return _all(items) if items else None


def _read_any(place: Place, value: object) -> Predicate | None:
    items = _several(place, value)
    if not items:
        return None
    joined, *rest = items
    for item in rest:
        joined = joined | item
    return joined


def _read_not(place: Place, value: object) -> Predicate | None:
    inner = read_match(place, value)
    return None if inner is None else ~inner


_JOINED: Final[dict[str, Callable[[Place, object], Predicate | None]]] = {
    "all": _read_all,
    "any": _read_any,
    "not": _read_not,
}
