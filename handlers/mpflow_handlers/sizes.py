"""Sizes, as the options of handlers give them.

Knows: how a size may be written. Must not know: what is bounded by it.
"""

from __future__ import annotations

from mpflow import Limits, RouteError

__all__ = ["size_of"]


def size_of(value: int | str | None, *, option: str) -> int | None:
    """Bytes, of a number or of `"1 MiB"`; None for no bound. `RouteError` names the option."""
    try:
        return Limits(max_memory=value).max_memory
    except (TypeError, ValueError) as error:
        raise RouteError(f"{option}: {error}") from None
