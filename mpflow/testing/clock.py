"""Virtual time: a sleep of an hour takes no time, on asyncio and on trio.

Knows: the clock of either event loop. Must not know: anything else of this package, or any test
framework.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import anyio.from_thread
import anyio.to_thread

__all__ = ["GRACE", "virtual_time"]

GRACE: Final = 0.001
"""Seconds of real time in which nothing may happen before the clock jumps."""


@contextmanager
def virtual_time(backend: str) -> Generator[tuple[str, dict[str, Any]]]:
    """A backend whose clock is virtual: its name and its options, for one event loop.

        with virtual_time("trio") as (backend, options):
            anyio.run(test, backend=backend, backend_options=options)

    A fixture `anyio_backend` of anyio's pytest plugin may yield it as it is. `backend` is
    `"asyncio"` or `"trio"`; others raise `ValueError`.

    Time stands still while anything can run, and jumps to the next deadline when nothing can: no
    task is ready, nothing came from a socket or a pipe for a millisecond of real time, and no
    worker thread of anyio's is at work. A thread that waits for the loop (`from_thread.run`), or,
    as that of a `SyncHandler`, for bytes, counts as waiting. Peers in other processes are seen only
    by what they send: do not use virtual time with one. Within the block, anyio's
    `to_thread.run_sync` and `from_thread.run` are watched for the whole process.
    """
    if backend not in ("asyncio", "trio"):
        raise ValueError(f"expected the backend 'asyncio' or 'trio', got {backend!r:.60}")
    busy = _Busy()
    options = _asyncio_options if backend == "asyncio" else _trio_options
    with _watched_threads(busy):
        yield backend, options(busy)


class _Busy:
    """Counts the worker threads that are at work; called in the loop's own thread only."""

    def __init__(self) -> None:
        self.threads = 0
        self.changed: Callable[[], None] = lambda: None

    def add(self, count: int) -> None:
        """That many threads more are at work; below 0, so many have come to wait."""
        self.threads += count
        self.changed()

    @contextmanager
    def working(self) -> Generator[None]:
        self.add(1)
        try:
            yield
        finally:
            self.add(-1)

    @contextmanager
    def waiting(self) -> Generator[None]:
        self.add(-1)
        try:
            yield
        finally:
            self.add(1)


# -- asyncio ----------------------------------------------------------------------------------


def _asyncio_options(busy: _Busy) -> dict[str, Any]:
    return {"loop_factory": lambda: _VirtualLoop(busy)}


class _JumpingSelector:
    """A selector that moves its loop's clock on instead of waiting for a timer."""

    def __init__(self, loop: _VirtualLoop, real: selectors.BaseSelector) -> None:
        self._loop = loop
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return self._real.select(timeout)
        # A worker thread ends with a byte through the loop's own pipe: wait for that.
        ready = self._real.select(None if self._loop.busy.threads else GRACE)
        if not ready:
            self._loop.now += timeout
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose `time()` starts at 0 and moves only in jumps."""

    def __init__(self, busy: _Busy) -> None:
        self.now = 0.0
        self.busy = busy
        selector: Any = _JumpingSelector(self, selectors.DefaultSelector())
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    async def shutdown_default_executor(self, *_: object, **__: object) -> None:
        """Wait for its threads, whatever time is given: that would have passed at one jump."""
        await super().shutdown_default_executor()


# -- trio -------------------------------------------------------------------------------------


def _trio_options(busy: _Busy) -> dict[str, Any]:
    from trio.testing import MockClock  # not needed by who tests on asyncio alone

    clock = MockClock(autojump_threshold=GRACE)

    def changed() -> None:
        clock.autojump_threshold = math.inf if busy.threads else GRACE

    busy.changed = changed
    return {"clock": clock}


# -- threads ----------------------------------------------------------------------------------


@contextmanager
def _watched_threads(busy: _Busy) -> Generator[None]:
    """Counts what goes through anyio's two doors between the loop and its threads."""
    # As what they are to a type checker, they could not be replaced.
    doors: Any = (anyio.to_thread, anyio.from_thread)
    to_thread, from_thread = doors[0].run_sync, doors[1].run

    async def run_sync(*args: Any, **options: Any) -> Any:
        with busy.working():
            return await to_thread(*args, **options)

    def run(func: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        async def waited(*args: Any) -> Any:
            with busy.waiting():
                return await func(*args)

        return from_thread(waited, *args, **options)

    # For handlers whose threads wait for the loop by no door of anyio's: they call its `add`.
    watched: Any = run_sync
    watched.busy = busy
    doors[0].run_sync, doors[1].run = watched, run
    try:
        yield
    finally:
        doors[0].run_sync, doors[1].run = to_thread, from_thread
