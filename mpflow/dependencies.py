"""Needs among routes: can they be met at all?

Knows: keys that routes declare, keys that are given, who needs which.
Must not know: parts that come (`flow/needs.py`), or how they wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpflow.errors import RouteError, excerpt
from mpflow.routes import Route

__all__ = ["check_needs"]


def check_needs(routes: Sequence[Route[Any]], given: frozenset[str]) -> frozenset[str]:
    """The keys of routes that other routes need.

    Raises `RouteError` where a need is neither declared nor given, where a key is both, and where
    routes need each other in a circle: no order of parts could satisfy them.
    """
    declared = {route.key for route in routes}
    both = sorted(key for key in given if key in declared)
    if both:
        raise RouteError(
            f"expected given keys that no route declares, got {', '.join(map(excerpt, both))}: "
            "whose value counts?"
        )
    for route in routes:
        for key in route.needs.values():
            if key not in declared and key not in given:
                raise RouteError(
                    f"the route to {route.name} needs {excerpt(key)}, which no route declares "
                    "and nobody gives"
                )
    _check_circles(routes, given)
    needed = {key for route in routes for key in route.needs.values()}
    return frozenset(needed - given)


def _check_circles(routes: Sequence[Route[Any]], given: frozenset[str]) -> None:
    """Routes whose needs can be met, round after round, until none is left, or none is new."""
    met, left = set(given), [route for route in routes if route.needs]
    met |= {route.key for route in routes if route.key is not None and not route.needs}
    while left:
        stuck = [route for route in left if not met.issuperset(route.needs.values())]
        if len(stuck) == len(left):
            chain = " needs ".join(_circle(stuck, met))
            raise RouteError(f"these needs can never be met: {chain}")
        waits = set(stuck)
        met |= {route.key for route in left if route.key is not None and route not in waits}
        left = stuck


def _circle(stuck: Sequence[Route[Any]], met: set[str]) -> list[str]:
    """The keys along one circle, the first one again at its end."""
    by_key = {route.key: route for route in stuck if route.key is not None}
    seen: list[str] = []
    route = stuck[0]
    while True:
        key = next(key for key in route.needs.values() if key not in met)
        if key in seen:
            return [excerpt(name) for name in [*seen[seen.index(key) :], key]]
        seen.append(key)
        route = by_key[key]
