"""`PartInfo`: what the headers of a part say, and where it stands.

Knows: a part's header block and its place in the message. Must not know: bodies, streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import attrs
from multidict import CIMultiDictProxy

from mpflow.errors import PartRef
from mpflow.filenames import safe_filename
from mpflow.wire.headers import Head, format_disposition

__all__ = ["Described", "PartInfo", "part_info"]


@attrs.define(eq=False)
class _Loose:
    """The fields of `PartInfo`, which can still be set: see `part_info`."""

    head: Head = attrs.field(repr=False)
    index: int = 0
    path: tuple[int, ...] = (0,)
    size: int | None = None
    sniffed: bytes | None = attrs.field(default=None, repr=False, kw_only=True)
    """The first bytes of the body, where a predicate asked for them (`sniff`)."""
    sniffed_whole: bool = attrs.field(default=False, repr=False, kw_only=True)
    """Whether `sniffed` is all of the body."""


# A dataclass may not inherit so; an attrs class may, and nobody has a `_Loose`.
@attrs.frozen  # pyright: ignore[reportGeneralTypeIssues]
class PartInfo(_Loose):
    """What is known of a part before its body: its headers, and where it stands.

    `index` counts the parts of its level from 0; `path` holds the index of each part around it,
    outermost first, and its own. `size` is the length of the body in bytes as it was on the
    wire, once all of it has come, else None.
    """

    @classmethod
    def of(
        cls,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        name: str | None = None,
        filename: str | None = None,
        content_type: str | None = None,
        index: int = 0,
        path: tuple[int, ...] | None = None,
        size: int | None = None,
        sniffed: bytes | None = None,
    ) -> PartInfo:
        """An info made by hand, to try a predicate on: of headers, or of a form field's words.

        `sniffed` is the body, or as much of its beginning as predicates ask for.
        """
        pairs: list[tuple[str, str]] = []
        if isinstance(headers, Mapping):
            pairs += cast("Mapping[str, str]", headers).items()
        else:
            pairs += headers
        if name is not None or filename is not None:
            value = format_disposition("form-data", name=name, filename=filename)
            pairs.append(("Content-Disposition", value))
        if content_type is not None:
            pairs.append(("Content-Type", content_type))
        return cls(
            Head.of(pairs),
            index,
            (index,) if path is None else path,
            size,
            sniffed=sniffed,
            sniffed_whole=sniffed is not None,
        )

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The header fields, in order, with case-insensitive names. Values are unfolded."""
        return self.head.headers

    @property
    def name(self) -> str | None:
        """The `name` of the content disposition (RFC 7578, 4.2)."""
        return self.head.name

    @property
    def filename(self) -> str | None:
        """The file name as the client sent it. It is data, never a path: see `safe_filename`."""
        return self.head.filename

    @property
    def safe_filename(self) -> str:
        """The file name made fit to be one: a single component, printable, of bounded length."""
        return safe_filename(self.head.filename)

    @property
    def content_type(self) -> str:
        """Type and subtype in lower case; `text/plain` where absent (RFC 2046, 5.1)."""
        return self.head.content_type

    @property
    def content_type_params(self) -> Mapping[str, str]:
        """The parameters of the content type, with names in lower case."""
        return self.head.content_type_params

    @property
    def charset(self) -> str | None:
        """The `charset` parameter of the content type."""
        return self.head.charset

    @property
    def disposition(self) -> str | None:
        """The disposition type in lower case (`form-data`, `attachment`), None where absent."""
        return self.head.disposition

    @property
    def depth(self) -> int:
        """How many multiparts stand around the outermost one: 0 at the top level."""
        return len(self.path) - 1

    @property
    def is_multipart(self) -> bool:
        """True for a content type of `multipart/*`."""
        return self.head.is_multipart

    @property
    def ref(self) -> PartRef:
        """How errors name the part."""
        return PartRef(self.path, self.head.name, self.head.filename)


def part_info(head: Head, index: int, path: tuple[int, ...], size: int | None) -> PartInfo:
    """A `PartInfo` in less than half the time: to make one is a twentieth of a tiny part's cost.

    What is frozen has each field set by a call. So it is made as what is not, and frozen then.
    """
    info = _Loose(head, index, path, size)
    info.__class__ = PartInfo
    return cast("PartInfo", info)


class Described:
    """Something that has a `PartInfo`, and shows what it says as its own."""

    info: PartInfo

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """See `PartInfo.headers`."""
        return self.info.headers

    @property
    def name(self) -> str | None:
        """See `PartInfo.name`."""
        return self.info.name

    @property
    def filename(self) -> str | None:
        """See `PartInfo.filename`."""
        return self.info.filename

    @property
    def content_type(self) -> str:
        """See `PartInfo.content_type`."""
        return self.info.content_type

    @property
    def content_type_params(self) -> Mapping[str, str]:
        """See `PartInfo.content_type_params`."""
        return self.info.content_type_params

    @property
    def charset(self) -> str | None:
        """See `PartInfo.charset`."""
        return self.info.charset

    @property
    def disposition(self) -> str | None:
        """See `PartInfo.disposition`."""
        return self.info.disposition

    @property
    def index(self) -> int:
        """See `PartInfo.index`."""
        return self.info.index

    @property
    def path(self) -> tuple[int, ...]:
        """See `PartInfo.path`."""
        return self.info.path

    @property
    def is_multipart(self) -> bool:
        """See `PartInfo.is_multipart`."""
        return self.info.is_multipart
