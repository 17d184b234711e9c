"""What is said of a body that ends too early, or has no delimiter.

Knows: how to say what was expected and what came. Must not know: how it was found out.
"""

from __future__ import annotations

from mpflow.errors import EmptyBody, PartRef, TruncatedBody, excerpt

__all__ = ["empty", "no_delimiter", "truncated"]


def empty(delimiter: bytes) -> EmptyBody:
    """No byte came."""
    return EmptyBody(
        f"expected a multipart body with the delimiter {_shown(delimiter)}, and the body is empty"
    )


def truncated(
    delimiter: bytes, received: int, *, size: int | None, part: PartRef | None
) -> TruncatedBody:
    """The body ended in a part: after `size` bytes of its body, or in its headers (None)."""
    where = "the headers of a part"
    if size is not None:
        where = f"the body of a part, of which {size} bytes came"
    return TruncatedBody(
        f"expected the close delimiter {_shown(delimiter, b'--')}, "
        f"and the body ended after {received} bytes, in {where}",
        part=part,
        offset=received,
    )


def no_delimiter(delimiter: bytes, boundary: bytes, begins: bytes, limit: int | None) -> str:
    """No delimiter came before the end, or within `limit` bytes; the body `begins` so."""
    within = "before the body ended" if limit is None else f"within {limit} bytes"
    text = f"expected the delimiter {_shown(delimiter)} {within}, and it did not come"
    if b"\n--" + boundary + b"\n" in b"\n" + begins:
        asks = "its lines end with a bare LF, where RFC 2046 asks for CRLF"
        return f"{text}: {asks} (tolerate names it 'bare-lf')"
    return text + f"; the body begins with {excerpt(begins)}" if begins else text


def _shown(delimiter: bytes, end: bytes = b"") -> str:
    return excerpt(delimiter.lstrip(b"\r\n") + end, limit=80)
