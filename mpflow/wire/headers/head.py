"""The header block of a part: a `Head`, parsed at once where it matters, lazily where it may.

Knows: which header decides what a part is, and what a form demands of it.
Must not know: delimiters, bodies, limits, or who reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import cast, final

import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from mpflow.errors import excerpt
from mpflow.wire.headers.fields import Field, read_fields
from mpflow.wire.headers.formats import format_head
from mpflow.wire.headers.policy import LENIENT, Deviation, Findings, Policy
from mpflow.wire.headers.values import (
    NO_PARAMS,
    ContentType,
    Disposition,
    read_content_type,
    read_disposition,
)

__all__ = ["PLAIN_FIELD", "PLAIN_FILE", "Head", "parse_head", "plain_head"]

# What browsers and HTTP clients send, in one match that cannot go back: the disposition first, or
# (aiohttp, .NET) the content type. What needs thought (a backslash, a percent sign, a control, an
# equals sign as in an encoded word) is left to the rest.
_NAMED = rb'[Cc]ontent-[Dd]isposition: form-data; ?name="([^"\\%=\x00-\x1f\x7f]*+)"'
_DISPOSITION = _NAMED + rb'(?:; ?filename="([^"\\%=\x00-\x1f\x7f]*+)")?'
_TYPE = (
    rb"[Cc]ontent-[Tt]ype: ?([!#$&+\-.0-9A-Z^_a-z]++/[!#$&+\-.0-9A-Z^_a-z]++)"
    rb"(?:; ?charset=([\-.0-9A-Z_a-z]++))?"
)
_USUAL = re.compile(_DISPOSITION + rb"(?:\r\n" + _TYPE + rb")?").fullmatch
_BODY = rb"\r\n\r\n(?s:(.*))"
PLAIN_FIELD = re.compile(rb"\r\n(" + _NAMED + rb")" + _BODY).match
"""Of a part's text: the block and the name of one that has nothing else, and the body."""
PLAIN_FILE = re.compile(rb"\r\n(" + _DISPOSITION + rb"(?:\r\n" + _TYPE + rb")?)" + _BODY).match
"""The same of one that may have a filename and a type; the groups between are for `plain_head`."""
_TYPE_FIRST = re.compile(_TYPE + rb"\r\n" + _DISPOSITION).fullmatch

# A multipart inside, as it is written by everybody: bchars in quotes, or a token (RFC 2046, 5.1.1).
_NESTED = re.compile(
    _DISPOSITION + rb"\r\n[Cc]ontent-[Tt]ype: ?(multipart/[\-0-9A-Za-z]++); ?boundary="
    rb"""(?:"([0-9A-Za-z'()+_,\-./:=? ]++)"|([0-9A-Za-z'+_\-.]++))"""
).fullmatch

_ONCE = frozenset({"content-disposition", "content-type", "content-transfer-encoding"})


@final
@attrs.define(eq=False)
class _Full:
    """What a head holds beside name, filename and content type."""

    headers: CIMultiDictProxy[str]
    disposition: Disposition | None
    content_type: ContentType
    deviations: tuple[Deviation, ...]


class Head:
    """The header block of a part, parsed. Two heads are equal if their blocks are.

    `raw` is the block as it came, without the blank line; `name` and `filename` are None where
    absent; `content_type` is the lower-case `type/subtype`, or the default; `charset` and
    `boundary` are parameters of the content type, as they were written, None where absent. Not to
    be changed.
    """

    # Not attrs: a tiny part costs about a microsecond, and an attrs class would add a third.
    __slots__ = ("_more", "boundary", "charset", "content_type", "filename", "name", "raw")

    def __init__(
        self,
        raw: bytes,
        name: str | None,
        filename: str | None,
        content_type: str,
        charset: str | None = None,
        boundary: str | None = None,
        full: _Full | None = None,
    ) -> None:
        self.raw: bytes = raw
        self.name: str | None = name
        self.filename: str | None = filename
        self.content_type: str = content_type
        self.charset: str | None = charset
        self.boundary: str | None = boundary
        # None and its headers, once asked for, where nothing needed thought.
        self._more: _Full | CIMultiDictProxy[str] | None = full

    @classmethod
    def of(
        cls,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
        *,
        form: bool = False,
        default_type: str = "text/plain",
        policy: Policy = LENIENT,
    ) -> Head:
        """A head made of headers, as if it had come in. What `format_head` refuses is refused."""
        block = format_head(_pairs(headers)).removesuffix(b"\r\n")
        return parse_head(block, form=form, default_type=default_type, policy=policy)

    @property
    def disposition(self) -> str | None:
        """The lower-case disposition type, such as `"form-data"`; None where absent."""
        if type(self._more) is not _Full:
            return "form-data"
        return None if self._more.disposition is None else self._more.disposition.type

    @property
    def deviations(self) -> tuple[Deviation, ...]:
        """What was accepted although it breaks the rules; each code once, with its offset."""
        return self._more.deviations if type(self._more) is _Full else ()

    @property
    def is_multipart(self) -> bool:
        """Whether the content type is `multipart/*`."""
        return self.content_type.startswith("multipart/")

    @property
    def is_plain(self) -> bool:
        """Whether no header names a content coding or a transfer encoding."""
        if type(self._more) is not _Full:
            return True
        headers = self._more.headers
        return "Content-Encoding" not in headers and "Content-Transfer-Encoding" not in headers

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """All headers, in their order."""
        if self._more is None:
            self._more = _usual_headers(self.raw)
        return self._more.headers if type(self._more) is _Full else self._more

    @property
    def parsed_content_type(self) -> ContentType:
        """The content type with its parameters; the default where there is none."""
        if type(self._more) is _Full:
            return self._more.content_type
        return ContentType(
            self.content_type, _given(("charset", self.charset), ("boundary", self.boundary))
        )

    @property
    def content_type_params(self) -> Mapping[str, str]:
        """The parameters of the content type, by lower-case key."""
        return self.parsed_content_type.params

    @property
    def disposition_params(self) -> Mapping[str, str]:
        """The parameters of the disposition, by lower-case key."""
        if type(self._more) is not _Full:
            return _given(("name", self.name), ("filename", self.filename))
        return NO_PARAMS if self._more.disposition is None else self._more.disposition.params

    def __eq__(self, other: object) -> bool:
        return self.raw == other.raw if isinstance(other, Head) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        name, filename = _short(self.name), _short(self.filename)
        return f"<Head name={name} filename={filename} {self.content_type}>"


