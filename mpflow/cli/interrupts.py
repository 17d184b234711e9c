"""Ctrl-C while something blocks: it ends at once, and the terminal is left as it was.

Knows: the signals that end a command. Must not know: what blocks.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

__all__ = ["Ended", "at_exit_of_signal", "dying", "ending", "interruptible"]

_last_words: list[Callable[[], None]] = []


class Ended(BaseException):
    """A signal has ended the work; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def ending() -> Generator[None, None, None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, and leave as little; raises `Ended`."""
    came = [int(signal.SIGINT)]

    def end(number: int, frame: FrameType | None) -> None:
        came.append(number)
        handler = signal.getsignal(signal.SIGINT)
        if handler is _die:
            _die(number, frame)
        elif callable(handler):
            handler(signal.SIGINT, frame)

    with ExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                stack.enter_context(_handler(end, number))
        try:
            yield
        except KeyboardInterrupt:
            raise Ended(came[-1]) from None


@contextmanager
def interruptible() -> Generator[None, None, None]:
    """`KeyboardInterrupt` is raised at once in what blocks the main thread.

    The event loop would cancel its task in place of that, and the call would go on to block.
    """
    with _handler(signal.default_int_handler):
        yield


@contextmanager
def dying() -> Generator[None, None, None]:
    """SIGINT ends the process, as it does by default: for threads that block, and would not end.

    Only where there is nothing to clean up but what `at_exit_of_signal` was told of.
    """
    with _handler(_die):
        yield


@contextmanager
def at_exit_of_signal(action: Callable[[], None]) -> Generator[None, None, None]:
    """Call `action` before the process ends within `dying`."""
    _last_words.append(action)
    try:
        yield
    finally:
        _last_words.remove(action)


def _die(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    try:
        for action in _last_words:
            action()
    finally:
        os.kill(os.getpid(), number)  # a shell is told that it was the signal: 130


@contextmanager
def _handler(
    handler: Callable[[int, FrameType | None], Any], number: signal.Signals = signal.SIGINT
) -> Generator[None, None, None]:
    if signal.getsignal(number) == signal.SIG_IGN:  # of a shell's job in the background
        yield
        return
    try:
        before = signal.signal(number, handler)
    except ValueError:  # not in the main thread, where no signal comes
        yield
        return
    try:
        yield
    finally:
        signal.signal(number, before)
