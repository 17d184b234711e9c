"""What comes out of a handler: an answer of one phase or two, a failure, a cancellation.

Knows: how to tell them apart. Must not know: what a flow does about them.
"""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, TypeGuard, cast

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint

from mpflow.errors import LimitExceeded, NoRoute, Rejected, RouteError, Stalled, WireError
from mpflow.flow.record import Record

__all__ = [
    "NativeTask",
    "context_manager_of",
    "is_collectable",
    "is_context_manager",
    "is_fatal",
    "is_foreign",
    "is_of_source",
    "is_only",
    "is_scoped",
    "unwrap",
]


def context_manager_of(record: Record) -> AbstractAsyncContextManager[Any]:
    """What a two-phase handler gives for the record's part."""
    made: object = record.call()
    if is_context_manager(made):
        return made
    raise RouteError(
        f"expected {record.route.name} to give an async context manager, got {type(made).__name__}"
    )


def is_context_manager(made: object) -> TypeGuard[AbstractAsyncContextManager[Any]]:
    return hasattr(type(made), "__aenter__")


def is_collectable(error: BaseException) -> bool:
    """`on_error="collect"` covers what a handler does, not what the body or the flow does."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(is_collectable(e) for e in group.exceptions)
    if isinstance(error, LimitExceeded):
        return error.limit == "max_bytes"
    return isinstance(error, Exception) and not isinstance(
        error, WireError | Rejected | NoRoute | Stalled
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


def is_foreign(scope: anyio.CancelScope, *, closing: bool) -> bool:
    """Whether a cancellation came though no scope asked for it, and the flow does not end.

    On asyncio a future that was awaited may have been cancelled, or somebody cancelled the very
    task: both raise just what a cancelled scope does.
    """
    return not (
        closing or scope.cancel_called or anyio.current_effective_deadline() == float("-inf")
    )


def is_of_source(error: BaseException) -> bool:
    """Whether nobody but the source can have raised it: no cancellation of this task."""
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return not (is_scoped() or NativeTask().cancelling)
    return isinstance(error, Exception)


def is_scoped() -> bool:
    """Whether a cancellation that just came is that of a scope around this place."""
    return anyio.current_effective_deadline() == float("-inf")


class NativeTask:
    """The task that runs, where it can be cancelled past all scopes: asyncio's `task.cancel()`.

    Such a cancellation is the failure of the part at hand; it must neither reach the part after
    it nor end the task group.
    """

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: Any = None
        asyncio = sys.modules.get("asyncio")
        if asyncio is not None:
            with suppress(RuntimeError):
                self._task = asyncio.current_task()

    @property
    def cancelling(self) -> bool:
        """Whether it was cancelled, and that was not taken back."""
        return self._task is not None and bool(self._task.cancelling())

    async def absorb(self) -> None:
        """Take back what was cancelled, delivered or not."""
        with suppress(anyio.get_cancelled_exc_class()):
            await cancel_shielded_checkpoint()
        self.take_back()

    def take_back(self) -> None:
        """Take back what was cancelled and delivered."""
        while self.cancelling:
            self._task.uncancel()
