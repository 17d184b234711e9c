"""What is checked when a route is registered.

Knows: the route, those before it, and the router's limits.
Must not know: parts that come, or what happens to the route afterwards.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from mpflow.errors import RouteError, excerpt
from mpflow.predicates.implication import implies, never_matches
from mpflow.routes import Needs, Route, needs_of
from mpflow.signatures import handler_name
from mpflow.wire.limits import Limits

__all__ = ["check_observer", "check_own_key", "check_reachable", "check_size", "needs_said"]

_DEFAULT_TOTAL = Limits().max_total_bytes


def check_reachable(route: Route[Any], earlier: Iterable[Route[Any]]) -> None:
    """`RouteError` if no part is left for the route."""
    if never_matches(route.predicate):
        raise RouteError(
            f"the route to {route.name} can never match: no part fits {route.predicate!r}"
        )
    for other in earlier:
        if implies(route.predicate, other.predicate):
            raise RouteError(
                f"the route to {route.name} can never match: every part that fits "
                f"{route.predicate!r} goes to {other.name}, which was registered before it "
                f"for {other.predicate!r}"
            )


def check_own_key(route: Route[Any]) -> None:
    """`RouteError` if the route needs its own key.

    Another route may share the key, but a key that is needed comes once: where a part of that one
    came, no part of this one may.
    """
    if route.key is not None and route.key in route.needs.values():
        raise RouteError(
            f"the route to {route.name} needs {excerpt(route.key)}, its own key: a part cannot "
            "wait for itself, and of a key that is needed only one part may come"
        )


def check_size(route: Route[Any], limits: Limits | None) -> None:
    """`RouteError` if the route's `max_bytes` can never be reached."""
    most = route.max_bytes
    total = None if limits is None else limits.max_total_bytes
    # As between two limits: a default gives way in silence, one that was given does not.
    if total is None or most is None or total == _DEFAULT_TOTAL:
        return
    if most > total:
        raise RouteError(
            f"max_bytes = {most} of the route to {route.name} can never be reached below "
            f"max_total_bytes = {total}: lower the one, or raise the other"
        )


def check_observer(observer: object) -> None:
    """`RouteError` for what cannot be called, or would only make a coroutine."""
    if observer is None:
        return
    if not callable(observer):
        raise RouteError(f"expected an observer to call, got {excerpt(repr(observer))}")
    kind: Any = type(observer)
    if inspect.iscoroutinefunction(observer) or inspect.iscoroutinefunction(kind.__call__):
        raise RouteError(f"expected a sync observer, and {handler_name(observer)} is async")


def needs_said(handler: object, needs: Needs | None) -> Mapping[str, str]:
    """What the route says that the handler needs, and what the handler says by itself."""
    own = needs_of(getattr(handler, "needs", None))
    said = needs_of(needs)
    for parameter in own.keys() & said.keys():
        if own[parameter] != said[parameter]:
            raise RouteError(
                f"{handler_name(handler)} needs {excerpt(own[parameter])} as {parameter!r}, and "
                f"its route says {excerpt(said[parameter])}"
            )
    return MappingProxyType({**own, **said}) if own else said
