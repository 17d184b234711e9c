"""What a coding is made of: a decoder and an encoder, each of which takes any chunking.

Knows: how the two are called. Must not know: any coding, headers, parts, limits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

__all__ = ["PIECE", "CodingDecoder", "CodingEncoder"]

PIECE: Final = 65536
"""Bytes that a decoder is given at most, and gives at most, in one call."""


class CodingDecoder(ABC):
    """Undoes one coding of one body, in bounded pieces.

    `decode` takes the next bytes only while `needs_data` is true; while it is false, more comes
    of `decode(b"", limit)`. What is malformed or cut raises `InvalidContent`, in any chunking. One
    that knows where it went wrong gives out what stands before, and raises at the next call.
    """

    needs_data: bool = True

    @abstractmethod
    def decode(self, data: bytes, limit: int) -> bytes:
        """What becomes of `data`, at most `limit` bytes of it; perhaps nothing yet.

        `data` has at most `limit` bytes: a decoder that gives no more than it was given may leave
        `limit` out of account.
        """

    @abstractmethod
    def finish(self) -> bytes:
        """What is left, once all bytes were given. Raises `InvalidContent` where more is due."""


class CodingEncoder(ABC):
    """Does one coding to one body. What comes out, once joined, is the same in any chunking."""

    @abstractmethod
    def encode(self, data: bytes) -> bytes:
        """What becomes of `data`; perhaps nothing yet."""

    @abstractmethod
    def finish(self) -> bytes:
        """What is left, once all bytes were given."""

    @staticmethod
    def size_of(size: int) -> int | None:
        """How many bytes become of `size` bytes; None (the default) where it depends on them."""
        return None
