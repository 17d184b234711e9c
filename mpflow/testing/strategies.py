"""Hypothesis strategies, for those who have Hypothesis.

Knows: that it may be missing. Must not know: what is drawn (`drawn.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpflow.testing.bodies import Message

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["messages"]


def messages(*, max_parts: int = 5, max_size: int = 300, depth: int = 1) -> SearchStrategy[Message]:
    """A Hypothesis strategy: a `Message` that any reader has to read, cut in any way.

    It is a form, or `multipart/mixed` where a part has no name. It has at most `max_parts`
    parts a level, each with a body of at most `max_size` bytes, and multiparts inside of them down
    to `depth` (0 for none). Names and file names are of any script; bodies like to hold CRs, LFs
    and beginnings of the delimiter. Raises `ImportError` where Hypothesis is not installed.
    """
    try:
        from mpflow.testing.drawn import message
    except ImportError as error:
        raise ImportError(
            "expected Hypothesis for the strategies of mpflow.testing: install hypothesis"
        ) from error
    return message(max_parts=max_parts, max_size=max_size, depth=depth)
