"""What is said of failed uploads, on stderr.

Knows: which failures somebody who runs the service can do without a traceback.
Must not know: what is answered.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from mpflow import CommitFailed, MultipartError
from mpflow.cli.told import tell_cause

__all__ = ["make_handler", "set_up_log"]


def set_up_log() -> None:
    """Warnings and errors go to stderr, one line each; a traceback for what nobody foresaw."""
    logging.basicConfig(handlers=[make_handler(sys.stderr)], level=logging.WARNING)


def make_handler(stream: TextIO) -> logging.Handler:
    """What writes those lines to a stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Lines("mpflow: %(levelname)s: %(message)s"))
    return handler


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        cause = error.__cause__ if isinstance(error, CommitFailed) else error
        if error is None or not isinstance(cause, MultipartError | OSError):
            return super().format(record)
        bare = {**vars(record), "exc_info": None, "exc_text": None}
        said = super().format(logging.makeLogRecord(bare))
        more = tell_cause(error).removeprefix(str(error))
        return " ".join(f"{said}{more}".split("\n"))
