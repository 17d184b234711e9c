"""`LineReads`: a text file whose bytes come from somebody else, read as its lines come.

Knows: what can be read of such a file without waiting. Must not know: who opened it, or when.
"""

from __future__ import annotations

import io
import select
import socket
from typing import Any, Final

__all__ = ["LineReads"]

_CAN_POLL: Final = hasattr(select, "poll")  # Windows has none
_DESCRIPTORS: Final = (io.FileIO, socket.SocketIO)


class LineReads:
    """Reads lines, in a worker thread. A text file has no read of what there is but by lines.

    Several at once, where those behind the first wait for nobody: nothing that has come is held
    back but a line that has not come to its end.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        below: Any = getattr(file, "buffer", None)
        raw: object = getattr(below, "raw", None)
        # Of anything else nobody knows what it has read ahead.
        can_look = isinstance(file, io.TextIOWrapper) and isinstance(raw, _DESCRIPTORS)
        # A terminal says once that it ends: who looks ahead would have it say so again.
        can_look = can_look and isinstance(below, io.BufferedReader) and not file.isatty()
        self._below: Any = below if _CAN_POLL and can_look else None
        self._ended = False

    def read(self, size: int) -> object:
        """Lines of `size` characters in all, or some more; `""` at the end."""
        lines = [self._line(size)]
        count = len(lines[0])
        while lines[-1] and count < size and self._has_line():
            lines.append(self._line(size))
            count += len(lines[-1])
        return "".join(lines) if len(lines) > 1 else lines[0]

    def _line(self, size: int) -> str:
        line: str = "" if self._ended else self._file.readline(size)
        if isinstance(self._file, io.TextIOWrapper) and len(line) < size:
            self._ended = line[-1:] not in ("\n", "\r")  # it is not asked once more
        return line

    def _has_line(self) -> bool:
        """Whether the end of a line has come, or that of all."""
        if self._below is None:
            return False
        poll = select.poll()
        poll.register(self._below.fileno(), select.POLLIN)
        if not poll.poll(0):
            return False
        ahead: bytes = self._below.peek()  # one read of the descriptor, which has something to read
        return not ahead or b"\n" in ahead
