"""Boundaries: which are valid, and new ones.

Knows: RFC 2046, 5.1.1 on the boundary parameter. Must not know: bodies.
"""

from __future__ import annotations

import secrets

from mpflow.errors import InvalidBoundary, LimitExceeded, excerpt
from mpflow.wire.headers import Deviation
from mpflow.wire.limits import Limits

__all__ = ["check_boundary", "new_boundary"]

# RFC 2046, 5.1.1: "bcharsnospace := DIGIT / ALPHA / "'" / "(" / ")" / "+" / "_" / "," / "-" /
# "." / "/" / ":" / "=" / "?"", and a space that is not the last character.
_BCHARS = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? ")


def check_boundary(boundary: str | bytes, *, limits: Limits) -> tuple[bytes, Deviation | None]:
    """The boundary as bytes, and a deviation if it has characters that RFC 2046 does not allow.

    Other printable ASCII is accepted and recorded. Raises `InvalidBoundary` for an empty one, a
    control, a character outside ASCII or a space at the end, and `LimitExceeded` with status 400
    past `max_boundary`.
    """
    try:
        raw = boundary.encode("ascii") if isinstance(boundary, str) else bytes(boundary)
    except UnicodeEncodeError:
        came = excerpt(str(boundary))
        raise InvalidBoundary(f"expected a boundary in ASCII, got {came}") from None
    if limits.max_boundary is not None and len(raw) > limits.max_boundary:
        text = f"expected a boundary of at most {limits.max_boundary} characters, got {len(raw)}"
        raise LimitExceeded("max_boundary", limits.max_boundary, message=text, status=400)
    if not raw:
        raise InvalidBoundary("expected a boundary of 1 to 70 characters, got an empty one")
    if raw.endswith(b" ") or any(byte < 32 or byte > 126 for byte in raw):
        raise InvalidBoundary(
            "expected a boundary of printable ASCII that does not end in a space, "
            f"got {excerpt(raw)}"
        )
    if _BCHARS.issuperset(raw):
        return raw, None
    return raw, Deviation("boundary-characters", excerpt(raw))


def new_boundary() -> str:
    """A fresh boundary: 128 random bits in hex, which nobody can foresee."""
    return secrets.token_hex(16)
