"""Decoded values into the types that an application wants.

Knows: when a type is asked for (msgspec makes it, or pydantic its own) and when a callable is.
Must not know: where the value came from, or what is done about one that does not fit.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, NewType, get_args, get_origin

from mpflow.errors import RouteError, excerpt

__all__ = ["structure"]

_GROUP: Any = ExceptionGroup  # of what, is of no matter


def structure(value: Any, into: Callable[[Any], Any]) -> Any:
    """`value` as `into`: a type (attrs class, dataclass, `list[int]`, ...), or any callable.

    A type may be written as in an annotation: `Optional[int]`, `Annotated[...]`, a `NewType`. It
    is made by msgspec, the extra `msgspec`; one that holds a class of pydantic's by pydantic; a
    callable is called with the value. Raises `ValueError` (or what the callable raises) where the
    value does not fit, also where a group is raised of what misfits are told with, as cattrs does;
    `RouteError` where msgspec is asked for and missing.
    """
    try:
        return _structured(value, into)
    except Exception as error:
        if _inside(error) and _is_misfit(error):
            raise ValueError(_told(error)) from error
        raise


def _structured(value: Any, into: Callable[[Any], Any]) -> Any:
    if not _is_type(into):
        return into(value)
    if _is_pydantic(into):
        return _adapter(into).validate_python(value)
    try:
        import msgspec
    except ImportError as error:
        raise RouteError(
            f"structuring into {into} needs msgspec: install multipart-flow[msgspec], "
            "or give a callable that takes the decoded value"
        ) from error
    return msgspec.convert(value, into)


def _is_pydantic(into: object) -> bool:
    """Whether it is a class of pydantic's, or holds one: msgspec knows nothing of these."""
    if isinstance(into, type) and hasattr(into, "__pydantic_validator__"):
        return True
    return any(map(_is_pydantic, get_args(into)))


@lru_cache(maxsize=64)
def _adapter(into: Any) -> Any:
    return import_module("pydantic").TypeAdapter(into)


def _inside(error: BaseException) -> tuple[Exception, ...]:
    """What a group holds."""
    found: tuple[Exception, ...] = getattr(error, "exceptions", ())
    return found if isinstance(error, _GROUP) else ()


def _is_misfit(error: BaseException) -> bool:
    """Whether it tells of a value that does not fit, and not of a fault in who takes it."""
    inside = _inside(error)
    if inside:
        return all(map(_is_misfit, inside))
    # The last are fields too many (cattrs).
    return isinstance(error, ValueError | TypeError | LookupError) or hasattr(error, "extra_fields")


def _told(error: Exception) -> str:
    """The first of the faults in a group."""
    while inside := _inside(error):
        error = inside[0]
    text = f"{type(error).__name__}: {excerpt(str(error), limit=200)}"
    # Where it stands: cattrs notes that.
    return ", ".join([text, *(str(note) for note in getattr(error, "__notes__", [])[:1])])


def _is_type(into: object) -> bool:
    """Whether msgspec is to make it: of typing's forms some can be called, and check nothing."""
    if isinstance(into, type | types.GenericAlias | types.UnionType | NewType):
        return True
    # The last is for `type X = ...` (Python 3.12).
    return get_origin(into) is not None or type(into).__module__ == "typing"
