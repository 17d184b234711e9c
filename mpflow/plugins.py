"""Handlers that are found by name: the entry points of the group `mpflow.handlers`.

Knows: what is installed. Must not know: what a handler does, or its options.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mpflow.errors import RouteError, excerpt

__all__ = ["GROUP", "handler_names", "load_handler"]

GROUP = "mpflow.handlers"
"""The entry point group. A name in it stands for a class, or a function, that makes a handler."""


def handler_names() -> dict[str, str]:
    """The installed names, sorted, each with the object that it stands for (`module:object`).

    Nothing is imported. A name that several distributions claim holds all of them, joined by
    " and "; `load_handler` refuses it.
    """
    return {
        name: " and ".join(point.value for point in points)
        for name, points in sorted(_installed().items())
    }


def load_handler(name: str) -> Callable[..., Any]:
    """What makes the handler called `name`, such as `"save"`: call it with the handler's options.

    `RouteError` where no distribution has that name, where several have, and where the one that
    has it cannot be imported (the reason is the `__cause__`).
    """
    installed = _installed()
    points = installed.get(name, [])
    if not points:
        names = ", ".join(sorted(installed)) or "none"
        raise RouteError(f"expected the name of an installed handler, got {excerpt(name)}: {names}")
    if len(points) > 1:
        claims = " and ".join(_origin(point) for point in points)
        raise RouteError(f"the handler {excerpt(name)} is installed more than once: by {claims}")
    try:
        loaded = points[0].load()
    except Exception as error:
        raise RouteError(
            f"the handler {excerpt(name)} of {_origin(points[0])} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not callable(loaded):
        raise RouteError(
            f"the handler {excerpt(name)} of {_origin(points[0])} is not callable: "
            f"{excerpt(repr(loaded))}"
        )
    made: Callable[..., Any] = loaded
    return made


def _installed() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def _origin(point: EntryPoint) -> str:
    distribution = "an unknown distribution" if point.dist is None else point.dist.name
    return f"{distribution} ({point.value})"
