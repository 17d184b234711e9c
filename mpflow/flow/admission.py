"""`Admission`: which route takes a part, and whether it may.

Knows: routes, how many parts each took, how large a part may be, what must not be missing.
Must not know: how parts are read, or who calls their handlers.
"""

from __future__ import annotations

from typing import Any

import attrs

from mpflow.errors import LimitExceeded, MultipartError, NoRoute, SurplusPart, excerpt
from mpflow.info import PartInfo
from mpflow.router import RouteTable
from mpflow.routes import Route
from mpflow.shapes import Shape

__all__ = ["Admission"]


@attrs.define(eq=False)
class Admission:
    """Finds the route of each part of one level, and keeps count."""

    table: RouteTable
    shape: Shape | None
    """What the results are put into: it may ask for one part of a key, over all its routes."""
    _single: frozenset[str] = attrs.field(init=False)
    _singles: set[str] = attrs.field(factory=set[str])
    _counts: dict[Route[Any], int] = attrs.field(factory=dict[Route[Any], int])

    def __attrs_post_init__(self) -> None:
        self._single = frozenset() if self.shape is None else self.shape.single

    def route(self, info: PartInfo) -> Route[Any]:
        """The route that takes the part; `NoRoute`, `SurplusPart`, or what a predicate raises."""
        try:
            route = self.table.match(info)
        except MultipartError as error:
            error.part = error.part or info.ref
            raise
        if route is None:
            raise NoRoute(
                f"expected a part that a route takes, got one of {info.content_type}",
                part=info.ref,
            )
        count = self._counts[route] = self._counts.get(route, 0) + 1
        if route.max_count is not None and count > route.max_count:
            raise SurplusPart(
                f"expected at most {route.max_count} parts of {route.label} (max_count)",
                part=info.ref,
            )
        if route.key in self._single:
            if route.key in self._singles:
                raise SurplusPart(
                    f"expected one part of key {excerpt(route.key)} (into), and one came already",
                    part=info.ref,
                )
            self._singles.add(route.key)
        return route

    def too_large(
        self, route: Route[Any], info: PartInfo, size: int, most: int | None
    ) -> LimitExceeded | None:
        """The failure of a part that is past its route's `max_bytes`, or past `most`."""
        own = route.max_bytes
        limit = most if own is None else own
        if limit is None or size <= limit:
            return None
        error = LimitExceeded("max_part_bytes" if own is None else "max_bytes", limit)
        error.part = info.ref
        return error

    def missing(self) -> list[str]:
        """All required parts that did not come, as messages name them.

        What only the shape asks for is told beside others: alone, it is told with all else that
        does not fit, once every handler has answered.
        """
        missing = [
            route.label
            for route in self.table.routes
            if route.required and route not in self._counts
        ]
        if missing and self.shape is not None:
            came = {route.key for route in self._counts}
            also = [excerpt(key) for key in self.shape.required if key not in came]
            missing += [label for label in also if label not in missing]
        return missing
