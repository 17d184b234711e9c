"""quoted-printable, as a transfer encoding (RFC 2045, 6.7).

Knows: escapes, soft line breaks and white space at the end of a line.
Must not know: any other coding, charsets.
"""

from __future__ import annotations

import re
from binascii import a2b_qp, b2a_qp
from typing import Final

from mpflow.errors import InvalidContent, excerpt
from mpflow.wire.codings.base import CodingDecoder, CodingEncoder

__all__ = ["QuotedPrintableDecoder", "QuotedPrintableEncoder"]

MAX_BLANKS: Final = 998
"""White space in one run: a line of a mail has no more (RFC 5322, 2.1.1)."""

_TOO_BLANK: Final = b" " * (MAX_BLANKS + 1)
_BAD = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*+\r?\n)").search
_LINE_ENDS = (b" \n", b"\t\n", b" \r\n", b"\t\r\n")
# Looked for only at the start of a run, and never backwards: linear.
_BLANK_END = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n)")
_LINE: Final = 76  # RFC 2045, 6.7 (5): "no more than 76 characters long"


class QuotedPrintableDecoder(CodingDecoder):
    """Escapes in either case are undone, soft line breaks are taken out.

    White space at the end of a line is left out (6.7 (3): "MUST be deleted"), also at the end of
    the body. Line breaks stay as they are, CRLF or LF; so do bytes that should have been escaped.
    An equals sign at the very end is a soft line break whose CRLF belongs to the delimiter. Any
    other one that begins no escape is refused, and so is a run of more than 998 blanks. Errors
    name the byte of the encoded body, and come once all before it has been given out.
    """

    def __init__(self) -> None:
        self._held = b""
        self._taken = 0  # bytes of the encoded body before what is held
        self._error: InvalidContent | None = None

    def decode(self, data: bytes, limit: int) -> bytes:
        if self._error is not None:
            raise self._error
        # What is held may come on top of the limit: at most 1000 bytes do.
        data = self._held + data if self._held else data
        blank = data.replace(b"\t", b" ").find(_TOO_BLANK)
        text = data if blank < 0 else data[: blank + 1]
        out, good = self._decode(text, _complete(text))
        if blank >= 0 and self._error is None:
            self._refuse(f"more than {MAX_BLANKS} blanks in a row", blank)
        if self._error is not None:
            self.needs_data: bool = False
            if not out:
                raise self._error
        self._held = data[good:]
        self._taken += good
        return out

    def finish(self) -> bytes:
        held, self._held = self._held, b""
        if not held.endswith(b"\r"):
            held = held.rstrip(b" \t").removesuffix(b"=")
        out, _ = self._decode(held, len(held))
        if self._error is not None:
            raise self._error  # nothing is held before an equals sign
        return out

    def _decode(self, data: bytes, end: int) -> tuple[bytes, int]:
        """Decode what stands before `end`, or before what is wrong there; and where that is."""
        found = _BAD(data, 0, end)
        if found is not None:
            end = found.start()
            # Two bytes, since more may not be here yet.
            self._refuse(excerpt(data[end : end + 2]), end)
        data = data[:end]
        if any(mark in data for mark in _LINE_ENDS):
            data = _BLANK_END.sub(b"", data)
        return a2b_qp(data), end

    def _refuse(self, got: str, at: int) -> None:
        place = self._taken + at
        self._error = InvalidContent(
            f"expected quoted-printable, got {got}, at byte {place} of the encoded body"
        )


def _complete(data: bytes) -> int:
    """How much of the data means the same whatever follows it."""
    # Perhaps blanks before a line break that is still to come, after an equals sign or not ...
    stem = data.removesuffix(b"\r").rstrip(b" \t")
    if stem.endswith(b"="):
        return len(stem) - 1
    # ... or the first half of an escape.
    if len(stem) == len(data) and data[-2:-1] == b"=":
        return len(data) - 2
    return len(stem)


class QuotedPrintableEncoder(CodingEncoder):
    """Lines of at most 76 characters; CRLF stays a line break, a CR or LF alone is escaped.

    So what is decoded is the same byte for byte, and text stays readable.
    """

    def __init__(self) -> None:
        self._held = b""  # what may need an escape if the line ends behind it: blank, CR
        self._line = b""  # the line so far, encoded

    def encode(self, data: bytes) -> bytes:
        data = self._held + data if self._held else data
        cut = len(data) - data.endswith(b"\r")
        cut -= data[cut - 1 : cut] in (b" ", b"\t")
        self._held = data[cut:]
        first, *more = data[:cut].split(b"\r\n")
        done: list[bytes] = []
        self._extend(first, done, ends=bool(more))
        for at, line in enumerate(more, start=1):
            done.append(self._line + b"\r\n")
            self._line = b""
            self._extend(line, done, ends=at < len(more))
        return b"".join(done)

    def finish(self) -> bytes:
        done: list[bytes] = []
        self._extend(self._held, done, ends=True)
        done.append(self._line)
        self._held = self._line = b""
        return b"".join(done)

    def _extend(self, data: bytes, done: list[bytes], *, ends: bool) -> None:
        """Add data without a CRLF to the line, and give out what is too long for it."""
        # The C function does the escapes. Its own soft line breaks are taken out, and a full stop
        # and, with a letter behind them, blanks are left alone: it sees a line only in part.
        text = b2a_qp(data + b"x", istext=False).replace(b"=\n", b"").replace(b"=2E", b".")[:-1]
        if ends and text[-1:] in (b" ", b"\t"):
            text = text[:-1] + (b"=20" if text.endswith(b" ") else b"=09")
        line = self._line + text
        at = 0
        while len(line) - at > _LINE:
            cut = at + _LINE - 1
            if line[cut - 1 : cut] == b"=":
                cut -= 1
            elif line[cut - 2 : cut - 1] == b"=":
                cut -= 2
            done.append(line[at:cut] + b"=\r\n")
            at = cut
        self._line = line[at:]
