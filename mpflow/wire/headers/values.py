"""Content-Type and Content-Disposition: the values of two headers, parsed.

Knows: RFC 2045, 2183, 6266, 7578 and WHATWG form-data, as far as one header goes.
Must not know: the header block, or the part that it describes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from mpflow.errors import excerpt
from mpflow.wire.headers.extended import join_parameters
from mpflow.wire.headers.params import TCHAR, check_text, scan_parameters
from mpflow.wire.headers.policy import LENIENT, Deviation, Findings, Policy

__all__ = [
    "NO_PARAMS",
    "ContentType",
    "Disposition",
    "parse_content_type",
    "parse_disposition",
    "read_content_type",
    "read_disposition",
]

NO_PARAMS: Final[Mapping[str, str]] = MappingProxyType({})
# RFC 2045, 5.1: type "/" subtype, both tokens; then a semicolon, white space or the end.
_ESSENCE = re.compile(rf"[{TCHAR}]++/[{TCHAR}]++(?=[; \t]|\Z)")
_TYPE = re.compile(rf"[{TCHAR}]++(?=[; \t]|\Z)")


@attrs.frozen
class ContentType:
    """A content type: `essence` is the lower-case `type/subtype`, `params` have lower-case keys."""

    essence: str
    params: Mapping[str, str] = NO_PARAMS
    deviations: tuple[Deviation, ...] = ()

    @property
    def charset(self) -> str | None:
        """The charset as it was written; None where there is none, or an empty one."""
        return self.params.get("charset") or None

    @property
    def boundary(self) -> str | None:
        """The boundary; None where there is none."""
        return self.params.get("boundary")

    @property
    def is_multipart(self) -> bool:
        """Whether the type is `multipart/*`."""
        return self.essence.startswith("multipart/")


@attrs.frozen
class Disposition:
    """A disposition: its lower-case `type`, and its parameters, with lower-case keys."""

    type: str
    params: Mapping[str, str] = NO_PARAMS
    deviations: tuple[Deviation, ...] = ()

    @property
    def name(self) -> str | None:
        """The name of the part; None where there is none."""
        return self.params.get("name")

    @property
    def filename(self) -> str | None:
        """The filename, as the client wrote it; None where there is none."""
        return self.params.get("filename")


def parse_content_type(value: str, *, policy: Policy = LENIENT) -> ContentType:
    """Parse the value of a Content-Type header (RFC 2045, 5.1; RFC 2231).

    Raises `MalformedBody` where it is not `type/subtype`, or ambiguous.
    """
    notes = Findings(policy)
    parsed = read_content_type(check_text(value, notes), notes)
    if parsed is None:
        raise notes.refuse(f"expected a content type 'type/subtype', got {excerpt(value)}")
    return attrs.evolve(parsed, deviations=tuple(notes.found))


def parse_disposition(value: str, *, form: bool = False, policy: Policy = LENIENT) -> Disposition:
    """Parse the value of a Content-Disposition header (RFC 2183; RFC 7578, 4.2; RFC 6266).

    `form` (False) says that the part stands in a `multipart/form-data`. Raises `MalformedBody`
    where there is no disposition type, or where the value is ambiguous.
    """
    notes = Findings(policy)
    parsed = read_disposition(check_text(value, notes), notes, form=form)
    return attrs.evolve(parsed, deviations=tuple(notes.found))


def read_content_type(text: str, notes: Findings) -> ContentType | None:
    """The content type that `text` holds; None where it is not `type/subtype`."""
    match = _ESSENCE.match(text)
    if match is None:
        return None
    params = join_parameters(scan_parameters(text, match.end(), notes), notes)
    return ContentType(match[0].lower(), MappingProxyType(params))


def read_disposition(text: str, notes: Findings, *, form: bool) -> Disposition:
    """The disposition that `text` holds; without a type it raises `MalformedBody`."""
    match = _TYPE.match(text)
    if match is None:
        raise notes.refuse(f"expected a disposition type, got {excerpt(text)}")
    type = match[0].lower()
    form_data = type == "form-data"
    scanned = scan_parameters(text, match.end(), notes, disposition=True, form=form_data)
    params = join_parameters(scanned, notes, form=form or form_data)
    for key in ("name", "filename"):
        value = params.get(key, "")
        start = value.find("=?")
        if start >= 0 and value.find("?=", start + 2) >= 0:
            # RFC 2047, 5: "An 'encoded-word' MUST NOT appear within a 'quoted-string'."
            notes.note("encoded-word", "expected no encoded word", value)
    if form and not form_data:
        notes.note("not-form-data", f"expected form-data, got the disposition {excerpt(type)}")
    elif form and "name" not in params:
        notes.note("form-data-without-name", "expected a name", text)
    return Disposition(type, MappingProxyType(params))
