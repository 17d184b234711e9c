"""`Walk`: the leaves of a multipart, depth first.

Knows: readers and the multiparts inside their parts. Must not know: sources, the wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from mpflow.part import Part

if TYPE_CHECKING:
    from mpflow.reader import MultipartReader

__all__ = ["Walk"]


class Walk:
    """The leaves of a multipart, depth first. An async iterator of `Part`."""

    def __init__(self, reader: MultipartReader) -> None:
        self._readers = [reader]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        while self._readers:
            part = await self._readers[-1].next_part()
            if part is None:
                self._readers.pop()
            elif part.info.head.is_multipart:
                self._readers.append(part.multipart())
            else:
                return part
        raise StopAsyncIteration
