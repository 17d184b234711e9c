"""What is right: what each client makes of a name, and which pairs cannot work.

Knows: how clients write names, and how a form's names are read. Must not know: how either is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias
from urllib.parse import quote

from tests.clients.matrix.hard import Entry

__all__ = ["HINDERED", "LEFT_OUT", "arriving", "sendable"]

Rule: TypeAlias = Callable[[str], str | None]

_ESCAPES: Final = {"%22": '"', "%0D": "\r", "%0A": "\n"}


def undone(name: str) -> str:
    """As the HTML standard has it: a client that escapes no percent sign loses these three."""
    return re.sub("%22|%0D|%0A", lambda match: _ESCAPES[match[0]], name)


def or_none(name: str) -> str | None:
    """A client that leaves the parameter out where it is empty."""
    return undone(name) or None


def with_crlf(name: str) -> str:
    """HTML: "Replace every occurrence of U+000D (CR) not followed by U+000A (LF), and [...]"."""
    return undone(re.sub(r"\r\n|\r|\n", "\r\n", name))


def percent_encoded(name: str) -> str:
    """A client that writes every byte so: of these, all but the three are the name itself."""
    return undone(quote(name, safe=""))


def with_quoted_blanks(name: str) -> str:
    """A client that puts a backslash before each blank, which a browser means as it stands."""
    return undone(name.replace(" ", "\\ "))


_NAMES: Final[dict[str, Rule]] = {
    "curl": or_none,
    "aiohttp": with_quoted_blanks,
    "Node's fetch": with_crlf,
    "Chromium": with_crlf,
}
_FILENAMES: Final[dict[str, Rule]] = {
    "httpx": or_none,
    "aiohttp": percent_encoded,
    "Node's fetch": or_none,
}

_LINES: Final = re.compile(r"[\r\n]")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7F]")
_NEVER: Final = re.compile(r"(?!)")

LEFT_OUT: Final = {
    "aiohttp": (
        re.compile(f"{_LINES.pattern}|{_NOT_ASCII.pattern}"),
        _LINES,
        "aiohttp raises an error for CR and LF, and by default for field names that are not ASCII.",
    ),
    "aiohttp, quote_fields=False": (_LINES, _LINES, "aiohttp raises an error for CR and LF."),
    "Go": (
        _LINES,
        _LINES,
        "Go 1.19 writes CR and LF as they are, which ends the line of the header: a 400.",
    ),
}
"""By client: which field names and which filenames it cannot send, and why."""

HINDERED: Final = {
    ("Java, HTTP_2", "uvicorn-httptools"): (
        "Java's client offers by default to go over to HTTP/2 (`Upgrade: h2c`), and uvicorn with "
        "httptools then drops the body (uvicorn#2722). The answer to a small body is a 400 that "
        "says so; where it is large, uvicorn may close the connection before the client reads it. "
        "Give the client `version(HttpClient.Version.HTTP_1_1)`, or uvicorn `--http h11`."
    ),
}
"""By client and server: why they cannot work together."""


def sendable(client: str, entries: Sequence[Entry]) -> list[Entry]:
    """What a client is given to send."""
    names, filenames, _ = LEFT_OUT.get(client, (_NEVER, _NEVER, ""))
    return [
        it
        for it in entries
        if not names.search(it.name) and not filenames.search(it.filename or "")
    ]


def arriving(client: str, entry: Entry) -> tuple[str | None, str | None]:
    """Name and filename as they must come out of what this client sends."""
    name = _NAMES.get(client, undone)(entry.name)
    if entry.filename is None:
        return name, None
    return name, _FILENAMES.get(client, undone)(entry.filename)
