"""`Access`: who may upload.

Knows: the token, and how a request shows that it has it. Must not know: what is uploaded.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final

import attrs

__all__ = ["MIN_TOKEN", "Access", "is_basic"]

MIN_TOKEN: Final = 16
"""Characters of a token at least: nothing else keeps anybody from guessing."""

REALM: Final = "mpflow"

# RFC 6750, 2.1: "b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=""
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def _digest(token: bytes) -> bytes:
    # All digests are as long as one another, so that a comparison tells nothing of the length.
    return hashlib.sha256(token).digest()


@attrs.frozen
class Access:
    """Lets in who shows the token: as `Bearer` (RFC 6750), or as the password of `Basic`.

    Browsers ask for the latter by themselves (RFC 7617), also where a page has no script. The user
    name is anything.
    """

    _wanted: bytes = attrs.field(repr=False)

    @classmethod
    def of(cls, token: str) -> Access:
        """The access by a token, blanks around it aside; `ValueError` if none can be like that."""
        token = token.strip()
        if _TOKEN.fullmatch(token) is None or len(token) < MIN_TOKEN:
            raise ValueError(
                f"expected a token of at least {MIN_TOKEN} of the characters A-Z a-z 0-9 "
                f"- . _ ~ + / (= at its end), got {len(token)} characters"
            )
        return cls(_digest(token.encode("ascii")))

    def allows(self, authorization: str | None) -> bool:
        """Whether a request with this header `Authorization` may upload."""
        shown = _shown(authorization)
        return shown is not None and hmac.compare_digest(_digest(shown), self._wanted)

    def challenge(self, authorization: str | None) -> str:
        """What `WWW-Authenticate` asks for (RFC 9110, 11.6.1).

        Who came with `Bearer` is no browser that has to ask somebody, or a script in one: at
        `Basic` it would open a window of its own over the page.
        """
        if (authorization or "")[:7].lower() == "bearer ":
            # RFC 6750, 3.1
            return f'Bearer realm="{REALM}", error="invalid_token"'
        return f'Basic realm="{REALM}", charset="UTF-8", Bearer realm="{REALM}"'


def is_basic(authorization: str | None) -> bool:
    """Whether a browser may have sent this by itself, whoever made it send the request."""
    return (authorization or "")[:6].lower() == "basic "


def _shown(authorization: str | None) -> bytes | None:
    """The token that a header shows; None if it shows none."""
    scheme, _, rest = (authorization or "").partition(" ")
    value = rest.strip().encode("latin-1", "replace")
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() != "basic":
        return None
    try:
        _, colon, password = base64.b64decode(value, validate=True).partition(b":")
    except binascii.Error:
        return None
    return password if colon else None
