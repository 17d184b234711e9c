"""The hard set: the names and the bytes that each client uploads.

Knows: what is hard about them. Must not know: clients, services, what comes of it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Final

import attrs

__all__ = ["ENTRIES", "NAMES", "SMALL", "Entry", "order"]

NAMES: Final = {
    "quotation marks": 'a "b" c',
    "CR": "a\rb",
    "LF": "a\nb",
    "CRLF": "a\r\nb",
    "not ASCII": "naïve 日本",
    "emoji": "🦊",
    "backslash": "C:\\x\\y",
    "percent": "100% of %20",
    "percent, as an escape": "a%22b",
    "empty": "",
}
"""What each name has in it, and the name."""

VALUE: Final = "Grüße 🦊".encode()

_NEAR: Final = [
    b"--",
    b"--\r\n",
    b"----\r\n\r\n",
    b"----WebKitFormBoundary",
    b"----formdata-undici-0",
    b"-" * 26,
    b"--boundary\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n",
    b"\r",
    b"\r\n--\r",
]  # fmt: skip
CONTENTS: Final = {
    "empty": b"",
    "all 256 bytes": bytes(range(256)),
    "near-boundaries": b"\r\n" + b"\r\n".join(_NEAR) * 1000,
    "5 MiB": bytes(i * i * 31 // 7 % 251 for i in range(65536)) * 80,
}
"""What each file has in it, and its bytes."""


@attrs.frozen
class Entry:
    """A field, or a file where there is a filename."""

    name: str
    filename: str | None
    data: bytes


def _entries() -> list[Entry]:
    fields = [(name, None, VALUE) for name in NAMES.values()]
    many = [(f"field{number}", None, b"%d" % number) for number in range(200)]
    named = [("file", name, name.encode()) for name in NAMES.values()]
    files = [("content", f"{what}.bin", data) for what, data in CONTENTS.items()]
    same = [("same", "same.txt", data) for data in (b"the first", b"the second")]
    return [Entry(*it) for it in [*fields, *many, *named, *files, *same]]


ENTRIES: Final = _entries()
"""The set, fields before files."""

SMALL: Final = len(NAMES)
"""So many of the first are a body of their own: fields without a file."""


def order(urls: Sequence[str], entries: Sequence[Entry]) -> str:
    """The set, and where it is to go, as programs in other languages read it: a JSON document."""
    parts = [
        {"name": it.name, "filename": it.filename, "data": b64encode(it.data).decode()}
        for it in entries
    ]
    return json.dumps({"urls": [*urls], "parts": parts})
