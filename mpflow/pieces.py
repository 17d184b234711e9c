"""`Pieces`: bytes that are gathered as they come.

Knows: that a small object weighs many times its bytes. Must not know: what the bytes are.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Pieces"]

SMALL: Final = 4096
"""A piece is joined with the one before it up to this length."""


class Pieces:
    """A list of pieces in which tiny ones are joined as they come; `size` is their length."""

    __slots__ = ("_items", "size")

    def __init__(self, first: bytes = b"") -> None:
        self._items: list[bytes | bytearray] = [first] if first else []
        self.size: int = len(first)

    def add(self, data: bytes) -> None:
        """Add what came."""
        self.size += len(data)
        last = self._items[-1] if self._items else b""
        if not last or len(last) + len(data) > SMALL:
            self._items.append(data)
            return
        if type(last) is not bytearray:
            last = self._items[-1] = bytearray(last)
        last += data

    def take(self) -> bytes:
        """All of it; none is left. A single piece comes out as the object that it was."""
        items, self._items, self.size = self._items, [], 0
        first = items[0] if items else b""
        return first if len(items) < 2 and type(first) is bytes else b"".join(items)

    def swap(self, data: bytes) -> bytes:
        """All of it, as `take` gives it; then `data`, of at least a byte, stands in its place."""
        items = self._items
        if len(items) == 1 and type(first := items[0]) is bytes:
            items[0], self.size = data, len(data)
            return first
        whole = self.take()
        self.add(data)
        return whole
