"""A slow parser of whole bodies, written from RFC 2046, 5.1.1, to check the fast one against.

Knows: the grammar. Must not know: chunks, limits, or how the decoder does it.
"""

from __future__ import annotations

__all__ = ["Refused", "parse"]


class Refused(Exception):
    """The body is not whole."""


def parse(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """The header block and the body of each part; `Refused` where the body is not whole."""
    # "delimiter := CRLF dash-boundary": before the first one stands a CRLF that is not there.
    text = b"\r\n" + body
    parts: list[tuple[bytes, bytes]] = []
    begin: int | None = None
    at = 0
    while at < len(text):
        kind, end = _delimiter(text, at, b"\r\n--" + boundary)
        if not kind:
            at += 1
            continue
        if begin is not None:
            parts.append(_part(text[begin:at]))
        if kind == "close":
            return parts
        begin = at = end
    raise Refused("there is no close delimiter")


def _delimiter(text: bytes, at: int, delimiter: bytes) -> tuple[str, int]:
    """Which delimiter stands at `at`, if any does, and where its line ends, before the CRLF."""
    if text[at : at + len(delimiter)] != delimiter:
        return "", at
    end = at + len(delimiter)
    if text[end : end + 2] == b"--":
        # "close-delimiter := delimiter "--""; all that follows is discarded.
        return "close", end + 2
    while text[end : end + 1] in (b" ", b"\t"):
        end += 1  # "transport-padding := *LWSP-char"
    return ("open", end) if text[end : end + 2] == b"\r\n" else ("", at)


def _part(text: bytes) -> tuple[bytes, bytes]:
    """Header block and body; the text begins with the CRLF that ends the delimiter line."""
    for at in range(len(text)):
        if text[at : at + 4] == b"\r\n\r\n":
            return text[2:at], text[at + 4 :]
    # "body-part := MIME-part-headers [CRLF *OCTET]": headers, each with its CRLF, and no more.
    return text[2:].removesuffix(b"\r\n"), b""
