"""`ContentRange`: which bytes of a whole a part holds, and how a client asks for some.

Knows: the headers Content-Range and Range (RFC 9110, 14). Must not know: parts, answers, files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

from mpflow.errors import MalformedBody, excerpt

__all__ = ["ContentRange", "range_header"]

# RFC 9110, 14.4: "Content-Range = range-unit SP ( range-resp / unsatisfied-range )".
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.I)
_MAX_OFFSET: Final = 2**63 - 1
"""The last place that a file can have, on any system."""


@attrs.frozen(order=True)
class ContentRange:
    """Which bytes a part holds: `data[start:end]` of `total` bytes, None where that is unknown.

    `end` is the byte after the last, as in a slice; the header has the last one.
    """

    start: int
    end: int
    total: int | None = None

    @classmethod
    def parse(cls, value: str) -> ContentRange:
        """Read the value of a Content-Range (RFC 9110, 14.4). Raises `MalformedBody`."""
        match = _CONTENT_RANGE.fullmatch(value.strip())
        if match is not None:
            total = None if match[3] == "*" else int(match[3])
            found = cls(int(match[1]), int(match[2]) + 1, total)
            # "invalid if ... a last-pos value less than its first-pos value, or a complete-length
            # value less than or equal to its last-pos value".
            fits = found.end <= (_MAX_OFFSET if total is None else min(total, _MAX_OFFSET))
            if found.start < found.end and fits:
                return found
        came = excerpt(value)
        raise MalformedBody(f"expected a Content-Range 'bytes FIRST-LAST/TOTAL', got {came}")

    def __str__(self) -> str:
        total = "*" if self.total is None else self.total
        return f"bytes {self.start}-{self.end - 1}/{total}"


def range_header(ranges: Iterable[tuple[int, int | None]]) -> str:
    """The value of a Range header that asks for these `(start, end)`; None is the end of all.

    Raises `ValueError` for no range, or one that holds no byte.
    """
    pairs = list(ranges)
    if not pairs or any(start < 0 or (end is not None and end <= start) for start, end in pairs):
        raise ValueError(f"expected ranges of at least one byte, got {pairs}")
    return "bytes=" + ",".join(f"{a}-{'' if b is None else b - 1}" for a, b in pairs)
