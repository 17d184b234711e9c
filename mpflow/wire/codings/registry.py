"""The table of codings: one row each.

Knows: which name stands for which pair of classes. Must not know: how a coding is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import attrs

from mpflow.errors import UnsupportedCoding, excerpt
from mpflow.wire.codings.base import CodingDecoder, CodingEncoder
from mpflow.wire.codings.base64 import Base64Decoder, Base64Encoder
from mpflow.wire.codings.br import BrotliDecoder, BrotliEncoder
from mpflow.wire.codings.deflate import DeflateDecoder, DeflateEncoder, GzipDecoder, GzipEncoder
from mpflow.wire.codings.plain import PlainDecoder, PlainEncoder, SevenBitEncoder
from mpflow.wire.codings.quoted_printable import QuotedPrintableDecoder, QuotedPrintableEncoder
from mpflow.wire.codings.zstd import ZstdDecoder, ZstdEncoder

__all__ = ["CODINGS", "Coding", "Kind", "find_coding", "register_coding"]

Kind: TypeAlias = Literal["content", "transfer"]
"""A content coding (Content-Encoding) or a transfer encoding (Content-Transfer-Encoding)."""

_HEADERS: Final[Mapping[Kind, str]] = MappingProxyType(
    {"content": "content coding", "transfer": "transfer encoding"}
)


@attrs.frozen
class Coding:
    """One coding: its name in lower case, and the classes that undo and do it.

    `decoder` and `encoder` are called once a body. They may raise `UnsupportedCoding`, where the
    library that they need is missing. `heavy` codings are undone in a worker thread where there is
    much of it. `is_plain` ones change nothing, and are left out when a body is decoded.
    """

    name: str
    kind: Kind
    decoder: Callable[[], CodingDecoder] = attrs.field(kw_only=True)
    encoder: Callable[[], CodingEncoder] = attrs.field(kw_only=True)
    size_of: Callable[[int], int | None] = attrs.field(default=CodingEncoder.size_of, kw_only=True)
    """How many bytes become of so many; None where it depends on them."""
    heavy: bool = attrs.field(default=False, kw_only=True)
    is_plain: bool = attrs.field(default=False, kw_only=True)
    aliases: tuple[str, ...] = attrs.field(default=(), kw_only=True)


_table: dict[tuple[Kind, str], Coding] = {}

CODINGS: Final[Mapping[tuple[Kind, str], Coding]] = MappingProxyType(_table)
"""Every coding that is known, by its kind and its name in lower case; aliases have rows, too."""


def register_coding(coding: Coding) -> None:
    """Make a coding known, for reading and writing. One of the same name is replaced."""
    for name in (coding.name, *coding.aliases):
        _table[coding.kind, name.lower()] = coding


def find_coding(kind: Kind, name: str) -> Coding:
    """The coding of that name, in any case. Raises `UnsupportedCoding` for one that is unknown."""
    coding = _table.get((kind, name.strip().lower()))
    if coding is None:
        known = ", ".join(sorted(known for its, known in _table if its == kind and known))
        raise UnsupportedCoding(
            f"expected a {_HEADERS[kind]} among {known}, got {excerpt(name.strip())}"
        )
    return coding


for _row in (
    Coding("base64", "transfer", decoder=Base64Decoder, encoder=Base64Encoder,
           size_of=Base64Encoder.size_of),
    Coding("quoted-printable", "transfer", decoder=QuotedPrintableDecoder,
           encoder=QuotedPrintableEncoder),
    Coding("7bit", "transfer", decoder=PlainDecoder, encoder=SevenBitEncoder,
           size_of=SevenBitEncoder.size_of, is_plain=True),
    # An empty header says nothing; nor does its absence.
    Coding("binary", "transfer", decoder=PlainDecoder, encoder=PlainEncoder,
           size_of=PlainEncoder.size_of, is_plain=True, aliases=("8bit", "")),
    Coding("identity", "content", decoder=PlainDecoder, encoder=PlainEncoder,
           size_of=PlainEncoder.size_of, is_plain=True, aliases=("",)),
    # RFC 9110, 8.4.1.3: "A recipient SHOULD consider "x-gzip" to be equivalent to "gzip"."
    Coding("gzip", "content", decoder=GzipDecoder, encoder=GzipEncoder, heavy=True,
           aliases=("x-gzip",)),
    Coding("deflate", "content", decoder=DeflateDecoder, encoder=DeflateEncoder, heavy=True),
    Coding("br", "content", decoder=BrotliDecoder, encoder=BrotliEncoder, heavy=True),
    Coding("zstd", "content", decoder=ZstdDecoder, encoder=ZstdEncoder, heavy=True),
):  # fmt: skip
    register_coding(_row)
