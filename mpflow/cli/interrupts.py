"""What SIGINT (Ctrl-C), SIGTERM and SIGHUP do to a command: it ends at once, and leaves nothing.

Knows: the signals that end a command, and what they find it at: the event loop, or a call that
blocks. Must not know: what it does there.

The handlers are our own: the loop's would be installed only where SIGINT is not ignored, and at
the second signal would raise `KeyboardInterrupt` in the midst of what ends the work.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import anyio
import attrs

__all__ = ["DEAF", "Ended", "at_exit_of_signal", "dying", "ending", "interruptible", "run_loop"]

DEAF: Final = 2.0
"""Seconds after the first signal in which no other is heard. A terminal and a parent may both
send one for the same Ctrl-C, and the work is ending. The next one ends the process."""

_USUAL: Final[dict[int, object]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
"""What handles each where nobody has changed that: one that is ignored, as SIGINT is in a shell's
job in the background, stays so, and the others work all the same."""
if sys.platform != "win32":
    _USUAL[signal.SIGHUP] = signal.SIG_DFL

_last_words: list[Callable[[], None]] = []


class Ended(BaseException):
    """A signal has ended the work; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _interrupt(number: int) -> None:
    raise KeyboardInterrupt


def _keep(number: int) -> None:
    """It ends the work when that is at its end anyway."""


def _die(number: int) -> None:
    try:
        while _last_words:  # one that hangs is not called again
            _last_words.pop()()
    finally:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # a shell is told that it was the signal: 130


@attrs.define(eq=False)
class _Hearing:
    """The signals of one command: which came first, and what is done about it."""

    first: int | None = attrs.field(default=None, init=False)
    _since: float = attrs.field(default=0.0, init=False)
    _tell: Callable[[int], None] = attrs.field(default=_interrupt, init=False)

    def hear(self, number: int, frame: FrameType | None) -> None:
        """The handler of all of them."""
        now = time.monotonic()
        if self.first is None:
            self.first, self._since = number, now
            self._tell(number)
        elif now - self._since >= DEAF:
            self._since = now
            _die(number)

    @contextmanager
    def telling(self, tell: Callable[[int], None]) -> Generator[None, None, None]:
        """Within the block `tell` is called with the first signal."""
        before, self._tell = self._tell, tell
        try:
            yield
        finally:
            self._tell = before


_hearing: _Hearing | None = None


@contextmanager
def ending() -> Generator[None, None, None]:
    """The first signal ends the block, which then raises `Ended`.

    Where it does, the handlers stay: the process is about to end, and others may be on their way.
    """
    global _hearing
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal comes here
        return
    hearing = _hearing = _Hearing()
    usual = [number for number, how in _USUAL.items() if signal.getsignal(number) == how]
    before = {number: signal.getsignal(number) for number in usual}
    error: BaseException | None = None
    try:
        for number in usual:
            signal.signal(number, hearing.hear)
        yield
    except BaseException as raised:
        error = raised
    with hearing.telling(_keep):
        _hearing = None
        interrupted = isinstance(error, KeyboardInterrupt)
        if hearing.first is None and not interrupted:
            for number, how in before.items():
                signal.signal(number, how)
        if hearing.first is not None or interrupted:
            raise Ended(hearing.first or signal.SIGINT) from None
    if error is not None:
        raise error


def run_loop(work: Callable[[], Awaitable[int]]) -> int:
    """Run it on an event loop. Within `ending` the first signal cancels it.

    Nothing is raised in the loop itself, which has threads to end, too.
    """
    hearing = _hearing
    if hearing is None:
        return anyio.run(work)
    with hearing.telling(_keep):
        return anyio.run(_cancellable, work, hearing)


async def _cancellable(work: Callable[[], Awaitable[int]], hearing: _Hearing) -> int:
    import asyncio  # which `anyio.run` runs by default; anyio has no call for signal handlers

    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:

        def cancel(number: int) -> None:
            loop.call_soon_threadsafe(scope.cancel)  # wakes the loop, too

        with hearing.telling(cancel):
            if hearing.first is not None:  # while the loop began
                scope.cancel()
            return await work()
    return 1  # nobody gets it: `ending` raises


@contextmanager
def interruptible() -> Generator[None, None, None]:
    """`KeyboardInterrupt` is raised at once in what blocks the main thread.

    The event loop would cancel its task in place of that, and the call would go on to block.
    """
    hearing = _hearing
    if hearing is None:  # where it is raised anyway
        yield
        return
    with hearing.telling(_interrupt):
        if hearing.first is not None:  # the loop has not come to it yet, and never would
            raise KeyboardInterrupt
        yield


@contextmanager
def dying() -> Generator[None, None, None]:
    """The first signal ends the process, as it does by default: for threads that block, and would
    not end.

    Only where there is nothing to clean up but what `at_exit_of_signal` was told of.
    """
    hearing = _hearing
    if hearing is None:
        yield
        return
    with hearing.telling(_die):
        yield


@contextmanager
def at_exit_of_signal(action: Callable[[], None]) -> Generator[None, None, None]:
    """Call `action` before a signal ends the process."""
    _last_words.append(action)
    try:
        yield
    finally:
        _last_words.remove(action)
