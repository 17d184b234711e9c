"""The table of routes: what goes where.

Knows: routes in order of registration, and which of them takes a part.
Must not know: how a part is handled; tasks, channels, results. `Router`, which dispatches, is
made of this table in `mpflow.flow`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Concatenate, TypeAlias, TypeVar, Unpack, cast, overload

import attrs

from mpflow.decoding import DecodePolicy
from mpflow.dependencies import check_needs, route_name
from mpflow.errors import RouteError, excerpt
from mpflow.explanation import Explanation
from mpflow.info import PartInfo
from mpflow.part import Part
from mpflow.predicates import (
    MatchOptions,
    Predicate,
    PredicateLike,
    any_part,
    as_predicate,
    keywords,
)
from mpflow.predicates.implication import literal_name, split_name
from mpflow.registration import (
    check_observer,
    check_own_key,
    check_reachable,
    check_size,
    needs_said,
)
from mpflow.reports import Observer
from mpflow.routes import Handler, Needs, OnError, Order, Route, needs_of
from mpflow.shapes import Inside
from mpflow.signatures import check_handler, handler_name
from mpflow.wire.limits import Limits

__all__ = ["Handler", "OnError", "Route", "RouteOptions", "RouteTable", "routers_inside"]

T = TypeVar("T")
Before: TypeAlias = Callable[[Mapping[str, str]], Awaitable[None] | None]
"""What looks at the headers of a message before a byte of its body is read."""
B = TypeVar("B", bound=Before)
H = TypeVar(
    "H",
    bound=Callable[Concatenate[Part, ...], Awaitable[Any]]
    | Callable[Concatenate[Part, ...], AbstractAsyncContextManager[Any]],
)

_Candidates: TypeAlias = tuple[tuple[Predicate | None, Route[Any]], ...]
"""What is left to ask (None: nothing), and the route it is for, in order of registration."""


class RouteOptions(MatchOptions, total=False):
    """The keywords of `route` and `add`: what the route asks for, and its policies.

    key: what its results are found under; the literal `name=` if absent. Routes may share one.
    required: a body without such a part is refused.
    max_count: how many parts it takes at most; one more is refused.
    max_bytes: bytes of one part, in place of `Limits.max_part_bytes`; `"500 MiB"` will do.
    timeout: seconds from the handler's call to its answer.
    on_error: `"abort"` (default) ends the flow at a failure, `"collect"` keeps it and goes on.
    decode: what handlers that store a part undo of it: `"transfer"` (default) its transfer
    encoding, `"all"` its content codings as well, `"none"` nothing.
    needs: what the handler gets beside the part: a key, several, or a mapping of parameter to key.
    Each is the result of the one part that came under that key of another route, or what
    `dispatch(given=...)` says.
    order: what becomes of a part that comes before one that it needs: `"reject"` (default) refuses
    the message, `"spool"` keeps the part in a temporary file until its needs are met.
    """

    key: str | None
    required: bool
    max_count: int | None
    max_bytes: int | str | None
    timeout: float | None
    on_error: OnError
    decode: DecodePolicy
    needs: Needs
    order: Order


class RouteTable:
    """Routes in order of registration; the first that matches a part takes it.

    `limits` bounds every message that is dispatched; `max_handlers` (at least 1) is how many
    handlers run at once. A route that can never match, and options or a handler that cannot
    work, raise `RouteError` when they are registered. `observer` is called with a report of each
    thing that happens (`mpflow.reports`), those of nested routers without one of their own, too.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        max_handlers: int = 16,
        observer: Observer | None = None,
    ) -> None:
        if type(max_handlers) is not int or max_handlers < 1:
            raise RouteError(
                f"expected max_handlers as an int of at least 1, got {excerpt(repr(max_handlers))}"
            )
        check_observer(observer)
        self.observer = observer
        self.limits = limits
        self.max_handlers = max_handlers
        self._routes: tuple[Route[Any], ...] = ()
        self._hooks: tuple[Before, ...] = ()
        self._keys: frozenset[str] = frozenset()
        self._wanted: dict[frozenset[str], frozenset[str]] = {}
        self._by_name: dict[str | None, _Candidates] | None = None
        self._nameless: _Candidates = ()

    @property
    def routes(self) -> tuple[Route[Any], ...]:
        """The routes, in order of registration."""
        return self._routes

    @property
    def keys(self) -> frozenset[str]:
        """The keys that routes declare."""
        return self._keys

    def route(
        self, predicate: PredicateLike | None = None, **options: Unpack[RouteOptions]
    ) -> Callable[[H], H]:
        """A decorator that registers a handler and returns it unchanged.

        The keywords are joined with `predicate` by *and*; with neither, the route takes every
        part that no route before it takes. Predicates and `RouteOptions` tell what each means.
        """
        # Now, and not when a handler comes: `@router.route` without parentheses gives none.
        asked = None if predicate is None else as_predicate(predicate)

        def register(handler: H) -> H:
            self._register(handler, asked, **options)
            return handler

        return register

    @overload
    def add(
        self,
        handler: Callable[Concatenate[Part, ...], Awaitable[T]],
        predicate: PredicateLike | None = None,
        **options: Unpack[RouteOptions],
    ) -> Route[T]: ...

    @overload
    def add(
        self,
        handler: Callable[Concatenate[Part, ...], AbstractAsyncContextManager[T]],
        predicate: PredicateLike | None = None,
        **options: Unpack[RouteOptions],
    ) -> Route[T]: ...

    def add(
        self,
        handler: Callable[Concatenate[Part, ...], Any],
        predicate: PredicateLike | None = None,
        **options: Unpack[RouteOptions],
    ) -> Route[Any]:
        """Register a handler as `route` does, and return its route, a key to its results."""
        return self._register(handler, predicate, **options)

    def include(
        self,
        other: RouteTable,
        predicate: PredicateLike | None = None,
        **match: Unpack[MatchOptions],
    ) -> tuple[Route[Any], ...]:
        """Take over the routes of another router, in order, and return them as they are here.

        Each takes the parts that fit `predicate` and the keywords as well; keys, needs and
        policies stay, and the route of `other` is a key to the results, too. Routes that `other`
        gets later are not seen; its hooks, limits and observer are not taken. `RouteError` if one
        of them can never match here: then none is taken.
        """
        if not isinstance(other, RouteTable):
            raise RouteError(f"expected a router to include, got {excerpt(repr(other))}")
        asked = keywords(predicate, **match)
        routes = tuple(
            attrs.evolve(route, predicate=_joined(asked, route.predicate), included=route)
            for route in other._routes
        )
        self._append(*routes)
        return routes

    def before(self, hook: B) -> B:
        """Register a hook, sync or async, that is called before a byte of a body is read.

        It is called with the headers of the message (of the part, in a nested router), and may
        raise `Rejected`. Hooks run in order of registration; a decorator that gives the hook back.
        """
        if not callable(hook):
            raise RouteError(f"expected a hook to call, got {excerpt(repr(hook))}")
        self._hooks += (hook,)
        return hook

    @property
    def hooks(self) -> tuple[Before, ...]:
        """The hooks, in order of registration."""
        return self._hooks

    def match(self, info: PartInfo) -> Route[Any] | None:
        """The first route that takes the part, or None. What a predicate raises goes through."""
        by_name = self._by_name
        if by_name is None:
            by_name = self._build()
        for predicate, route in by_name.get(info.name, self._nameless):
            if predicate is None or predicate(info):
                return route
        return None

    def explain(self, info: PartInfo) -> Explanation:
        """Which route takes the part, and why each of the others does not.

        Predicates are asked as a dispatch asks them. `PartInfo.of` makes an info by hand. A part
        of the disposition `form-data` is taken for one of a form.
        """
        return Explanation.of(self._routes, info, is_charset_taken=self.takes_charset)

    @property
    def takes_charset(self) -> bool:
        """Whether the `_charset_` of a form is the flow's own to take: no route names it."""
        return all(literal_name(route.predicate) != "_charset_" for route in self._routes)

    def inside(self, key: str) -> Iterator[Inside]:
        """The routers that handlers of the key give the results of, such as `Nested`.

        Known are those that a handler has as its `router_inside`. Of a handler that has
        `handlers_inside`, such as `Tee`, a tuple of what each of them gives.
        """
        for route in self._routes:
            if route.key == key:
                yield _inside(route.handler)

    def key_of(self, route: Route[Any], info: PartInfo) -> str | None:
        """The key under which the part's result is filed.

        It is the one that its route declares, else the part's own name, but only if no route
        declares that: no client puts a value under a declared key by choosing a name.
        """
        if route.key is not None:
            return route.key
        return None if info.name in self._keys else info.name

    def wanted(self, given: Collection[str] = ()) -> frozenset[str]:
        """The keys of routes whose results other routes need, beside what is `given`.

        `RouteError` for a need that nobody can meet, also in a router inside that is known, and for
        a given key that a route declares.
        """
        names = frozenset(given)
        if names not in self._wanted:
            if len(self._wanted) >= 16:  # callers who give other keys each time
                self._wanted.clear()
            self._wanted[names] = check_needs(self._routes, names)
            try:
                for route in self._routes:
                    self._ask_inside(route)
            except RouteError:
                del self._wanted[names]
                raise
        return self._wanted[names]

    def _ask_inside(self, route: Route[Any]) -> None:
        """`RouteError` where a router inside cannot have its needs met; the route is named."""
        for inner, known in routers_inside(route):
            try:
                inner.wanted(known)  # maybe this one: then it is known already
            except RouteError as error:
                raise RouteError(
                    f"in the router inside {route_name(self._routes, route)}: {error.message}"
                ) from error

    def _register(
        self,
        handler: Callable[Concatenate[Part, ...], Any],
        predicate: PredicateLike | None,
        *,
        key: str | None = None,
        required: bool = False,
        max_count: int | None = None,
        max_bytes: int | str | None = None,
        timeout: float | None = None,
        on_error: OnError = "abort",
        decode: DecodePolicy = "transfer",
        needs: Needs | None = None,
        order: Order = "reject",
        **match: Unpack[MatchOptions],
    ) -> Route[Any]:
        asked = keywords(predicate, **match)
        needed = needs_said(handler, needs)
        route = Route[Any](
            handler,
            predicate=asked,
            name=handler_name(handler),
            key=literal_name(asked) if key is None else key,
            required=required,
            max_count=max_count,
            max_bytes=max_bytes,
            timeout=timeout,
            on_error=on_error,
            decode=decode,
            needs=needed,
            order=order,
            two_phase=check_handler(handler, needed),
        )
        self._append(route)
        return route

    def _append(self, *routes: Route[Any]) -> None:
        """Take all of the routes, or raise `RouteError` and take none."""
        known = self._routes
        for route in routes:
            check_own_key(route)
            check_reachable(route, known)
            check_size(route, self.limits)
            known += (route,)
        self._routes = known
        self._keys |= {route.key for route in routes if route.key is not None}
        self._wanted.clear()
        self._by_name = None

    def _build(self) -> dict[str | None, _Candidates]:
        """For each literal name the routes that may take it: one look-up in place of many calls."""
        named: dict[str | None, list[tuple[Predicate | None, Route[Any]]]] = {}
        nameless: list[tuple[Predicate | None, Route[Any]]] = []
        for route in self._routes:
            name, rest = split_name(route.predicate)
            if name is not None:
                named.setdefault(name, nameless[:]).append((rest, route))
                continue
            nameless.append((rest, route))
            for candidates in named.values():
                candidates.append((rest, route))
        self._nameless = tuple(nameless)
        self._by_name = {name: tuple(candidates) for name, candidates in named.items()}
        return self._by_name


