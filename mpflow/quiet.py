"""Ctrl-C while the command `mpflow` still imports: no traceback, and the exit of a signal.

Knows: how the process was started. Must not know: anything of mpflow; it is imported before the
rest, since the parent package is imported before a line of the command runs. `cli/interrupts.py`
has what happens from then on. A program of any other name keeps its tracebacks.
"""

from __future__ import annotations

import os
import signal
import sys
from types import TracebackType

__all__ = ["hush"]


def hush() -> None:
    """In the command's own process, show nothing of a `KeyboardInterrupt` that nobody catches."""
    started = sys.argv[0] if sys.argv else ""
    # "While the module file is being located, the first element is set to '-m'" (sys.argv).
    as_module = started == "-m" and _module() == "mpflow"
    if as_module or os.path.basename(started) in ("mpflow", "mpflow.exe"):
        sys.excepthook = _show


def _module() -> str | None:
    """The module that Python was told to run: the word behind the first `-m`."""
    words = sys.orig_argv[1:]
    at = next((i for i, word in enumerate(words) if word == "-m"), len(words))
    return words[at + 1] if at + 1 < len(words) else None


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__  # what raises in `__set_name__` becomes a RuntimeError in 3.11
    if cause is None:
        sys.__excepthook__(kind, error, trace)
        return
    if os.name == "posix":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)  # a shell is told that it was the signal: 130
    os._exit(130)


hush()
