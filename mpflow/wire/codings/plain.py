"""Codings that leave the bytes as they are: identity, 7bit, 8bit, binary.

Knows: RFC 2045, 6.2 and RFC 9110, 12.5.3. Must not know: any other coding.
"""

from __future__ import annotations

from mpflow.errors import WriteError, excerpt
from mpflow.wire.codings.base import CodingDecoder, CodingEncoder

__all__ = ["PlainDecoder", "PlainEncoder", "SevenBitEncoder"]


class PlainDecoder(CodingDecoder):
    """Gives what it is given. What a header promises of the bytes (7bit) is not checked."""

    def decode(self, data: bytes, limit: int) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class PlainEncoder(CodingEncoder):
    """Gives what it is given."""

    def encode(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""

    @staticmethod
    def size_of(size: int) -> int | None:
        return size


class SevenBitEncoder(PlainEncoder):
    """Gives what it is given, and refuses what is not 7bit: `WriteError`.

    RFC 2045, 2.7: "No octets with decimal values greater than 127 are allowed and neither are
    NULs". Lines may be of any length: a multipart is not a mail.
    """

    def encode(self, data: bytes) -> bytes:
        if not data.isascii() or b"\0" in data:
            at = next(at for at, byte in enumerate(data) if byte > 127 or not byte)
            raise WriteError(
                f"expected bytes from 1 to 127 for the transfer encoding 7bit, "
                f"got {excerpt(data[at : at + 8])}"
            )
        return data
