"""The fields of `mpflow pack`: curl's `-F name=content` as a value.

Knows: curl's syntax. Must not know: files, writers.
"""

from __future__ import annotations

import argparse
import re
from typing import Final

import attrs

__all__ = ["Field", "parse_field", "parse_string"]

_PARAMETER: Final = re.compile(r";[ \t]*(type|filename|encoder)=")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"')
_ESCAPE: Final = re.compile(r'\\(["\\])')


@attrs.frozen
class Field:
    """One field. `kind` says what `content` is: `""` a text, `"@"` the path of a file that is sent
    as one, `"<"` the path of a file whose content is the value."""

    name: str
    content: str
    kind: str = ""
    type: str | None = None
    filename: str | None = None
    encoder: str | None = None


def parse_field(text: str) -> Field:
    """`name=text`, `name=@path` or `name=<path`, with `;type=`, `;filename=` and `;encoder=`.

    Contents and filenames may stand in double quotes, where a backslash escapes a quote and
    itself. Raises `argparse.ArgumentTypeError`.
    """
    name, rest = _split(text)
    kind, rest = (rest[0], rest[1:]) if rest[:1] in ("@", "<") else ("", rest)
    quoted = _QUOTED.match(rest)
    if quoted is not None and (quoted.end() == len(rest) or rest[quoted.end()] == ";"):
        content, rest = _ESCAPE.sub(r"\1", quoted[1]), rest[quoted.end() :]
        junk, *pairs = _PARAMETER.split(rest)
        if junk:
            raise argparse.ArgumentTypeError(
                f"expected ;type=, ;filename= or ;encoder= after the quotes, got {junk!r}"
            )
    else:
        content, *pairs = _PARAMETER.split(rest)
    given = dict(zip(pairs[::2], pairs[1::2], strict=True))
    if kind and not content:
        raise argparse.ArgumentTypeError(f"expected a path after {kind}, got {text!r}")
    filename = given.get("filename")
    if filename is not None and (match := _QUOTED.fullmatch(filename)):
        given["filename"] = _ESCAPE.sub(r"\1", match[1])
    return Field(name, content, kind, **given)


def parse_string(text: str) -> Field:
    """`name=text`, where nothing in the text has a meaning."""
    return Field(*_split(text))


def _split(text: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=CONTENT, got {text!r}")
    return name, rest
