"""The fields of `mpflow pack`: curl's `-F name=content` as a value.

Knows: curl's syntax. Must not know: files, writers.
"""

from __future__ import annotations

import argparse
import re
from typing import Final

import attrs

__all__ = ["Field", "parse_field", "parse_string"]

_BLANKS: Final = " \t\n\r\f\v"
_KEY: Final = re.compile(r";\s*(type|filename|encoder)=", re.IGNORECASE | re.ASCII)
# What curl asks of a type; the rest is up to who reads it.
_TYPE: Final = re.compile(r"[^/ ]+/[^;, \n]")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
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

    Contents and parameters may stand in double quotes, where a backslash escapes a quote and
    itself; blanks around them count only there. What follows a type belongs to it, up to one of the
    other two. Raises `argparse.ArgumentTypeError`, also for what curl leaves out with a warning.
    """
    name, rest = _split(text)
    kind, rest = (rest[0], rest[1:]) if rest[:1] in ("@", "<") else ("", rest)
    content, at = _word(rest, 0)
    if kind and not content:
        raise argparse.ArgumentTypeError(f"expected a path after {kind}, got {text!r}")
    given = _parameters(rest, at)
    if kind == "<" and "filename" in given:
        raise argparse.ArgumentTypeError(f"expected no ;filename= after {kind}, got {text!r}")
    return Field(name, content, kind, **given)


def _parameters(text: str, at: int) -> dict[str, str]:
    """The parameters by name; the last of each counts, as for curl."""
    given: dict[str, str] = {}
    type_at: int | None = None  # where the type begins that may still go on
    while at < len(text):
        key = _KEY.match(text, at)
        name = "" if key is None else key[1].lower()
        if key is not None and name == "type" and type_at is None:
            type_at, at = key.end(), _end(text, key.end())
            given[name] = _type(text[type_at:at])
        elif key is not None and name != "type":
            type_at = None
            given[name], at = _word(text, key.end())
        else:
            begun, at = at + 1, _end(text, at + 1)
            piece = text[begun:at].strip(_BLANKS)
            if piece and type_at is None:
                raise argparse.ArgumentTypeError(
                    f"expected ;type=, ;filename= or ;encoder=, got ;{piece} (a semicolon that "
                    "belongs to a content stands in double quotes)"
                )
            if piece:
                given["type"] = text[type_at:at].strip(_BLANKS)
    if given.get("encoder") == "":
        raise argparse.ArgumentTypeError("expected a transfer encoding after ;encoder=")
    return given


def _type(text: str) -> str:
    text = text.strip(_BLANKS)
    if not _TYPE.match(text):
        raise argparse.ArgumentTypeError(f"expected type/subtype after ;type=, got {text!r}")
    return text


def _word(text: str, at: int) -> tuple[str, int]:
    """A content or a parameter, in quotes or bare, and where it ends: at a semicolon or the end."""
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    quoted = _QUOTED.match(text, at)
    if quoted is None:
        end = _end(text, at)
        return text[at:end].rstrip(_BLANKS), end
    end = _end(text, quoted.end())
    if junk := text[quoted.end() : end].strip(_BLANKS):
        raise argparse.ArgumentTypeError(f"expected a semicolon after the quotes, got {junk!r}")
    return _ESCAPE.sub(r"\1", quoted[1]), end


def _end(text: str, at: int) -> int:
    found = text.find(";", at)
    return len(text) if found < 0 else found


def parse_string(text: str) -> Field:
    """`name=text`, where nothing in the text has a meaning."""
    return Field(*_split(text))


def _split(text: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=CONTENT, got {text!r}")
    return name, rest
