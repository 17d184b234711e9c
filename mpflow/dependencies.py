"""Needs among routes: can they be met at all?

Knows: keys that routes declare, keys that are given, who needs which.
Must not know: parts that come (`flow/needs.py`), or how they wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs

from mpflow.errors import RouteError, excerpt
from mpflow.routes import Route

__all__ = ["NeedFault", "check_needs", "checked_given", "need_faults", "route_name"]


@attrs.frozen
class NeedFault:
    """Why a need can never be met, as a sentence: the key, and the route that needs it.

    The route is None for a key that is given though a route declares it.
    """

    text: str
    key: str
    route: Route[Any] | None


def check_needs(routes: Sequence[Route[Any]], given: frozenset[str]) -> frozenset[str]:
    """The keys of routes that other routes need.

    Raises `RouteError` where a need is neither declared nor given, where a key is both, and where
    routes need each other in a circle: no order of parts could satisfy them.
    """
    faults = need_faults(routes, given)
    both = [fault.key for fault in faults if fault.route is None]
    if both:
        raise RouteError(_both(*both))
    if faults:
        raise RouteError(faults[0].text)
    needed = {key for route in routes for key in route.needs.values()}
    return frozenset(needed - given)


def checked_given(given: object) -> dict[str, object]:
    """What the caller of a flow gives, by key; `RouteError` where it is no mapping of str."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise RouteError(
            f"expected given as a mapping of keys to values, got {excerpt(repr(given))}"
        )
    values = cast("Mapping[object, object]", given)
    for key in values:
        if not isinstance(key, str):
            raise RouteError(f"expected the keys of given as str, got {excerpt(repr(key))}")
    return dict(cast("Mapping[str, object]", given))


def need_faults(routes: Sequence[Route[Any]], given: frozenset[str]) -> list[NeedFault]:
    """All that is wrong with needs; of circles the first, and only where all else is right."""
    declared = {route.key for route in routes}
    faults = [NeedFault(_both(key), key, None) for key in sorted(given) if key in declared]
    for route in routes:
        for key in dict.fromkeys(route.needs.values()):
            if key not in declared and key not in given:
                text = (
                    f"{route_name(routes, route)} needs {excerpt(key)}, which no route declares "
                    "and nobody gives"
                )
                faults.append(NeedFault(text, key, route))
    return faults or _circles(routes, given)


def _both(*keys: str) -> str:
    return (
        f"expected given keys that no route declares, got {', '.join(map(excerpt, keys))}: "
        "whose value counts?"
    )


def route_name(routes: Sequence[Route[Any]], route: Route[Any]) -> str:
    """The route as one of several, which may be to handlers of one name: `route[2] to one ('a')`.

    It counts from 0, in order of registration.
    """
    return f"route[{routes.index(route)}] to {route.name} ({route.label})"


def _circles(routes: Sequence[Route[Any]], given: frozenset[str]) -> list[NeedFault]:
    """Routes whose needs can be met, round after round, until none is left, or none is new."""
    met, left = set(given), [route for route in routes if route.needs]
    met |= {route.key for route in routes if route.key is not None and not route.needs}
    while left:
        stuck = [route for route in left if not met.issuperset(route.needs.values())]
        if len(stuck) == len(left):
            return [_circle(stuck, met)]
        waits = set(stuck)
        met |= {route.key for route in left if route.key is not None and route not in waits}
        left = stuck
    return []


def _circle(stuck: Sequence[Route[Any]], met: set[str]) -> NeedFault:
    """One circle: the keys along it, the first one again at its end."""
    by_key = {route.key: route for route in stuck if route.key is not None}
    seen: dict[str, Route[Any]] = {}
    route = stuck[0]
    while True:
        key = next(key for key in route.needs.values() if key not in met)
        route_of_key = by_key[key]
        if key in seen:
            keys = list(seen)
            chain = [*keys[keys.index(key) :], key]
            text = f"these needs can never be met: {' needs '.join(map(excerpt, chain))}"
            return NeedFault(text, chain[1], route_of_key)
        seen[key] = route = route_of_key
