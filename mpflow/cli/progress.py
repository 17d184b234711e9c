"""A progress bar for long work, where somebody sees it.

Knows: rich, if it is installed, and terminals. Must not know: what the work is.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from mpflow.cli.interrupts import at_exit_of_signal
from mpflow.observers.progress import new_progress

__all__ = ["progress"]

PATIENCE: Final = 1.0
"""Seconds that work takes before a bar is drawn."""

SHOW_CURSOR: Final = b"\r\x1b[K\x1b[?25h"
"""Clears the line of the bar, and shows the cursor, which the bar has hidden (DECTCEM)."""


@contextmanager
def progress(label: str, total: int | None) -> Generator[Callable[[int], None], None, None]:
    """A function to call with the bytes that were done; `total` is all of them, if known.

    It draws on stderr, and nothing where that is no terminal, or where rich is not installed.
    """
    bar: Any = None
    if sys.stderr.isatty():
        try:
            bar = _bar()
        except ImportError:
            bar = None
    if bar is None:
        yield _ignore
        return
    task = bar.add_task(label if label.isprintable() else ascii(label)[1:-1], total=total)
    begun, started = time.monotonic(), False

    def advance(size: int) -> None:
        nonlocal started
        bar.advance(task, size)
        if not started and time.monotonic() - begun > PATIENCE:
            started = True
            bar.start()

    def show_cursor() -> None:
        # Not by `bar.stop`, for the signal may have come while it was drawing.
        if started and not bar.console.is_dumb_terminal:
            os.write(sys.stderr.fileno(), SHOW_CURSOR)

    try:
        with at_exit_of_signal(show_cursor):
            yield advance
    finally:
        if started:
            bar.stop()


def _bar() -> Any:
    console = import_module("rich.console").Console(stderr=True)
    # What is printed meanwhile goes above the bar, if it goes to a terminal at all.
    return new_progress(console, redirect_stdout=sys.stdout.isatty())


def _ignore(size: int) -> None: ...
