"""What comes out of a handler: an answer of one phase or two, a failure, a cancellation.

Knows: how to tell them apart. Must not know: what a flow does about them.
"""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import anyio

from mpflow.errors import (
    HandlerCancelled,
    HandlerTimeout,
    InvalidContent,
    MultipartError,
    RouteError,
    UnsupportedCoding,
)
from mpflow.flow.record import Record

__all__ = [
    "context_manager_of",
    "is_collectable",
    "is_context_manager",
    "is_fatal",
    "is_foreign",
    "is_only",
    "unwrap",
]


def context_manager_of(record: Record) -> AbstractAsyncContextManager[Any]:
    """What a two-phase handler gives for the record's part."""
    made: Any = record.call()
    if is_context_manager(made):
        return made  # type: ignore[no-any-return] # it has __aenter__
    raise RouteError(
        f"expected {record.route.name} to give an async context manager, got {type(made).__name__}"
    )


def is_context_manager(made: object) -> bool:
    return hasattr(type(made), "__aenter__")


def is_collectable(error: BaseException) -> bool:
    """`on_error="collect"` covers what a handler does, not what the body or the flow does."""
    if not isinstance(error, MultipartError):
        return isinstance(error, Exception)
    return (
        isinstance(error, InvalidContent | UnsupportedCoding | HandlerTimeout | HandlerCancelled)
        or getattr(error, "limit", None) == "max_bytes"
    )


def unwrap(error: BaseException) -> BaseException:
    """What a group that is no `Exception` is about: KeyboardInterrupt and its like, bare.

    Else it holds a cancellation, and is one: what fails beside it is none of the caller's.
    """
    if not isinstance(error, BaseExceptionGroup) or isinstance(error, Exception):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    inner = [unwrap(e) for e in group.exceptions if not isinstance(e, Exception)]
    return next((e for e in inner if is_fatal(e)), inner[0])


def is_fatal(error: BaseException) -> bool:
    """Whether it passes through a flow as it is: no `Exception`, and no cancellation."""
    return not isinstance(error, (Exception, GeneratorExit, anyio.get_cancelled_exc_class()))


def is_only(error: BaseException, undo: BaseException | None) -> bool:
    """Whether it is what was raised at the yield, perhaps in groups of the handler's own."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(is_only(e, undo) for e in group.exceptions)
    return error is undo


def is_foreign(scope: anyio.CancelScope) -> bool:
    """Whether a cancellation came though nobody cancelled the scope or one around it.

    On asyncio a future that was awaited may have been cancelled; it raises just what a cancelled
    task gets.
    """
    if scope.cancel_called or anyio.current_effective_deadline() == float("-inf"):
        return False
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return True
    return task is None or not task.cancelling()
