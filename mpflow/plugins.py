"""Handlers that are found by name: the entry points of the group `mpflow.handlers`.

Knows: what is installed. Must not know: what a handler does, or its options.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs

from mpflow.errors import RouteError, excerpt

__all__ = ["GROUP", "InstalledHandler", "handler_names", "installed_handlers", "load_handler"]

GROUP = "mpflow.handlers"
"""The entry point group. A name in it stands for a class, or a function, that makes a handler."""


@attrs.frozen
class InstalledHandler:
    """A name in the entry point group: what it stands for (`module:object`), and whose it is.

    `distribution` and `version` are empty where the metadata does not tell them.
    """

    name: str
    value: str
    distribution: str
    version: str

    def load(self) -> Callable[..., Any]:
        """What makes the handler. `RouteError` where it cannot be imported or is not callable."""
        origin = _origin(self)
        try:
            loaded = EntryPoint(self.name, self.value, GROUP).load()
        except Exception as error:
            raise RouteError(
                f"the handler {excerpt(self.name)} of {origin} cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not callable(loaded):
            raise RouteError(
                f"the handler {excerpt(self.name)} of {origin} is not callable: "
                f"{excerpt(repr(loaded))}"
            )
        made: Callable[..., Any] = loaded
        return made


def installed_handlers() -> tuple[InstalledHandler, ...]:
    """All that is installed, sorted by name; nothing is imported.

    A name may come twice, from two distributions: `load_handler` refuses it.
    """
    return tuple(made for _, several in sorted(_installed().items()) for made in several)


def handler_names() -> dict[str, str]:
    """The installed names, sorted, each with the object that it stands for (`module:object`).

    Nothing is imported. A name that several distributions claim holds all of them, joined by
    " and "; `load_handler` refuses it.
    """
    return {
        name: " and ".join(one.value for one in several)
        for name, several in sorted(_installed().items())
    }


def load_handler(name: str) -> Callable[..., Any]:
    """What makes the handler called `name`, such as `"save"`: call it with the handler's options.

    `RouteError` where no distribution has that name, where several have, and where the one that
    has it cannot be imported (the reason is the `__cause__`).
    """
    installed = _installed()
    found = installed.get(name, [])
    if not found:
        names = ", ".join(sorted(installed)) or "none"
        raise RouteError(f"expected the name of an installed handler, got {excerpt(name)}: {names}")
    if len(found) > 1:
        claims = " and ".join(map(_origin, found))
        raise RouteError(f"the handler {excerpt(name)} is installed more than once: by {claims}")
    return found[0].load()


def _installed() -> dict[str, list[InstalledHandler]]:
    found: dict[str, list[InstalledHandler]] = {}
    for point in entry_points(group=GROUP):
        name, version = ("", "") if point.dist is None else (point.dist.name, point.dist.version)
        found.setdefault(point.name, []).append(
            InstalledHandler(point.name, point.value, name, version)
        )
    return found


def _origin(one: InstalledHandler) -> str:
    return f"{one.distribution or 'an unknown distribution'} ({one.value})"
