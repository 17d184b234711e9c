"""Notes on other people's exceptions, which may be frozen, or fail to show themselves.

Knows: that nothing of that may stop a flow. Must not know: what is noted.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

__all__ = ["add_note", "shown"]

MAX_SHOWN: Final = 200


def add_note(error: BaseException, note: str) -> None:
    """Add a note, if the exception takes one: a frozen one does not."""
    with suppress(Exception):
        error.add_note(note)


def shown(error: BaseException) -> str:
    """The exception in one bounded piece, whatever its `repr` does."""
    try:
        text = repr(error)
    except Exception:
        text = f"{type(error).__name__} (its repr failed)"
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
