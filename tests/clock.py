"""Virtual time for portable tests: a sleep of an hour takes no time, on asyncio and on trio.

Knows: the clock of either event loop. Must not know: anything of mpflow.

    from tests.clock import virtual_time

    pytestmark = [pytest.mark.anyio, virtual_time]      # or @virtual_time on one test

Time stands still while anything can run, and jumps to the next deadline when nothing can: no task
is ready, nothing came from a socket or a pipe for `GRACE` seconds of real time, and no worker
thread is at work. A thread that waits for the loop (`from_thread.run`) counts as waiting.
A peer in another process is seen only by what it sends: do not use virtual time with one.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio.from_thread
import anyio.to_thread
import attrs
import pytest
import trio.testing

__all__ = ["GRACE", "VIRTUAL", "VirtualBackend", "virtual_time"]

GRACE = 0.001
"""Seconds of real time in which nothing may happen before the clock jumps."""


class _Busy:
    """Counts the worker threads that are at work; called in the loop's own thread only."""

    def __init__(self) -> None:
        self.threads = 0
        self.changed: Callable[[], None] = lambda: None

    def _add(self, count: int) -> None:
        self.threads += count
        self.changed()

    @contextmanager
    def working(self) -> Iterator[None]:
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._add(-1)
        try:
            yield
        finally:
            self._add(1)


class _JumpingSelector:
    """A selector that moves its loop's clock on instead of waiting for a timer."""

    def __init__(self, loop: VirtualLoop, real: selectors.BaseSelector) -> None:
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


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose `time()` starts at 0 and moves only in jumps."""

    def __init__(self, busy: _Busy) -> None:
        self.now = 0.0
        self.busy = busy
        super().__init__(_JumpingSelector(self, selectors.DefaultSelector()))  # type: ignore[arg-type]

    def time(self) -> float:
        return self.now


@attrs.frozen
class VirtualBackend:
    """A parameter of the fixture `anyio_backend`: `name` with a clock that jumps."""

    name: str

    def start(self, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
        """A fresh clock, as anyio's backend options."""
        busy = _Busy()
        _watch_threads(busy, monkeypatch)
        if self.name == "asyncio":
            return "asyncio", {"loop_factory": lambda: VirtualLoop(busy)}
        clock = trio.testing.MockClock(autojump_threshold=GRACE)

        def changed() -> None:
            clock.autojump_threshold = math.inf if busy.threads else GRACE

        busy.changed = changed
        return "trio", {"clock": clock}


VIRTUAL = [pytest.param(VirtualBackend(name), id=f"virtual-{name}") for name in ("asyncio", "trio")]
virtual_time = pytest.mark.parametrize("anyio_backend", VIRTUAL, indirect=True)
"""Mark for a test, a class or a module: run on asyncio and trio, in virtual time."""


def _watch_threads(busy: _Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts what goes through anyio's two doors between the loop and its threads."""
    to_thread, from_thread = anyio.to_thread.run_sync, anyio.from_thread.run

    async def run_sync(*args: Any, **options: Any) -> Any:
        with busy.working():
            return await to_thread(*args, **options)

    def run(func: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        async def waited(*args: Any) -> Any:
            with busy.waiting():
                return await func(*args)

        return from_thread(waited, *args, **options)

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)
    monkeypatch.setattr(anyio.from_thread, "run", run)
