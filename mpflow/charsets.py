"""Charsets by name.

Knows: which of Python's codecs are charsets, under which names.
Must not know: what is decoded with them.
"""

from __future__ import annotations

import codecs
from encodings import normalize_encoding
from encodings.aliases import aliases
from functools import cache
from typing import Final

__all__ = ["text_codec"]

# Python has them as text encodings; as charsets they are traps, or no charsets at all.
_NO_CHARSETS: Final = frozenset(
    [
        "idna",
        "mbcs",
        "oem",
        "punycode",
        "raw_unicode_escape",
        "undefined",
        "unicode_escape",
        "utf_7",
        "base64_codec",
        "bz2_codec",
        "hex_codec",
        "quopri_codec",
        "rot_13",
        "uu_codec",
        "zlib_codec",
    ]
)
# Codecs that stand in no table of aliases.
_NO_ALIASES: Final = frozenset(
    [
        "cp1006",
        "cp720",
        "cp737",
        "cp856",
        "cp874",
        "cp875",
        "koi8_t",
        "koi8_u",
        "mac_arabic",
        "mac_croatian",
        "mac_farsi",
        "mac_romanian",
        "utf_8_sig",
    ]
)
_MODULES: Final = (frozenset(aliases.values()) | _NO_ALIASES) - _NO_CHARSETS


def text_codec(charset: str) -> str | None:
    """The name of Python's codec for a charset, or None where it is none.

    The name may be a client's. It is looked for in a table that is there, never by `codecs.lookup`:
    that keeps every name it was ever asked for, as long as the process lives.
    """
    name = normalize_encoding(charset).lower() if charset.isascii() else ""
    module = aliases.get(name, name)
    return _name_of(module) if module in _MODULES else None


@cache
def _name_of(module: str) -> str:
    return codecs.lookup(module).name
