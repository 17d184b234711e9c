"""The fast path of forms: fields and small files that are whole in hand, many in one loop.

Knows: texts between delimiters, and the two shapes of a header block that most parts of forms have.
Must not know: how delimiters are found, or what becomes of any other text.

A tiny field costs about a microsecond so, and twice that through the decoder's states. Nothing is
decided here that the decoder would decide otherwise: whatever is not of that shape, or might pass
a limit, is left to it, with all that comes after.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from mpflow.wire.events import WholePart
from mpflow.wire.headers import PLAIN_FIELD, PLAIN_FILE, Head, plain_head

__all__ = ["MOST", "Taken", "take_fields"]

MOST = 128
"""Parts that are taken at once: what they hold stands beside the chunk that they are of."""

MOST_BYTES = 65536
"""Once those before have so many bytes, only small parts are taken: of as many at most in all."""

_SMALL = MOST_BYTES // MOST
_EASY = 1024
"""Larger header blocks are not taken, whatever the limits allow."""

_Match: TypeAlias = Callable[[bytes], re.Match[bytes] | None]

_EDGE = 6
"""Bytes of a text around its block: the CRLF that ends the delimiter line, and the blank line."""

Taken: TypeAlias = tuple[int, int, int]
"""Where the next text stands, its offset; the header bytes of what was taken."""


def take_fields(
    taken: list[WholePart],
    pieces: list[bytes],
    at: int,
    offset: int,
    *,
    delimiter: int,
    default_type: str,
    most_parts: int,
    most_header_bytes: int,
    easy: int,
    part_limit: int,
) -> Taken:
    """Take each part from `pieces[at]` on, until one is of another shape; the last one first.

    `offset` is that of `pieces[at]`, `delimiter` the length of one. The limits are what is left:
    `easy` is the size of a header block that can break no limit of lines or counts.
    """
    # So many that all together can pass no limit: less is looked at for each.
    easy = max(1, min(easy, _EASY))
    most = max(0, min(most_parts, MOST, most_header_bytes // easy))
    # What stands before a close delimiter, or one that is cut, is not taken: here it costs less to
    # see that than below.
    ends = len(pieces) - (1 if pieces[-1][:2] == b"\r\n" else 2)
    header_bytes, last = 0, min(ends, at + most)
    # Without `__init__`, which would be a seventh of what a field costs.
    field: _Match = PLAIN_FIELD
    match = field  # or PLAIN_FILE, where the part before was a file
    make, head_class, whole_class = object.__new__, Head, WholePart
    enough, small = offset + MOST_BYTES, min(easy, part_limit, _SMALL)
    text = pieces[at]
    found = match(text)
    for after in pieces[at + 1 : last + 1]:
        try:
            if found is not None and match is field:
                block, name, data = found.groups()
                head = make(head_class)
                head.raw = block
                head.name = name.decode()
                head.filename = head.charset = head.boundary = None
                head._more = None  # pyright: ignore[reportPrivateUsage]
                head.content_type = default_type
            else:
                if found is None and match is field:
                    found = PLAIN_FILE(text)
                if found is None:
                    break
                block, name, filename, essence, charset, data = found.groups()
                head = plain_head(block, name, filename, essence, charset, default_type)
                match = field if essence is None else PLAIN_FILE
        except UnicodeDecodeError:
            break
        size, length, found = len(block), len(text), match(after)
        if (
            # Padding behind the delimiter, or a close delimiter, is for the scanner to judge.
            (found is None and after[:2] != b"\r\n")
            or (length > small and (size > easy or len(data) > part_limit or offset >= enough))
        ):
            break
        header_bytes += size
        size += _EDGE
        part = make(whole_class)
        part.head = head
        part.data = data
        part.offset = offset + size
        taken.append(part)
        offset += length + delimiter
        text = after
    at += len(taken)
    taken.reverse()
    return at, offset, header_bytes
