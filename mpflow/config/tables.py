"""A whole configuration as a router: `[limits]`, `[[route]]`, `[router.NAME]`.

Knows: the keys of these tables, and in which order they are read.
Must not know: files; how a match or a handler is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

import attrs

from mpflow.config.handlers import HandlerMaker
from mpflow.config.matching import read_match
from mpflow.config.places import Place, shown
from mpflow.errors import RouteError
from mpflow.part import Part
from mpflow.predicates import any_part
from mpflow.router import RouteTable
from mpflow.routes import Route
from mpflow.wire.limits import Limits

__all__ = ["MAIN", "POLICIES", "ROUTER_KEYS", "ROUTE_KEYS", "TOP_KEYS", "read_router"]

R = TypeVar("R", bound=RouteTable)

MAIN: Final = "main"
"""What options call the outermost router."""

POLICIES: Final = (
    "key",
    "required",
    "max_count",
    "max_bytes",
    "timeout",
    "on_error",
    "decode",
    "needs",
    "order",
)
ROUTE_KEYS: Final = ("match", "handler", *POLICIES)
ROUTER_KEYS: Final = ("route", "max_handlers", "given")
TOP_KEYS: Final = (*ROUTER_KEYS, "limits", "router")


def read_router(make: Callable[..., R], place: Place, config: object) -> R:
    """The outermost router of a configuration; its problems are told at their places."""
    top = place.table(config, "a mapping of the configuration's keys")
    if top is None:
        return make()
    place.refuse_others(top, TOP_KEYS, "the configuration")
    named_at = place.at("router")
    named = named_at.table(top.get("router", {}), "tables [router.NAME]") or {}
    tables: dict[str, tuple[Place, Mapping[str, object]]] = {MAIN: (place, top)}
    for name, value in named.items():
        inner = named_at.at(name)
        if name == MAIN:
            inner.problem(f"expected another name: {MAIN!r} is the outermost router")
            continue
        table = inner.table(value, "a table with its own [[route]]")
        if table is not None:
            inner.refuse_others(table, ROUTER_KEYS, "a router")
            tables[name] = (inner, table)
    limits = _limits(place.at("limits"), top["limits"]) if "limits" in top else None
    # All of them are there before the first route: any may be named in a handler's options.
    routers = {
        name: _empty(make, at, table, limits if name == MAIN else None)
        for name, (at, table) in tables.items()
    }
    maker = HandlerMaker(routers)
    for name, (at, table) in tables.items():
        _fill(routers[name], at, table, maker)
    for name, (at, _) in tables.items():
        # Where something else is wrong, what would use it may not have been understood.
        if name not in maker.used and name != MAIN and not place.problems.found:
            at.problem(f"no handler uses the router {name!r}")
    return routers[MAIN]


def _limits(place: Place, value: object) -> Limits | None:
    if isinstance(value, Limits):
        return value
    table = place.table(value, "a table of limits")
    if table is None:
        return None
    known = [field.name for field in attrs.fields(Limits)]
    place.refuse_others(table, known, "limits")
    given: dict[str, Any] = {}
    for key in known:
        if key not in table:
            continue
        limit: Any = None if table[key] == "none" else table[key]  # TOML has no None
        if key == "max_decoded_ratio" and isinstance(limit, str | bool):
            place.at(key).problem(f"expected a ratio of at least 1, got {shown(limit)}")
            continue
        try:
            Limits(**{key: limit})
        except (TypeError, ValueError) as error:
            place.at(key).problem(str(error))
        else:
            given[key] = limit
    try:
        return Limits(**given)
    except ValueError as error:
        place.problem(str(error))
        return None


def _empty(
    make: Callable[..., R], place: Place, table: Mapping[str, object], limits: Limits | None
) -> R:
    options = {"max_handlers": table["max_handlers"]} if "max_handlers" in table else {}
    try:
        return make(limits=limits, **options)
    except RouteError as error:
        place.at("max_handlers").problem(error.message)
        return make(limits=limits)


def _fill(
    router: RouteTable, place: Place, table: Mapping[str, object], maker: HandlerMaker
) -> None:
    """Register the routes, and see whether all of their needs can be met."""
    before = len(place.problems.found)
    given = _given(place.at("given"), table.get("given", ()))
    routes = list(place.at("route").array(table.get("route", ()), "tables [[route]]"))
    if not routes and isinstance(table.get("route", ()), list | tuple):
        place.problem("expected at least one [[route]]")
    for at, value in routes:
        route = at.table(value, "a table [[route]]")
        if route is not None:
            _add(router, at, route, maker)
    if len(place.problems.found) == before:
        try:
            router.wanted(given)
        except RouteError as error:
            place.problem(error.message)


def _given(place: Place, value: object) -> list[str]:
    """The keys whose values are given to a dispatch, or to a nested router."""
    keys: list[str] = []
    for at, key in place.array(value, "an array of keys"):
        if isinstance(key, str):
            keys.append(key)
        else:
            at.problem(f"expected a key as a str, got {shown(key)}")
    return keys


class _StandIn:
    """Stands in for a handler with faults, so that those of the route are found as well."""

    async def __call__(self, part: Part, **needs: object) -> None: ...

    def __repr__(self) -> str:  # as messages name it
        return "a handler with faults"


_STAND_IN: Final = _StandIn()


def _add(
    router: RouteTable, place: Place, table: Mapping[str, object], maker: HandlerMaker
) -> None:
    place.refuse_others(table, ROUTE_KEYS, "a route")
    asked = read_match(place.at("match"), table["match"]) if "match" in table else any_part()
    handler = None
    if "handler" in table:
        handler = maker.make(place.at("handler"), table["handler"])
    else:
        place.problem('expected handler = "..." or a table, got none')
    policies = {key: table[key] for key in POLICIES if _holds(place.at(key), key, table)}
    if asked is None:
        return
    try:
        router.add(handler or _STAND_IN, asked, **cast("Any", policies))
    except RouteError as error:
        place.problem(error.message)


def _holds(place: Place, key: str, table: Mapping[str, object]) -> bool:
    """Whether the table has a value for the policy that can be one."""
    if key not in table:
        return False
    try:
        Route[Any](_STAND_IN, predicate=any_part(), name="", **cast("Any", {key: table[key]}))
    except RouteError as error:
        place.problem(error.message)
        return False
    return True
