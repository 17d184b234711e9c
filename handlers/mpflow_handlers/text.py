"""`Text`: a part that is text.

Knows: the encoding that its owner asks for. Must not know: how a part's charset is found.
"""

from __future__ import annotations

from typing import Any

import attrs

from mpflow import Part, RouteError

__all__ = ["Text", "check_encoding"]


def check_encoding(handler: Any, field: Any, encoding: str | None) -> None:
    """Refuse an encoding that Python does not know, before a client is blamed for it."""
    if encoding is None:
        return
    try:
        "a".encode(encoding)  # a codec such as base64 is found, but takes no text
    except (LookupError, TypeError, ValueError):
        raise RouteError(f"expected a known encoding or None, got {encoding!r:.60}") from None


@attrs.frozen
class Text:
    """Gives the part as a str.

    By `encoding`, else the part's charset, else that of a `_charset_` field before it (RFC 7578,
    4.6), else UTF-8. The part is gathered, within `Limits.max_memory`. Raises `InvalidContent`
    where the bytes are no such text, `UnsupportedCoding` and `LimitExceeded`.
    """

    encoding: str | None = attrs.field(default=None, validator=check_encoding)

    @property
    def content_inside(self) -> tuple[str, object]:
        """What it takes a part for, and what that becomes: for documents."""
        return "text/plain", str

    async def __call__(self, part: Part) -> str:
        return await part.text(self.encoding)
