"""`Moved`: a scope whose deadline counts only while something is waited for.

Knows: how an awaitable is driven (PEP 492, PEP 380). Must not know: sources, limits, errors.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

import anyio

__all__ = ["Moved"]

_T = TypeVar("_T")


class Moved(Generic[_T]):
    """Awaits `awaitable`; `scope` ends `limit` seconds after it began to wait for something.

    What does not wait costs no timer: moving a deadline is dearer than all else that a chunk costs
    which is there. Afterwards the scope has no deadline. It has to be that of the task.
    """

    __slots__ = ("_awaitable", "_limit", "_scope")

    def __init__(self, awaitable: Awaitable[_T], scope: anyio.CancelScope, limit: float) -> None:
        self._awaitable = awaitable
        self._scope = scope
        self._limit = limit

    def __await__(self) -> Generator[Any, Any, _T]:
        steps = self._awaitable.__await__()
        try:
            first = next(steps)
        except StopIteration as done:
            value: _T = done.value
            return value
        self._scope.deadline = anyio.current_time() + self._limit
        try:
            return (yield from _Begun(steps, first))
        finally:
            self._scope.deadline = math.inf


class _Begun(Generator[Any, Any, _T]):
    """A generator that has given its first value already: gives it once more, then goes on."""

    __slots__ = ("_first", "_steps")

    def __init__(self, steps: Generator[Any, Any, _T], first: object) -> None:
        self._steps = steps
        self._first: tuple[object] | None = (first,)

    def send(self, value: Any, /) -> Any:
        if self._first is not None:
            (first,), self._first = self._first, None
            return first
        return self._steps.send(value)

    def throw(self, *error: Any) -> Any:
        self._first = None
        return self._steps.throw(*error)

    def close(self) -> None:
        self._steps.close()
