"""A whole configuration as a router: `[limits]`, `[[route]]`, `[router.NAME]`.

Knows: the keys of these tables, and in which order they are read.
Must not know: files; how a match or a handler is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar, cast

import attrs

from mpflow.config.handlers import HandlerMaker
from mpflow.config.matching import read_match
from mpflow.config.needs import Filled, check_given, check_inside, check_routes
from mpflow.config.places import Place, shown
from mpflow.errors import RouteError, excerpt
from mpflow.part import Part
from mpflow.predicates import any_part
from mpflow.predicates.implication import literal_name
from mpflow.router import RouteTable
from mpflow.routes import Route, needs_of
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


def read_router(
    make: Callable[..., R],
    place: Place,
    config: object,
    *,
    given: Collection[str] | None = None,
) -> R:
    """The outermost router of a configuration; its problems are told at their places.

    `given` are the keys that a dispatch will be given; None: what the configuration says.
    """
    top = place.table(config, "a mapping of the configuration's keys")
    if top is None:
        return make()
    place.refuse_others(top, TOP_KEYS, "the configuration")
    tables = _tables(place, top)
    limits = _limits(place.at("limits"), top["limits"]) if "limits" in top else None
    # All of them are there before the first route: any may be named in a handler's options.
    routers = {
        name: _empty(make, at, table, limits if name == MAIN else None)
        for name, (at, table) in tables.items()
    }
    makers = {name: HandlerMaker(routers) for name in tables}
    filled: list[Filled] = []
    for name, (at, table) in tables.items():
        before = len(place.problems.found)
        one = _fill(name, routers[name], at, table, makers[name])
        if len(place.problems.found) == before:
            filled.append(one)
    # Where something else is wrong, what would use a router may not have been understood.
    is_whole = not place.problems.found
    for one in filled:
        check_routes(one)
    if is_whole:
        for one in filled:
            check_inside(one, filled)
        if given is not None:
            check_given(filled[0], given)
    if not place.problems.found:
        _check_used(filled, {name: maker.used for name, maker in makers.items()})
    return routers[MAIN]


def _tables(
    place: Place, top: Mapping[str, object]
) -> dict[str, tuple[Place, Mapping[str, object]]]:
    """The tables of all routers by name, and where each stands; the outermost comes first."""
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
    return tables


def _check_used(filled: list[Filled], used: Mapping[str, set[str]]) -> None:
    """Tell routers that no handler of the outermost one leads to."""
    reached, new = {MAIN}, used[MAIN] - {MAIN}
    while new:
        reached |= new
        new = {name for one in new for name in used[one]} - reached
    for one in filled:
        if one.name not in reached:
            by = sorted(name for name in used if one.name in used[name] and name != one.name)
            others = f" but {', '.join(map(excerpt, by))}, which nobody uses" if by else ""
            one.place.problem(f"no handler uses the router {one.name!r}{others}")


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
    name: str, router: RouteTable, place: Place, table: Mapping[str, object], maker: HandlerMaker
) -> Filled:
    """Register the routes."""
    given = _given(place.at("given"), table.get("given", ()))
    routes = list(place.at("route").array(table.get("route", ()), "tables [[route]]"))
    if not routes and isinstance(table.get("route", ()), list | tuple):
        place.problem("expected at least one [[route]]")
    tables: dict[Route[Any], tuple[Place, Mapping[str, object]]] = {}
    for at, value in routes:
        found = at.table(value, "a table [[route]]")
        route = None if found is None else _add(router, at, found, maker)
        if found is not None and route is not None:
            tables[route] = at, found
    return Filled(name, router, place, tuple(given), tables)


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
) -> Route[Any] | None:
    """Register the route; None where it has faults that leave none, which are told."""
    place.refuse_others(table, ROUTE_KEYS, "a route")
    asked = read_match(place.at("match"), table["match"]) if "match" in table else any_part()
    handler = None
    if "handler" in table:
        handler = maker.make(place.at("handler"), table["handler"])
    else:
        place.problem('expected handler = "..." or a table, got none')
    policies = {key: table[key] for key in POLICIES if _holds(place.at(key), key, table)}
    if asked is None:
        return None
    try:
        return router.add(handler or _STAND_IN, asked, **cast("Any", policies))
    except RouteError as error:
        key = policies.get("key", literal_name(asked))
        is_own = key in needs_of(cast("Any", policies.get("needs"))).values()
        (place.at("needs") if is_own else place).problem(error.message)
        return None


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
