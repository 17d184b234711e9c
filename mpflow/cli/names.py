"""The filename that a mail means: mailers write it in ways that forms do not have.

Knows: encoded words (RFC 2047), the `name` of a content type, and the addresses of saved pages.
Must not know: what is done with a name; whether it is safe.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from mpflow import MultipartError, PartInfo
from mpflow.wire import parse_content_type

__all__ = ["filename_of", "location_of"]

# RFC 2047, 2. The language after an asterisk is RFC 2231, 5.
_WORD: Final = re.compile(r"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([BbQq])\?([^?]*)\?=")
_HEX: Final = re.compile(rb"=([0-9A-Fa-f]{2})")
# No lookup of what somebody wrote: Python has codecs that are no charsets, and slow ones.
_CHARSET: Final = re.compile(
    r"utf-8|us-ascii|iso-8859-\d\d?|windows-125\d|koi8-[ru]|gb2312|gbk|gb18030|big5|euc-jp|euc-kr"
    r"|iso-2022-jp|shift_jis",
    re.IGNORECASE,
)


def filename_of(info: PartInfo) -> str | None:
    """The filename of a part; outside of forms its encoded words decoded, and where there is
    none, the `name` of its content type, as old mailers have it. None where it has none."""
    if info.disposition == "form-data":
        return info.filename
    name = info.filename
    if name is None and "Content-Type" in info.headers:
        try:
            name = parse_content_type(info.headers["Content-Type"]).params.get("name")
        except MultipartError:
            return None
    return None if name is None else _decoded(name)


def location_of(info: PartInfo) -> str | None:
    """The last word of the address at which a part of a saved page was found (RFC 2557, 4.2)."""
    location = info.headers.get("Content-Location", "")
    try:
        address = urlsplit(location)
    except ValueError:
        return None
    if address.scheme not in ("http", "https", "ftp", "file", ""):
        return None  # `cid:` and `data:` have no words
    return unquote(address.path.rpartition("/")[2]) or None


def _decoded(text: str) -> str:
    """`text` without its encoded words. Neighbours of one charset may have split a character."""
    pieces: list[str] = []
    run: list[tuple[str, bytes]] = []
    place = 0
    for match in _WORD.finditer(text):
        data = _bytes(match[2], match[3]) if _CHARSET.fullmatch(match[1]) else None
        if data is None:
            continue
        between = text[place : match.start()]
        # RFC 2047, 6.2: "any 'linear-white-space' that separates a pair of adjacent
        # 'encoded-word's is ignored".
        if run and between.strip(" \t"):
            pieces.append(_joined(run))
            run.clear()
        if not run:
            pieces.append(between)
        run.append((match[1].lower(), data))
        place = match.end()
    return "".join((*pieces, _joined(run), text[place:]))


def _bytes(encoding: str, text: str) -> bytes | None:
    try:
        data = text.encode("ascii")
        if encoding in "bB":
            return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    return _HEX.sub(lambda match: bytes.fromhex(match[1].decode()), data.replace(b"_", b" "))


def _joined(run: list[tuple[str, bytes]]) -> str:
    text, charset, data = "", "utf-8", b""
    for label, piece in run:
        if label != charset:
            text += data.decode(charset, "replace")
            charset, data = label, b""
        data += piece
    return text + data.decode(charset, "replace")
