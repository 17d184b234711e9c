"""`Rate`: how fast a source gives its bytes, while it is waited for.

Knows: a clock and a least rate. Must not know: what is read, or why.
"""

from __future__ import annotations

from typing import Final

import attrs

from mpflow.errors import LimitExceeded

__all__ = ["WINDOW", "Rate"]

WINDOW: Final = 10.0
"""Seconds of waiting that are averaged over."""


@attrs.define(eq=False)
class Rate:
    """Refuses a source that gives less than `least` bytes a second.

    Only the time counts in which the source is waited for: who is slow to read harms no client.
    """

    least: int
    _waited: float = 0.0
    _size: int = 0

    def count(self, seconds: float, size: int) -> None:
        """The source was waited for, and gave so many bytes."""
        self._waited += seconds
        self._size += size
        if self._waited < WINDOW:
            return
        if self._size < self.least * self._waited:
            text = (
                f"expected at least {self.least} bytes a second of the body (min_rate), and "
                f"{self._size} came in {self._waited:.1f} s"
            )
            raise LimitExceeded("min_rate", self.least, message=text, status=408)
        self._waited, self._size = 0.0, 0
