"""base64, as a transfer encoding: lines of 76 characters (RFC 2045, 6.8).

Knows: the alphabet, its four phases, and the padding. Must not know: any other coding.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, b2a_base64
from typing import Final

from mpflow.errors import InvalidContent, excerpt
from mpflow.wire.codings.base import CodingDecoder, CodingEncoder

__all__ = ["Base64Decoder", "Base64Encoder"]

_BLANKS: Final = b" \t\r\n"
_GARBAGE = re.compile(rb"[^A-Za-z0-9+/ \t\r\n]").search
_VISIBLE = re.compile(rb"[^ \t\r\n]").finditer
_LINE: Final = 76  # RFC 2045, 6.8: "lines of no more than 76 characters each"
_LINE_BYTES: Final = _LINE // 4 * 3


class Base64Decoder(CodingDecoder):
    """White space is left out; all else that is not of the alphabet is refused, never skipped.

    RFC 2045, 6.8 lets a decoder skip it; then two decoders may see two contents. Padding must be
    there and right, and nothing may follow it. Errors name the byte of the encoded body, and come
    once all that stands before it has been given out, by fours.
    """

    def __init__(self) -> None:
        self._carry = b""  # the first characters of four, at most three
        self._padding = 0
        self._ended = False
        self._taken = 0  # bytes of the encoded body that were given before this call
        self._error: InvalidContent | None = None

    def decode(self, data: bytes, limit: int) -> bytes:
        out = b""
        if self._error is None:
            out = self._pad(data) if self._padding or b"=" in data else self._plain(data)
            self._taken += len(data)
        if self._error is not None:
            self.needs_data: bool = False
            if not out:
                raise self._error
        return out

    def finish(self) -> bytes:
        if self._carry:
            have = len(self._carry) + self._padding
            raise _refusal(f"{have} of the 4 characters that stand together", self._taken)
        return b""

    def _plain(self, data: bytes) -> bytes:
        """Decode what holds no padding. The last one to three characters are carried over."""
        # `a2b_base64` leaves out white space by itself, and garbage with it. What it gave tells
        # how many characters it took: that is cheaper than to look at each of them before.
        blanks = len(data) - len(data.translate(None, _BLANKS))
        held = len(self._carry)
        joined = self._carry + data if held else data
        count = len(joined) - blanks
        rest = count % 4
        cut = _cut(joined, rest)
        self._carry = joined[cut:].translate(None, _BLANKS)
        try:
            out = a2b_base64(memoryview(joined)[:cut])
        except Error:
            out = b""
        if len(out) * 4 != (count - rest) * 3 or _GARBAGE(self._carry):
            return self._before_garbage(joined, self._taken - held)
        return out

    def _before_garbage(self, data: bytes, start: int) -> bytes:
        """Decode the fours before the first byte that is not of the alphabet."""
        found = _GARBAGE(data)
        assert found is not None
        self._error = _refusal(excerpt(found[0]), start + found.start())
        good = data[: found.start()].translate(None, _BLANKS)
        return a2b_base64(good[: len(good) // 4 * 4])

    def _pad(self, data: bytes) -> bytes:
        """Decode what holds padding, or comes after some."""
        out, at = b"", 0
        if not self._padding:
            at = data.index(b"=")
            out = self._plain(data[:at])
        if self._error is None:
            for found in _VISIBLE(data, at):
                # It ends soon: two of them may be right, and any other is not.
                wrong = self._wrong(found[0])
                if wrong is not None:
                    self._error = _refusal(wrong, self._taken + found.start())
                    break
                self._padding += 1
                if len(self._carry) + self._padding == 4:
                    out += a2b_base64(self._carry + b"=" * self._padding)
                    self._carry = b""
                    self._ended = True
        return out

    def _wrong(self, character: bytes) -> str | None:
        """What is wrong with a character that follows padding, or is some."""
        if character != b"=":
            return f"{excerpt(character)} after the padding"
        if self._ended:
            return "more padding after the padding"
        return "padding where none fits" if len(self._carry) < 2 else None


def _refusal(got: str, at: int) -> InvalidContent:
    return InvalidContent(f"expected base64, got {got}, at byte {at} of the encoded body")


def _cut(data: bytes, rest: int) -> int:
    """Where the last `rest` characters that are not white space begin."""
    end = len(data)
    if rest and any(byte in _BLANKS for byte in data[-rest:]):
        for _ in range(rest):
            end = len(data[:end].rstrip(_BLANKS)) - 1
        return end
    return end - rest


class Base64Encoder(CodingEncoder):
    """Lines of 76 characters, with CRLF between them and none at the end."""

    def __init__(self) -> None:
        self._carry = b""
        self._begun = False

    def encode(self, data: bytes) -> bytes:
        data = self._carry + data if self._carry else data
        cut = len(data) - len(data) % _LINE_BYTES
        self._carry = data[cut:]
        return self._lines(data[:cut])

    def finish(self) -> bytes:
        data, self._carry = self._carry, b""
        return self._lines(data)

    def _lines(self, data: bytes) -> bytes:
        if not data:
            return b""
        text = b2a_base64(data, newline=False)
        lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
        if self._begun:
            lines.insert(0, b"")
        self._begun = True
        return b"\r\n".join(lines)

    @staticmethod
    def size_of(size: int) -> int | None:
        text = (size + 2) // 3 * 4
        return text + max(0, (text - 1) // _LINE) * 2
