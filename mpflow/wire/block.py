"""A header block as it comes in, and the limits on it.

Knows: lines, header fields, and the limits that count them. Must not know: what a header means.
"""

from __future__ import annotations

from mpflow.errors import LimitExceeded
from mpflow.wire.limits import Budget

__all__ = ["HeaderBlock"]


class HeaderBlock:
    """Gathers one header block and checks its limits line by line, looking at each byte once.

    The text begins with the CRLF that ends the delimiter line; the block proper is what follows,
    up to the blank line. However the text was cut, the same limit is hit at the same byte.
    """

    __slots__ = ("_budget", "_fields", "_line", "_scanned", "easy", "text")

    easy: int
    """Well-formed blocks of up to this many bytes break no limit of one part."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.text: bytearray = bytearray()
        self._line = self._scanned = 2
        self._fields = 0

    def bound(self) -> None:
        """Take over the limits of the budget, when it is made and when they change."""
        limits = self._budget.limits
        shortest = [v for v in (limits.max_header_line, limits.max_header_bytes) if v is not None]
        if limits.max_headers is not None:
            # The shortest field on the wire is "a:" and its CRLF: n bytes hold at most n / 4.
            shortest.append(4 * limits.max_headers)
        self.easy = min(shortest, default=1 << 62)

    def take(self) -> bytes:
        """Hand over the text and start anew."""
        text = bytes(self.text)
        self.text = bytearray()
        self._line = self._scanned = 2
        self._fields = 0
        return text

    def add(self, text: bytes, held: bytes) -> int:
        """Add `text`, which goes on with `held`; where the blank line begins, or -1."""
        start = max(0, len(self.text) - 3)
        self.text += text
        found = self.text.find(b"\r\n\r\n", start)
        if found < 0 and held.startswith(b"\r\n") and self.text.endswith(b"\r\n"):
            return len(self.text) - 2
        return found

    def check(self, end: int) -> None:
        """Check the block up to `end`: where the blank line begins, or as far as it is known.

        Raises `LimitExceeded`, with an `offset` that counts from the start of the text.
        """
        while True:
            close = self.text.find(b"\r\n", self._scanned, end)
            self._check_line(end if close < 0 else close)
            if close < 0:
                # The last byte may be the CR of the CRLF that ends the line.
                self._scanned = max(self._line, end - 1)
                return
            self._fields += self.text[self._line] not in b" \t"
            self._line = self._scanned = close + 2

    def _check_line(self, end: int) -> None:
        """Raise for the limit that is hit first in the line from `_line` to `end`, if any is."""
        limits, start = self._budget.limits, self._line
        left = limits.max_total_header_bytes
        if left is not None:
            left = max(0, left - self._budget.counts.header_bytes)
        fields = self._fields + (end > start and self.text[start] not in b" \t")
        hits = [
            (start, "max_headers", _over(fields, limits.max_headers)),
            (_at(start, limits.max_header_line), "max_header_line",
             _over(end - start, limits.max_header_line)),
            (_at(2, limits.max_header_bytes), "max_header_bytes",
             _over(end - 2, limits.max_header_bytes)),
            (_at(2, left), "max_total_header_bytes", _over(end - 2, left)),
        ]  # fmt: skip
        offset, name, hit = min((hit for hit in hits if hit[2]), default=(0, "", False))
        if hit:
            raise LimitExceeded(name, getattr(limits, name), offset=offset)


def _over(count: int, limit: int | None) -> bool:
    return limit is not None and count > limit


def _at(start: int, limit: int | None) -> int:
    return start + (limit or 0)
