"""What comes out of a handler: an answer of one phase or two, a failure, a cancellation.

Knows: how to tell them apart. Must not know: what a flow does about them.
"""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

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

__all__ = ["FATAL", "context_manager_of", "is_collectable", "is_context_manager", "is_foreign"]

FATAL: Final = (KeyboardInterrupt, SystemExit)
"""What passes through a flow unwrapped."""


def context_manager_of(record: Record) -> AbstractAsyncContextManager[Any]:
    """What a two-phase handler gives for the record's part."""
    made: Any = record.route.handler(record.part)
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
