"""The headers of a part that is sent: given, made up, judged.

Knows: what is refused among them, and what they say of length and charset.
Must not know: contents, parts, other parts, or where the bytes go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, TypeAlias, cast

from multidict import CIMultiDict

from mpflow.errors import MultipartError, WriteError, excerpt
from mpflow.wire.headers import Head, format_disposition, format_head, parse_head
from mpflow.wire.headers import parse_content_type as parse_type

__all__ = [
    "HeadersLike",
    "charset_of",
    "declared_length",
    "disposition",
    "judged_head",
    "merged_headers",
]

_SMALL_BLOCK: Final = 256
"""Bytes of a header block whose head is kept for the next part that has the same."""

HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


def merged_headers(
    defaults: Iterable[tuple[str, str]], given: HeadersLike | None
) -> CIMultiDict[str]:
    """The given headers, after those defaults that they leave alone. Refuses what cannot be."""
    if given is None:
        headers = CIMultiDict(defaults)
        _check(headers)
        return headers
    pairs: list[tuple[str, str]] = []
    try:
        if isinstance(given, Mapping):
            pairs += cast("Mapping[str, str]", given).items()
        else:
            pairs += given
        own = {name.lower() for name, _ in pairs}
    except (AttributeError, TypeError, ValueError) as error:
        kind = type(cast("object", given)).__name__
        text = f"expected headers as a mapping or as pairs of text, got {kind}: {error}"
        raise TypeError(text) from error
    kept = [(name, value) for name, value in defaults if name.lower() not in own]
    headers = CIMultiDict([*kept, *pairs])
    _check(headers)
    return headers


def _check_types(headers: CIMultiDict[str]) -> None:
    for name, value in headers.items():
        if not isinstance(value, str):
            raise TypeError(f"expected text in the header {name}, got {type(value).__name__}")


def _check(headers: CIMultiDict[str]) -> None:
    _check_types(headers)
    try:
        format_head(headers.items())
    except ValueError as error:
        raise WriteError(str(error)) from error


def judged_head(headers: CIMultiDict[str], *, form: bool) -> Head:
    """The head of headers as they are sent, as a reader gets it; `WriteError` for what none should.

    The same headers give the same head: small parts often have them, but for their sizes.
    """
    _check_types(headers)
    try:
        return _head_of(format_head(headers.items()), form)
    except MultipartError as error:
        raise WriteError(f"expected headers that can be read: {error.message}") from error
    except ValueError as error:
        raise WriteError(str(error)) from error


def _head_of(block: bytes, form: bool) -> Head:
    known = not form and len(block) <= _SMALL_BLOCK
    parse = _small_head if known else parse_head
    return parse(block.removesuffix(b"\r\n"), form=form)


@lru_cache(maxsize=64)
def _small_head(block: bytes, *, form: bool) -> Head:
    return parse_head(block, form=form)


@lru_cache(maxsize=64)
def charset_of(content_type: str) -> str:
    try:
        return parse_type(content_type).charset or "utf-8"
    except MultipartError:
        return "utf-8"  # `Payload.head` says what is wrong with it


def declared_length(headers: CIMultiDict[str]) -> int | None:
    """What the Content-Length says, None where there is none. `WriteError` for no number, or two.

    RFC 9110, 8.6: "a sender MUST NOT forward a message with a Content-Length header field value
    that is known to be incorrect"; of two that differ, one is.
    """
    if "Content-Length" not in headers:
        return None
    values = list(dict.fromkeys(headers.getall("Content-Length")))
    if len(values) > 1:
        raise WriteError(
            f"expected one Content-Length, got {excerpt(values[0])} and {excerpt(values[1])}"
        )
    value = values[0]
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise WriteError(f"expected a number in Content-Length, got {excerpt(value)}")
    return int(value)


def disposition(type: str, name: str | None, filename: str | None) -> str:
    try:
        return format_disposition(type, name=name, filename=filename)
    except ValueError as error:
        raise WriteError(str(error)) from error
