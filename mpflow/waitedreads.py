"""`WaitedReading`: a file whose bytes come from somebody else, read as they come.

Knows: pipes, sockets and terminals by their descriptors, and what a buffer around one holds.
Must not know: paths, parts, headers, where the bytes go.
"""

from __future__ import annotations

import io
import os
import socket
import stat
from collections.abc import Callable
from typing import Any, Final

from anyio import BusyResourceError, wait_readable
from anyio.lowlevel import checkpoint

from mpflow.contents import RECEIVE_SIZE
from mpflow.errors import WriteError
from mpflow.openfiles import closed_file, inner_file

__all__ = ["WaitedReading", "can_be_waited_for"]

_CAN_WAIT: Final = os.name == "posix"  # Windows waits for sockets only


def can_be_waited_for(file: Any) -> bool:
    """Whether a binary file that may wait for somebody says so itself, by its descriptor.

    Then nobody has changed what its reads do, and what the descriptor gives is what they give: of
    TLS, say, it is not.
    """
    inner = inner_file(file)
    if not _CAN_WAIT or type(inner) not in (io.FileIO, socket.SocketIO, io.BufferedReader):
        return False
    raw = getattr(inner, "raw", inner)
    if type(raw) is socket.SocketIO:
        sock = getattr(raw, "_sock", None)
        # One with a timeout of its own keeps it in its own reads.
        return type(sock) is socket.socket and not sock.gettimeout()
    if type(raw) is not io.FileIO:
        return False
    mode = os.fstat(raw.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or raw.isatty()


class WaitedReading:
    """Reads a file for which `can_be_waited_for` holds: what its buffer holds, then what comes.

    No thread is used, and a cancelled `next` loses nothing. The mode of the descriptor, blocking
    or not, is left as it was: it is read where it has something to read, which does not block,
    unless somebody else who has it is quicker. Then it blocks until more comes.
    """

    def __init__(self, file: Any, *, check: Callable[[], None]) -> None:
        self._file = file
        self._check = check  # raises once another reading has begun
        self._begun = self._ended = False

    async def next(self) -> bytes:
        if self._ended:
            return b""
        try:
            return await self._next()
        except ValueError as error:
            if closed := closed_file(self._file):
                raise closed from error
            raise

    async def _next(self) -> bytes:
        inner = inner_file(self._file)
        if not self._begun:
            await checkpoint()
            self._begun = True
            self._check()
            if held := _held(inner):
                return held
        while True:
            try:
                await _readable(inner)
            except BusyResourceError as error:
                raise WriteError(
                    "expected the file for one writing, and another one waits for what comes of it"
                ) from error
            self._check()
            try:
                data = os.read(inner.fileno(), RECEIVE_SIZE)
            except BlockingIOError:
                continue  # another one who has it was quicker
            self._ended = not data
            return data

    async def aclose(self) -> None:
        """Nothing to close: the file is its owner's."""


async def _readable(file: Any) -> None:
    """Wait, and leave the descriptor as it was: uvloop has it not block while it waits for it."""
    descriptor = file.fileno()
    blocks = os.get_blocking(descriptor)
    try:
        await wait_readable(descriptor)
    finally:
        if blocks and not file.closed:  # else it may be another file's by now
            os.set_blocking(descriptor, True)


def _held(file: Any) -> bytes:
    """What a buffer has read of its raw file and not given out.

    The buffer says it only where it may read on. So while it is asked, its raw file has nothing to
    give, as one that does not block.
    """
    if type(file) is not io.BufferedReader:
        return b""
    buffer: Any = file  # what its raw file is, its type does not say
    own: dict[str, object] = buffer.raw.__dict__
    own["readinto"] = _nothing_yet
    try:
        size = len(buffer.peek())
    finally:
        del own["readinto"]
    held: bytes = buffer.read(size)
    return held


def _nothing_yet(buffer: object) -> None:
    """Stands for `readinto` of a raw file."""
