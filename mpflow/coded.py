"""A source of bytes without the content codings of its message, undone as it is read.

Knows: how a source is driven through a decoder. Must not know: any coding, messages, parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from mpflow.decoding import DecodedStream
from mpflow.errors import InvalidContent
from mpflow.sources import Chunk, Source
from mpflow.wire.codings import PIECE, Coding, Decoding
from mpflow.wire.limits import Limits

__all__ = ["uncoded"]


def uncoded(source: Source, codings: Sequence[Coding], limits: Limits) -> Source:
    """What `source` gives, its `codings` undone, in pieces of at most 64 KiB.

    `codings` stand as they were applied. `max_decoded_ratio` bounds each; who reads counts what
    comes of all. Nothing stays nothing, which is no body in any coding. Raises `UnsupportedCoding`
    for a missing library, here; `InvalidContent` and `LimitExceeded` while it is read.
    """
    begun = _Begun(source)
    decoding = Decoding(codings, max_ratio=limits.max_decoded_ratio)
    stream = DecodedStream(begun, codings, decoding, part=None)

    async def pull() -> Chunk:
        try:
            return await stream.receive(PIECE)
        except InvalidContent as error:
            if not begun.size:
                raise StopAsyncIteration from None
            # No offset: libraries tell of an error up to a piece late, and pieces are chunks.
            text = f"{error.message}, in the Content-Encoding of the response"
            raise InvalidContent(text) from error.__cause__

    return Source(pull, timed=source.timed, close=source.aclose)


class _Begun:
    """A source with the verbs of a part, which is never anybody's but the stream's."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size = 0

    async def receive(self, max_bytes: int = PIECE) -> bytes:
        try:
            chunk = bytes(await anext(self._source))
        except StopAsyncIteration:
            raise anyio.EndOfStream from None
        self.size += len(chunk)
        return chunk

    def check_current(self) -> None: ...

    def alive(self) -> None: ...
