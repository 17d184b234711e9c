"""Writes that wait: nothing is lost where a descriptor does not block and has no room yet.

Knows: descriptors, and the standard streams on them. Must not know: what is written.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any, TextIO

__all__ = ["have_waiting_output", "write_all"]


def write_all(fd: int, data: Any) -> int:
    """Write all of some bytes, and wait for room as often as there is none; how many they are.

    A parent may hand on a pipe that does not block, as Node does; it stays as it is, since others
    may have it, too.
    """
    rest = whole = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            room = select.poll()  # `select.select` takes no descriptor from 1024 on
            room.register(fd, select.POLLOUT)
            room.poll()
    return len(whole)


def have_waiting_output() -> None:
    """From now on what is printed waits for room, on stdout and on stderr.

    `print` would drop what a pipe that does not block has no room for, or raise.
    """
    sys.stdout = _waiting(sys.stdout)
    sys.stderr = _waiting(sys.stderr)


def _waiting(stream: TextIO | None) -> Any:
    """The same stream, as one that waits; anything but a stream of Python's own stays."""
    if os.name != "posix" or type(stream) is not io.TextIOWrapper:
        return stream
    buffer: Any = stream.buffer
    raw: object = getattr(buffer, "raw", buffer)  # `python -u` has no buffer
    if type(raw) is not io.FileIO:
        return stream
    stream.flush()
    waiting = _WaitingIO(raw.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        waiting if raw is buffer else io.BufferedWriter(waiting),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _WaitingIO(io.FileIO):
    """A descriptor that is written without loss, whether it blocks or not."""

    def write(self, data: Any, /) -> int:
        """All of `data`, in the thread that asks: a signal finds it there, as it does a print."""
        return write_all(self.fileno(), data)
