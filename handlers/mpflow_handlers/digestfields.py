"""The digests that a part's headers tell: Content-MD5, Content-Digest, Repr-Digest.

Knows: RFC 1864, RFC 9530 and as much of RFC 9651 as these fields need.
Must not know: how a body is hashed, or what a mismatch means.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import Final

from mpflow import InvalidContent, PartInfo
from mpflow.errors import excerpt

__all__ = ["FIELDS", "field_digests"]

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "content-md5": ("md5",),
    "content-digest": ("sha256", "sha512"),
    "repr-digest": ("sha256", "sha512"),
}
"""The fields, each with the algorithms of `hashlib` that are looked for unless others are named."""

# RFC 9530, 7.2, with the names of hashlib. The others of the registry are no hashes of hashlib.
_ALGORITHMS: Final = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5", "sha": "sha1"}

# RFC 9651, 3.1.2, 3.2, 3.3: a member of a dictionary whose value is a byte sequence.
_KEY = r"[a-z*][a-z0-9_.*-]*+"
_BYTES = r":[A-Za-z0-9+/=]*+:"
_NUMBER = r"-?[0-9]{1,15}+(?:\.[0-9]{1,3})?"
_STRING = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*+"'
_TOKEN = r"[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]*+"
_ITEM = rf"(?:{_BYTES}|\?[01]|@-?[0-9]{{1,15}}+|{_NUMBER}|{_STRING}|{_TOKEN})"
_MEMBER: Final = re.compile(rf"({_KEY})=({_BYTES})(?:; *+{_KEY}(?:={_ITEM})?)*+")
_COMMA: Final = re.compile(r"[ \t]*+,[ \t]*+")


def field_digests(info: PartInfo, field: str) -> dict[str, bytes]:
    """What the field says, by the algorithm's name in `hashlib`; empty where it is absent.

    `field` is one of `FIELDS`. Algorithms that hashlib has not are left out. Raises
    `InvalidContent`, status 400, where the field is not what its RFC says.
    """
    values = info.headers.getall(field, [])
    if not values:
        return {}
    if field == "content-md5":
        return {"md5": _md5(info, values)}
    # RFC 9651, 4.2: the lines of one field are one value, with commas between them.
    found: dict[str, bytes] = {}
    for key, text in _members(info, field, ", ".join(values)):
        if key in _ALGORITHMS:
            found[_ALGORITHMS[key]] = _decoded(info, field, text[1:-1], strict=False)
    return found


def _md5(info: PartInfo, values: list[str]) -> bytes:
    if len(values) > 1:
        raise _refusal(info, "content-md5", f"one of it, got {len(values)}")
    return _decoded(info, "content-md5", values[0].strip(" \t"), strict=True)


def _members(info: PartInfo, field: str, value: str) -> list[tuple[str, str]]:
    value = value.strip(" ")
    members: list[tuple[str, str]] = []
    at = 0
    while True:
        member = _MEMBER.match(value, at)
        if member is None:
            got = f"got {excerpt(value[at:])} at character {at}"
            raise _refusal(info, field, f"algorithm=:base64:, {got}")
        members.append((member[1], member[2]))
        if member.end() == len(value):
            return members
        comma = _COMMA.match(value, member.end())
        if comma is None:
            got = f"got {excerpt(value[member.end() :])} at character {member.end()}"
            raise _refusal(info, field, f"a comma, {got}")
        at = comma.end()


def _decoded(info: PartInfo, field: str, text: str, *, strict: bool) -> bytes:
    if not strict:
        # RFC 9651, 4.2.7: "parsers SHOULD NOT fail when '=' padding is not present".
        text = text.rstrip("=")
        text += "=" * (-len(text) % 4)
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise _refusal(info, field, f"base64, got {excerpt(text)}") from None


def _refusal(info: PartInfo, field: str, expected: str) -> InvalidContent:
    name = "-".join(word.capitalize() for word in field.split("-")).replace("Md5", "MD5")
    return InvalidContent(f"{name}: expected {expected}", part=info.ref, status=400)