def _inside(handler: object) -> RouteTable | tuple[Inside, ...] | None:
    inner: object = getattr(handler, "router_inside", None)
    if isinstance(inner, RouteTable):
        return inner
    return tuple(map(_inside, _handlers_inside(handler))) or None


def routers_inside(route: Route[Any]) -> Iterator[tuple[RouteTable, Collection[str]]]:
    """Each router inside the route's handler that is known, with the names of what it is given."""
    return _routers_inside(route.handler, route.needs)


def _routers_inside(
    handler: object, given: Collection[str]
) -> Iterator[tuple[RouteTable, Collection[str]]]:
    inner: object = getattr(handler, "router_inside", None)
    if isinstance(inner, RouteTable):
        yield inner, given
    for child in _handlers_inside(handler):
        own = getattr(child, "needs", None)
        yield from _routers_inside(child, given if own is None else needs_of(own))


def _handlers_inside(handler: object) -> tuple[object, ...]:
    children: object = getattr(handler, "handlers_inside", ())
    return cast("tuple[object, ...]", children) if isinstance(children, tuple) else ()


def _joined(asked: Predicate, own: Predicate) -> Predicate:
    """Both, where both ask for something."""
    anything = any_part()
    if own == anything:
        return asked
    return own if asked == anything else asked & own
