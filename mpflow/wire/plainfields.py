"""The fast path of forms: fields and small files that are whole in hand, many in one loop.

Knows: texts between delimiters, and the two shapes of a header block that most parts of forms have.
Must not know: how delimiters are found, or what becomes of any other text.

A tiny field costs about a microsecond so, and twice that through the decoder's states. Nothing is
decided here that the decoder would decide otherwise: whatever is not of that shape, or might pass
a limit, is left to it, with all that comes after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from mpflow.wire.events import WholePart
from mpflow.wire.headers import PLAIN_FIELD, PLAIN_FILE, Head, plain_head

__all__ = ["Taken", "take_fields"]

MOST = 32
"""Parts that are taken at once: what they hold stands beside the chunk that they are of."""

MOST_BYTES = 65536
"""No further part is taken once those before have so many bytes."""

Taken: TypeAlias = tuple[int, int]
"""Where the next text stands among the pieces, and its offset."""


def take_fields(
    pieces: list[bytes],
    at: int,
    offset: int,
    *,
    delimiter: int,
    default_type: str,
    most_parts: float,
    most_header_bytes: float,
    easy: int,
    part_limit: float,
    add: Callable[[WholePart], None],
) -> Taken:
    """Give each part from `pieces[at]` on to `add`, until one is of another shape.

    `offset` is that of `pieces[at]`, `delimiter` the length of one. The limits are what is left:
    `easy` is the size of a header block that can break no limit of lines or counts.
    """
    header_bytes, last = 0, min(len(pieces) - 1, at + min(most_parts, MOST))
    match, head, whole = PLAIN_FIELD, Head, WholePart
    enough = offset + MOST_BYTES
    while at < last and offset < enough:
        text = pieces[at]
        found = match(text)
        try:
            if found is not None:
                block, name = found.groups()
                made = head(block, name.decode(), None, default_type)
            elif (found := PLAIN_FILE(text)) is not None:
                block, name, filename, essence, charset = found.groups()
                made = plain_head(block, name, filename, essence, charset, default_type)
            else:
                break
        except UnicodeDecodeError:
            break
        size, end = len(block), found.end()
        # Padding behind the delimiter, or a close delimiter, is for the scanner to judge.
        if (
            pieces[at + 1][:2] != b"\r\n"
            or size > easy
            or header_bytes + size > most_header_bytes
            or len(text) - end > part_limit
        ):
            break
        add(whole(made, text[end:], offset + end))
        header_bytes += size
        offset += len(text) + delimiter
        at += 1
    return at, offset
