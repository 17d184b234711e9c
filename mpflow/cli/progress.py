"""A progress bar for long work, where somebody sees it.

Knows: rich, if it is installed, and terminals. Must not know: what the work is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

__all__ = ["progress"]

PATIENCE: Final = 1.0
"""Seconds that work takes before a bar is drawn."""


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
    task = bar.add_task(label, total=total)
    begun, started = time.monotonic(), False

    def advance(size: int) -> None:
        nonlocal started
        bar.advance(task, size)
        if not started and time.monotonic() - begun > PATIENCE:
            started = True
            bar.start()

    try:
        yield advance
    finally:
        if started:
            bar.stop()


def _bar() -> Any:
    console = import_module("rich.console").Console(stderr=True)
    rich = import_module("rich.progress")
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.DownloadColumn(binary_units=True),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
    )
    # What is printed meanwhile goes above the bar, if it goes to a terminal at all.
    redirect = sys.stdout.isatty()
    return rich.Progress(
        *columns, console=console, transient=True, redirect_stdout=redirect, redirect_stderr=True
    )


def _ignore(size: int) -> None: ...