def _pairs(
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
) -> Iterable[tuple[str, str]]:
    if isinstance(headers, Mapping):
        mapping = cast("Mapping[str, str]", headers)
        return mapping.items()
    return headers


def _short(text: str | None) -> str:
    return "None" if text is None else excerpt(text)


def parse_head(
    block: bytes,
    *,
    form: bool = False,
    default_type: str = "text/plain",
    policy: Policy = LENIENT,
) -> Head:
    """Parse a header block: lines joined by CRLF, without a CRLF at the end; b"" has no header.

    `form` (False) says that the part stands in a `multipart/form-data`; `default_type` is the
    content type where none is given (RFC 2046, 5.1.5 has another for a digest). Raises
    `MalformedBody`, whose `offset` counts from the start of the block.
    """
    match = _USUAL(block)
    try:
        if match is not None:
            if match.lastindex == 1:
                return Head(block, match[1].decode(), None, default_type)
            name, filename, essence, charset = match.groups()
            return plain_head(block, name, filename, essence, charset, default_type)
        match = _TYPE_FIRST(block)
        if match is not None:
            essence, charset, name, filename = match.groups()
            return plain_head(block, name, filename, essence, charset, default_type)
        match = _NESTED(block)
        if match is not None:
            name, filename, essence, quoted, token = match.groups()
            head = plain_head(block, name, filename, essence, None, default_type)
            head.boundary = (quoted or token).decode()
            return head
    except UnicodeDecodeError:
        pass  # a name or filename is not UTF-8: that has to be recorded
    full = _read(block, form=form, default_type=default_type, policy=policy)
    disposition = full.disposition
    return Head(
        block,
        None if disposition is None else disposition.name,
        None if disposition is None else disposition.filename,
        full.content_type.essence,
        full.content_type.charset,
        full.content_type.boundary,
        full,
    )


def plain_head(
    block: bytes,
    name: bytes,
    filename: bytes | None,
    essence: bytes | None,
    charset: bytes | None,
    default_type: str,
) -> Head:
    """The head of a block whose parts one match has found; `UnicodeDecodeError` if not UTF-8."""
    head = object.__new__(Head)  # without `__init__`: this is a hot path
    head.raw = block
    head.name = name.decode()
    head.filename = None if filename is None else filename.decode()
    head.content_type = default_type if essence is None else essence.decode().lower()
    head.charset = None if charset is None else charset.decode()
    head.boundary = head._more = None  # pyright: ignore[reportPrivateUsage]
    return head


def _usual_headers(block: bytes) -> CIMultiDictProxy[str]:
    """The headers of a block that a pattern above has found: nothing needs thought there."""
    fields = [line.partition(":") for line in block.decode().split("\r\n")]
    return CIMultiDictProxy(CIMultiDict([(name, value.lstrip(" ")) for name, _, value in fields]))


def _given(*params: tuple[str, str | None]) -> Mapping[str, str]:
    return MappingProxyType({key: value for key, value in params if value is not None})


def _read(block: bytes, *, form: bool, default_type: str, policy: Policy) -> _Full:
    notes = Findings(policy)
    fields = read_fields(block, notes)
    first = _first_of_each(fields, notes)
    disposition = None
    if (field := first.get("content-disposition")) is not None:
        notes.offset = field.offset
        disposition = read_disposition(field.value, notes, form=form)
    elif form:
        notes.offset = 0
        notes.note("not-form-data", "expected a Content-Disposition, got none")
    content_type = None
    if (field := first.get("content-type")) is not None:
        notes.offset = field.offset
        content_type = read_content_type(field.value, notes)
        if content_type is None:
            # RFC 2045, 5.2: the default "be assumed when a syntactically invalid Content-Type
            # header field is encountered".
            got = excerpt(field.value)
            notes.note("malformed-content-type", f"expected 'type/subtype', got {got}")
    return _Full(
        CIMultiDictProxy(CIMultiDict([(field.name, field.value) for field in fields])),
        disposition,
        content_type or ContentType(default_type),
        tuple(notes.found),
    )


def _first_of_each(fields: list[Field], notes: Findings) -> dict[str, Field]:
    """The first field of each name; those that decide what a part is may not come twice."""
    first: dict[str, Field] = {}
    for field in fields:
        key = field.name.lower()
        if first.setdefault(key, field) is not field and key in _ONCE:
            notes.offset = field.offset
            notes.note("duplicate-header", f"expected one {excerpt(field.name)}, got another")
    return first
