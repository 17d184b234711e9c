"""`Pairs`: documents with their attachments, two by two.

Knows: that a document may stand alone or be the first part of a multipart.
Must not know: sources, the wire, what a document is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Self

from mpflow.errors import MalformedBody
from mpflow.part import Part

if TYPE_CHECKING:
    from mpflow.reader import MultipartReader

__all__ = ["Pairs"]


class Pairs:
    """What `MultipartReader.pairs` gives: an async iterator of `(document, attachments)`.

    Raises `MalformedBody` for a multipart without a part: it has no document.
    """

    def __init__(self, reader: MultipartReader) -> None:
        self._reader = reader

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Part, AsyncIterator[Part]]:
        part = await self._reader.next_part()
        if part is None:
            raise StopAsyncIteration
        if not part.is_multipart:
            return part, _NoParts()
        inside = part.multipart()
        document = await inside.next_part()
        if document is None:
            raise MalformedBody(
                "expected a document as the first part of a multipart, and it has no part",
                part=part.info.ref,
            )
        return document, inside


class _NoParts:
    """The attachments of a document that stands alone."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        raise StopAsyncIteration
