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

_CACHED_SIZE: Final = 384 * 1024
"""Bytes of what the system has in memory that are taken at once, in some 40 us."""


class PlacedReads:
    """Reads on from `place`. The descriptor is not moved: whoever else has it finds it there."""

    def __init__(self, place: int) -> None:
        self._place = place
        self._rooms: list[io.BytesIO] = []
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
        if len(self._rooms) < 2:
            self._rooms.insert(0, _room())
        room = self._rooms[0]
        try:
            with room.getbuffer() as view:
                count = os.preadv(descriptor, (view,), self._place, _NOWAIT)
                data = b"" if count == _CACHED_SIZE else bytes(view[:count])
        except BlockingIOError:
            return b""
        except OSError:  # this file system cannot; and what else fails, `read` tells
            self._asks = False
            return b""
        self._place += count
        if count < _CACHED_SIZE:
            return data
        # By turns: the other one is read into once who takes the pieces has let go of its bytes.
        self._rooms.reverse()
        return room.getvalue()


def _room() -> io.BytesIO:
    """Memory that the system can write to and that becomes `bytes` without a copy.

    The system can be asked for what it has in memory with a writable buffer only. To copy out of
    one costs as much as half the read, and to make room anew as much again. While somebody has the
    bytes that were taken of it, nothing is written over them: it then makes room by itself.
    """
    room = io.BytesIO()
    room.seek(_CACHED_SIZE - 1)
    room.write(b"\0")
    return room
