"""`Idle`: a scope is cancelled once something was waited for too long.

Knows: how an awaitable is driven (PEP 492, PEP 380), and the timers of asyncio.
Must not know: sources, limits, errors.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import coroutine
from typing import Any, TypeAlias, TypeVar

import anyio
from anyio.lowlevel import current_token

__all__ = ["Idle", "Steps", "begun"]

_T = TypeVar("_T")
Steps: TypeAlias = Coroutine[Any, Any, _T] | Generator[Any, Any, _T]
"""What can be driven by hand."""


class Idle:
    """Bounds each of many waits, one at a time.

    On asyncio a deadline that moves is a timer set and another taken back, which is dearer than
    all else that a chunk costs. So there one timer runs through many waits: when it rings while
    nobody waits, nothing happens, and when the wait is younger than it, it is set again.
    """

    __slots__ = ("_closed", "_due", "_loop", "_rings", "_running", "_scope", "_timer")

    def __init__(self) -> None:
        self._loop: Any = None
        self._running: Callable[[], object] | None = None
        self._scope: anyio.CancelScope | None = None  # of who waits now
        self._timer: Any = None
        self._due = self._rings = 0.0
        self._closed = False

    @coroutine
    def wait(
        self, read: Steps[_T], scope: anyio.CancelScope, limit: float
    ) -> Generator[Any, Any, _T]:
        """Await `read`; `scope`, that of the task, is cancelled once it waits for `limit` s.

        What does not wait costs no timer.
        """
        try:
            first = read.send(None)
        except StopIteration as done:
            value: _T = done.value
            return value
        return (yield from self.rest(read, first, scope, limit))

    def rest(
        self, read: Steps[_T], first: object, scope: anyio.CancelScope, limit: float
    ) -> Generator[Any, Any, _T]:
        """The same, of what waits, and has said for what: that is `first`."""
        here = self._is_here()
        if here:
            self.begin(scope, limit)
        else:
            scope.deadline = anyio.current_time() + limit
        try:
            return (yield from begun(read, first))
        finally:
            if here:
                self.end()
            else:
                scope.deadline = math.inf

    def begin(self, scope: anyio.CancelScope, limit: float) -> None:
        """Somebody waits from now on, whose scope this is."""
        self._due = self._loop.time() + limit
        if self._timer is None or self._rings > self._due:
            self._set()
        self._scope = scope

    def end(self) -> None:
        """Nobody waits any more."""
        self._scope = None
        if self._closed:
            self.stop()

    def stop(self) -> None:
        """Take the timer back, as no wait follows soon. One under way keeps it to its end."""
        self._closed = self._scope is not None
        if not self._closed and self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

    def _is_here(self) -> bool:
        """Whether this is the loop of asyncio that has the timer; False on trio."""
        try:
            if self._running is not None and self._running() is self._loop:
                return True
        except RuntimeError:
            pass  # asyncio's loop is gone, and this is trio
        loop: Any = current_token().native_token
        self._timer = None  # what another loop has will ring in vain
        self._running = None
        if hasattr(loop, "call_at"):
            self._loop, self._running = loop, sys.modules["asyncio"].get_running_loop
        return self._running is not None

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings = self._due
        # A context of its own: else what the task has in its own lives as long as the timer.
        self._timer = self._loop.call_at(self._due, self._ring, self._loop, context=Context())

    def _ring(self, loop: Any) -> None:
        if loop is not self._loop:
            return  # read by another loop since, in another thread perhaps
        self._timer = None
        if self._scope is None:
            return
        if loop.time() < self._due:
            self._set()
        else:
            self._scope.cancel()


def begun(steps: Steps[_T], first: object) -> Generator[Any, Any, _T]:
    """What has given its first value already: gives it once more, then goes on."""
    thrown: BaseException | None = None
    try:
        while True:
            try:
                value = yield first
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:
                # As it came: without the line above in its traceback.
                thrown = error.with_traceback(getattr(error.__traceback__, "tb_next", None))
            else:
                first = steps.send(value)
                continue
            # Not while it is handled here: it would be the context of all that is raised there.
            try:
                first = steps.throw(thrown)
            finally:
                thrown = None
    except StopIteration as done:
        result: _T = done.value
        return result
