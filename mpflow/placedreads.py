"""`PlacedReads`: reads a regular file from a place on, by its descriptor.

Knows: what can be read without waiting for a disk. Must not know: who opened the file, or when.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["CAN_READ_PLACES", "PlacedReads"]

CAN_READ_PLACES: Final = hasattr(os, "pread")
"""Whether this system can at all; Windows cannot."""

_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)  # Linux has it

_CACHED_SIZE: Final = 1024 * 1024
"""Bytes of what the system has in memory that are taken at once, in some 0.2 ms."""


class PlacedReads:
    """Reads on from `place`. The descriptor is not moved: whoever else has it finds it there."""

    def __init__(self, place: int) -> None:
        self._place = place
        self._buffer: bytearray | None = None
        self._asks = bool(_NOWAIT)

    def read(self, descriptor: int, size: int) -> bytes:
        """`size` bytes at most, `b""` at the end. It may wait for a disk."""
        data = os.pread(descriptor, size, self._place)
        self._place += len(data)
        return data

    def read_cached(self, descriptor: int) -> bytes:
        """What the system has in memory; `b""` where it has nothing, cannot tell, or at the end."""
        if not self._asks:
            return b""
        if self._buffer is None:
            self._buffer = bytearray(_CACHED_SIZE)
        try:
            count = os.preadv(descriptor, (self._buffer,), self._place, _NOWAIT)
        except BlockingIOError:
            return b""
        except OSError:  # this file system cannot; and what else fails, `read` tells
            self._asks = False
            return b""
        self._place += count
        if count == _CACHED_SIZE:
            return bytes(self._buffer)
        return bytes(memoryview(self._buffer)[:count])
