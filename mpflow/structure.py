"""Decoded values into the types that an application wants.

Knows: when a type is asked for (msgspec makes it) and when a callable is.
Must not know: where the value came from, or what is done about one that does not fit.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, NewType, get_origin

from mpflow.errors import RouteError

__all__ = ["structure"]


def structure(value: Any, into: Callable[[Any], Any]) -> Any:
    """`value` as `into`: a type (attrs class, dataclass, `list[int]`, ...), or any callable.

    A type may be written as in an annotation: `Optional[int]`, `Annotated[...]`, a `NewType`. It
    is made by msgspec, the extra `msgspec`; a callable is called with the value. Raises
    `ValueError` (or what the callable raises) where the value does not fit, `RouteError` where
    msgspec is asked for and missing.
    """
    if not _is_type(into):
        return into(value)
    try:
        import msgspec
    except ImportError as error:
        raise RouteError(
            f"structuring into {into} needs msgspec: install multipart-flow[msgspec], "
            "or give a callable that takes the decoded value"
        ) from error
    return msgspec.convert(value, into)


def _is_type(into: object) -> bool:
    """Whether msgspec is to make it: of typing's forms some can be called, and check nothing."""
    if isinstance(into, type | types.GenericAlias | types.UnionType | NewType):
        return True
    # The last is for `type X = ...` (Python 3.12).
    return get_origin(into) is not None or type(into).__module__ == "typing"
