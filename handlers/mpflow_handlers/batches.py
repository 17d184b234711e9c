"""A stream in pieces that are worth a worker thread.

Knows: what a hop to a thread costs, and how much work makes up for it.
Must not know: what is done with the bytes.
"""

from __future__ import annotations

from typing import Final

import anyio
from anyio.abc import ByteReceiveStream

__all__ = ["BATCH_BYTES", "BATCH_PIECES", "gather"]

BATCH_BYTES: Final = 512 * 1024
"""Bytes of one batch, at least, unless the stream ends: a hop costs 0.1 ms, writing them 0.3."""

BATCH_PIECES: Final = 1024
"""Pieces of one batch, at most: as many as one `writev` takes (`IOV_MAX`)."""


async def gather(stream: ByteReceiveStream) -> tuple[list[bytes], bool]:
    """The next batch of a stream as it came, in pieces, and whether the stream has ended.

    At most `BATCH_BYTES` and one more piece are held.
    """
    pieces: list[bytes] = []
    size = 0
    try:
        while size < BATCH_BYTES and len(pieces) < BATCH_PIECES:
            pieces.append(await stream.receive())
            size += len(pieces[-1])
    except anyio.EndOfStream:
        return pieces, True
    return pieces, False
