"""The fields of a header block: lines, folds, names, and the bytes that none may hold.

Knows: `name: value`, and how a block of bytes becomes such pairs.
Must not know: what a field means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from mpflow.errors import excerpt
from mpflow.wire.headers.policy import Findings

__all__ = ["FIELD_NAME", "Field", "read_fields"]

# RFC 9110, 5.1 and 5.6.2: "field-name = token", "token = 1*tchar".
FIELD_NAME = re.compile(rb"[!#$%&'*+\-.0-9A-Z^_`a-z|~]+")
_ODD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
_CONTROLS = (
    ("nul", re.compile(rb"\x00")),
    ("bare-cr-lf", re.compile(rb"\r(?!\n)|(?<!\r)\n")),
    ("control-character", re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")),
)
_BARE_CR = re.compile(rb"\r(?!\n)")


@attrs.frozen
class Field:
    """One header field: its name as it came, its value unfolded, where its first line begins."""

    name: str
    value: str
    offset: int


def read_fields(block: bytes, notes: Findings) -> list[Field]:
    """The fields of a block of lines joined by CRLF, without a CRLF at its end.

    Values are UTF-8 with surrogateescape, so that they can be written again byte for byte.
    """
    block = _check_bytes(block, notes)
    fields: list[Field] = []
    name, start = b"", 0
    pieces: list[bytes] = []
    for offset, line in _lines(block):
        notes.offset = offset
        if line[:1] in (b" ", b"\t"):
            if not name:
                raise notes.refuse(f"expected a header before the folded line {excerpt(line)}")
            piece = line.strip(b" \t")
            if not piece:
                notes.note("blank-fold", "expected more of the header", line)
            pieces.append(piece)
            continue
        if name:
            fields.append(_field(name, pieces, start))
        name, first = _split(line, notes)
        start, pieces = offset, [first]
    if name:
        fields.append(_field(name, pieces, start))
    return fields


def _field(name: bytes, pieces: list[bytes], offset: int) -> Field:
    """Unfold. RFC 9112, 5.2: a fold is replaced "with one or more SP octets"; here, with one."""
    value = b" ".join(piece for piece in pieces if piece)
    return Field(name.decode("ascii"), value.decode("utf-8", "surrogateescape"), offset)


def _split(line: bytes, notes: Findings) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon:
        raise notes.refuse(f"expected a header 'name: value', got {excerpt(line)}")
    bare = name.rstrip(b" \t")
    if bare != name:
        notes.note("space-before-colon", "expected ':' after a header's name", line)
    if FIELD_NAME.fullmatch(bare) is None:
        raise notes.refuse(f"expected a token as a header's name, got {excerpt(name)}")
    return bare, value.strip(b" \t")


def _check_bytes(block: bytes, notes: Findings) -> bytes:
    """Judge what no header may hold; give the block back without a bare CR."""
    odd = _ODD.search(block) is not None
    for code, pattern in _CONTROLS if odd else ():
        match = pattern.search(block)
        if match is not None:
            notes.offset = match.start()
            got = excerpt(block[max(0, match.start() - 16) : match.end() + 16])
            notes.note(code, f"expected a header without {excerpt(match[0])}, got {got}")
    try:
        block.decode()
    except UnicodeDecodeError as error:
        notes.offset = error.start
        got = excerpt(block[error.start : error.start + 41])
        notes.note("non-utf8-header", f"expected UTF-8 in a header, got {got}")
    # RFC 9112, 2.2: "replace each bare CR with SP before processing the element".
    return _BARE_CR.sub(b" ", block) if odd else block


def _lines(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Each line with its offset. A bare LF, once it is tolerated, ends a line like CRLF."""
    offset = 0
    for line in block.split(b"\n") if block else ():
        yield offset, line.removesuffix(b"\r")
        offset += len(line) + 1
