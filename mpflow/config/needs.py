"""Whether needs can be met: among the routes of a router, and in routers that handlers name.

Knows: what each router says that it is given, and what the handlers around it give.
Must not know: how tables are read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

import attrs

from mpflow.config.places import Place
from mpflow.dependencies import need_faults
from mpflow.errors import RouteError, excerpt
from mpflow.router import RouteTable, routers_inside
from mpflow.routes import Route, needs_of

__all__ = ["Filled", "check_given", "check_inside", "check_routes"]


@attrs.frozen(eq=False)
class Filled:
    """A router with its routes, and where it stands in the configuration."""

    name: str
    router: RouteTable
    place: Place
    given: tuple[str, ...]
    """What the table says that the router is given."""
    tables: Mapping[Route[Any], tuple[Place, Mapping[str, object]]]

    def needs_at(self, route: Route[Any], key: str | None = None) -> Place:
        """Where the route's needs stand, or those of its handler; else the handler."""
        place, table = self.tables[route]
        if "needs" in table and (key is None or key in needs_of(cast("Any", table["needs"]))):
            return place.at("needs")
        handler = table.get("handler")
        inner = isinstance(handler, Mapping) and "needs" in handler
        return place.at("handler", "needs") if inner else place.at("handler")


def check_routes(filled: Filled) -> None:
    """Tell the needs of routes that no other route meets, and nothing that is given."""
    for fault in need_faults(filled.router.routes, frozenset(filled.given)):
        if fault.route is None:
            at = filled.place.at("given", filled.given.index(fault.key))
        else:
            at = filled.needs_at(fault.route, fault.key)
        at.problem(fault.text)


def check_inside(filled: Filled, others: Collection[Filled]) -> None:
    """Tell handlers that name a router and do not give what it says that it is given."""
    for route in filled.router.routes:
        for inner, known in routers_inside(route):
            named = next((other for other in others if other.router is inner), None)
            text = _refusal(inner, known) if named is None else _unlike(named, known)
            if text is not None:
                filled.needs_at(route).problem(text)


def check_given(filled: Filled, given: Collection[str]) -> None:
    """Tell keys that the file counts on, and that nobody will give; and the other way round."""
    for index, key in enumerate(filled.given):
        if key not in given:
            there = ", ".join(map(excerpt, sorted(given))) or "nothing"
            filled.place.at("given", index).problem(
                f"expected keys of what is given here ({there}), got {excerpt(key)}"
            )
    text = _declared(filled, given)
    if text is not None:
        filled.place.problem(text)


def _unlike(named: Filled, known: Collection[str]) -> str | None:
    missing = [key for key in dict.fromkeys(named.given) if key not in known]
    if missing:
        keys = ", ".join(map(excerpt, missing))
        return (
            f"expected needs with {keys}: the router {excerpt(named.name)} says that it is given "
            "that, and this handler does not give it"
        )
    return _declared(named, known)


def _declared(named: Filled, known: Collection[str]) -> str | None:
    """What is said of keys that are given though routes of the router declare them."""
    both = [key for key in known if key in named.router.keys and key not in named.given]
    if not both:
        return None
    return (
        f"expected to give the router {excerpt(named.name)} no key that a route of it declares, "
        f"got {', '.join(map(excerpt, both))}: whose value counts?"
    )


def _refusal(inner: RouteTable, known: Collection[str]) -> str | None:
    """What is wrong with a router that Python has made."""
    try:
        inner.wanted(known)
    except RouteError as error:
        return f"in the router inside: {error.message}"
    return None
