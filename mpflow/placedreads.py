"""`PlacedReads`: reads a regular file from a place on, by its descriptor.

Knows: what can be read without waiting for a disk. Must not know: who opened the file, or when.
"""

from __future__ import annotations

import io
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
        self._room: io.BytesIO | None = None
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
        room = self._room = self._room or _room()
        try:
            with room.getbuffer() as view:
                count = os.preadv(descriptor, (view,), self._place, _NOWAIT)
                if count < _CACHED_SIZE // 2:  # to copy it is cheaper than to make room anew
                    self._place += count
                    return bytes(view[:count])
        except BlockingIOError:
            return b""
        except OSError:  # this file system cannot; and what else fails, `read` tells
            self._asks = False
            return b""
        self._room = None
        self._place += count
        room.truncate(count)
        return room.getvalue()


def _room() -> io.BytesIO:
    """Memory that the system can write to and that becomes `bytes` without a copy.

    The system can be asked for what it has in memory with a writable buffer only. To copy 1 MiB out
    of one costs as much as half the read.
    """
    room = io.BytesIO()
    room.seek(_CACHED_SIZE - 1)
    room.write(b"\0")
    return room
