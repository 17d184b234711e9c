"""`sniff`: a predicate over the first bytes of a part.

Knows: how many bytes it asks for, and how to say that they are not there yet.
Must not know: how they are held; streams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from mpflow.errors import RouteError, excerpt
from mpflow.info import PartInfo
from mpflow.predicates.kinds import Predicate

__all__ = ["MAX_SNIFF", "NeedBytes", "Sniff", "sniff"]

MAX_SNIFF: Final = 65536
"""Bytes that a predicate may ask for."""


class NeedBytes(Exception):
    """Raised by a predicate that was reached before its bytes were: the first `count` of them."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"a predicate needs the first {count} bytes of the part: see PartInfo.sniffed"
        )
        self.count: int = count


@attrs.frozen(repr=False)
class Sniff(Predicate):
    """What a test says of the first bytes."""

    count: int
    test: Callable[[bytes], object]

    def __call__(self, info: PartInfo, /) -> bool:
        data = info.sniffed
        if data is None or (len(data) < self.count and not info.sniffed_whole):
            raise NeedBytes(self.count)
        return bool(self.test(data[: self.count]))

    def __repr__(self) -> str:
        test = getattr(self.test, "__qualname__", None) or excerpt(repr(self.test))
        return f"sniff({self.count}, {test})"


def sniff(count: int, test: Callable[[bytes], object]) -> Predicate:
    """`test` says yes to the first `count` bytes of the part (1 to 65536), or to all of it.

    The bytes are as they are on the wire, and stay in the part. A flow holds them back only for a
    part that reaches the predicate: put what the headers can tell before it, with `&`.
    """
    if type(count) is not int or not 1 <= count <= MAX_SNIFF:
        raise RouteError(f"expected 1 to {MAX_SNIFF} bytes to sniff, got {excerpt(repr(count))}")
    if not callable(test):
        raise RouteError(f"expected a test of bytes, got {excerpt(repr(test))}")
    return Sniff(count, test)
