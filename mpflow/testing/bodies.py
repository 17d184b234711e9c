"""Bodies for tests: bytes on the wire, from a few words a part.

Knows: the encoder, what a form's part looks like, and how a body is cut into chunks.
Must not know: readers, handlers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from mpflow.info import PartInfo
from mpflow.testing.sources import Chunked
from mpflow.wire import BodyEnd, Encoder, Head, WholePart
from mpflow.wire.headers import format_parameter

__all__ = ["Message", "PartLike", "PartSpec", "body", "content_type_of", "nested"]

BOUNDARY = "boundary"
"""The boundary of test bodies: short and constant, so that a failing test shows readable bytes."""


def _to_bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


@attrs.frozen
class PartSpec:
    """One part of a test body. `name` and `filename` make a form-data disposition.

    `data` is the body of the part; text stands for its UTF-8. `headers` come first, as they are.
    """

    data: bytes = attrs.field(default=b"", converter=_to_bytes)
    name: str | None = attrs.field(default=None, kw_only=True)
    filename: str | None = attrs.field(default=None, kw_only=True)
    content_type: str | None = attrs.field(default=None, kw_only=True)
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = attrs.field(default=(), kw_only=True)

    @property
    def head(self) -> Head:
        """The header block. What cannot stand in a header raises `ValueError`."""
        return PartInfo.of(
            self.headers, name=self.name, filename=self.filename, content_type=self.content_type
        ).head


PartLike: TypeAlias = PartSpec | tuple[str, str | bytes] | Mapping[str, Any]
"""A `PartSpec`, a form's (name, value), or the keywords of a `PartSpec`."""


def body(
    parts: Iterable[PartLike],
    *,
    boundary: str = BOUNDARY,
    preamble: bytes = b"",
    epilogue: bytes = b"",
    close: bool = True,
) -> bytes:
    """A multipart body of `parts`, as bytes on the wire (RFC 2046, 5.1.1).

    `preamble` stands on lines of its own before the first delimiter, `epilogue` after the line of
    the close delimiter. With `close=False` the body ends with its last part, cut off. Raises
    `WriteError` where the boundary occurs in a part, and `ValueError` for a header that cannot be.
    """
    encoder = Encoder(boundary)
    pieces = [preamble + b"\r\n"] if preamble else []
    for item in parts:
        spec = _spec(item)
        pieces.append(encoder.send(WholePart(spec.head, spec.data)))
    if close:
        pieces += [encoder.send(BodyEnd()), epilogue]
    return b"".join(pieces)


def nested(
    parts: Iterable[PartLike],
    *,
    boundary: str = "inner",
    subtype: str = "mixed",
    name: str | None = None,
) -> PartSpec:
    """A part whose body is a multipart of `parts`. Each level needs a boundary of its own."""
    content_type = content_type_of(boundary, subtype)
    return PartSpec(body(parts, boundary=boundary), name=name, content_type=content_type)


def content_type_of(boundary: str = BOUNDARY, subtype: str = "form-data") -> str:
    """The content type of a body: `multipart/<subtype>` with its boundary, quoted if need be."""
    return f"multipart/{subtype}; {format_parameter('boundary', boundary)}"


@attrs.frozen
class Message:
    """A whole message: its parts, and how its body comes.

    `sizes` are those of the chunks of its `source`; what is left after them comes in one.
    """

    parts: tuple[PartSpec, ...]
    boundary: str = attrs.field(default=BOUNDARY, kw_only=True)
    subtype: str = attrs.field(default="form-data", kw_only=True)
    sizes: tuple[int, ...] = attrs.field(default=(), kw_only=True)

    @property
    def content_type(self) -> str:
        """`multipart/<subtype>` with the boundary."""
        return content_type_of(self.boundary, self.subtype)

    @property
    def data(self) -> bytes:
        """The body on the wire."""
        return body(self.parts, boundary=self.boundary)

    def source(self) -> Chunked:
        """The body in its chunks. Each call gives a source of its own."""
        return Chunked(self.data, self.sizes)


def _spec(item: PartLike) -> PartSpec:
    if isinstance(item, PartSpec):
        return item
    if isinstance(item, tuple):
        name, value = item
        return PartSpec(value, name=name)
    return PartSpec(**item)
