"""`FileAt`: the file at a path as the body of a part that is sent.

Knows: what may stand at a path, and who closes what a thread has opened.
Must not know: files that are given open, headers as they are sent, where the bytes go.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

from anyio import ClosedResourceError, notify_closing, to_thread, wait_readable

from mpflow.contents import RECEIVE_SIZE, Content, Reading, guess_type
from mpflow.errors import WriteError, excerpt
from mpflow.filecontents import FileReading
from mpflow.openfiles import size_of_descriptor
from mpflow.placedreads import CAN_READ_PLACES, PlacedReads

__all__ = ["FileAt"]

_T = TypeVar("_T")

_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)  # Windows has no named pipes among its files


class FileAt(Content):
    """The file at a path: opened and closed by each writing.

    A named pipe is waited for, without a thread: for who opens its other end, and for what comes.
    It is read once: what has come through it does not come again. A socket raises `WriteError`, a
    directory `IsADirectoryError`.
    """

    def __init__(self, path: os.PathLike[Any]) -> None:
        self._path = path
        self.filename: str | None = os.path.basename(os.fsdecode(path)) or None
        self.content_type: str | None = guess_type(self.filename) or "application/octet-stream"
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"expected the path of a file, got the directory {path}")
        if stat.S_ISSOCK(status.st_mode):
            raise WriteError(
                f"expected the path of a file, got that of a socket, {excerpt(os.fsdecode(path))}: "
                "connect to it, and give the stream"
            )
        self._is_pipe = bool(_NONBLOCK) and stat.S_ISFIFO(status.st_mode)
        self._used = False  # of a pipe only
        # A terminal, say, waits for somebody as well.
        self._is_prompt = not self._is_pipe and not stat.S_ISCHR(status.st_mode)
        # What may wait for somebody to open it must not: no thread that does could be ended.
        self._flags = _NONBLOCK if self._is_pipe or stat.S_ISREG(status.st_mode) else 0
        self._size = _size_at(path, status)

    @property
    def replayable(self) -> bool:
        return not self._is_pipe

    @property
    def prompt(self) -> bool:
        return self._is_prompt

    def check(self) -> None:
        if self._used:
            raise WriteError(
                "expected a body that can be sent again, got a named pipe, which a writing has read"
            )

    def size(self, charset: str) -> int | None:
        return self._size

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        self.check()
        opening = _Opening(self._open)
        if self._is_pipe:
            self._used = True
            return _PipeReading(opening)

        reads = PlacedReads(0)

        def read(size: int) -> object:
            return opening.use(lambda file: file.read(size)) or b""

        def read_there(size: int) -> object:
            return opening.use(lambda file: reads.read(file.fileno(), size)) or b""

        def cached() -> bytes:
            return opening.use(lambda file: reads.read_cached(file.fileno())) or b""

        def status() -> os.stat_result | None:
            return opening.use(_status)

        if self._size is None or not CAN_READ_PLACES:
            return FileReading(read, close=opening.close)
        return FileReading(
            read_there, cached=cached, ready=True, status=status, close=opening.close
        )

    def _open(self) -> io.FileIO:
        # Who asked for it closes it: `FileReading` with its `close`.
        file = open(self._path, "rb", buffering=0, opener=self._opener)  # noqa: SIM115 - goes on
        if self._flags and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode) is not self._is_pipe:
            file.close()
            kinds = ("a file", "a named pipe")
            raise WriteError(
                f"expected {kinds[self._is_pipe]} at {excerpt(os.fsdecode(self._path))}, as when "
                f"it was appended, got {kinds[not self._is_pipe]}"
            )
        return file

    def _opener(self, path: str, flags: int) -> int:
        return os.open(path, flags | self._flags)


class _Opening:
    """A file that threads open and use, one at a time, and that is closed whatever they do.

    A task that is cancelled for good leaves its thread behind (asyncio does so): who finds it at
    work leaves the closing to it, since a descriptor that is closed in the middle of a read may be
    another file by then.
    """

    def __init__(self, opener: Callable[[], io.FileIO]) -> None:
        self._opener = opener
        self._lock = Lock()
        self._busy = self._closed = False
        self._file: io.FileIO | None = None

    def use(self, action: Callable[[io.FileIO], _T]) -> _T | None:
        """What `action` makes of the file, opened before; None once it is closed."""
        with self._lock:
            if self._closed:
                return None
            self._busy = True
        try:
            if self._file is None:
                self._file = self._opener()
            made = action(self._file)
        finally:
            closed = self._used()
        return None if closed else made

    def _used(self) -> bool:
        """Whether it was closed meanwhile: then it is done now."""
        with self._lock:
            self._busy, closed = False, self._closed
        if closed:
            self._drop()
        return closed

    def close(self) -> None:
        """Close it now, or once it is not used any more."""
        with self._lock:
            self._closed, busy = True, self._busy
        if not busy:
            self._drop()

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class _PipeReading:
    """Reads a named pipe as it comes. Its end is that of the last who writes to it."""

    def __init__(self, opening: _Opening) -> None:
        self._opening = opening
        self._descriptor: int | None = None

    async def next(self) -> bytes:
        if self._descriptor is None:
            self._descriptor = await to_thread.run_sync(self._opening.use, io.FileIO.fileno)
        data: bytes | None = None
        while data is None:
            if self._descriptor is None:
                raise ClosedResourceError
            await wait_readable(self._descriptor)
            # None where another reader of the pipe was quicker.
            data = self._opening.use(_read_some)
        return data

    async def aclose(self) -> None:
        self._finish()

    def _finish(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            notify_closing(descriptor)
        self._opening.close()

    def __del__(self) -> None:
        self._opening.close()


def _status(file: io.FileIO) -> os.stat_result:
    return os.fstat(file.fileno())


def _read_some(file: io.FileIO) -> bytes | None:
    return file.read(RECEIVE_SIZE)


def _size_at(path: os.PathLike[Any], status: os.stat_result) -> int | None:
    """Bytes of a regular file; it is opened only where the file system may not know them."""
    if not stat.S_ISREG(status.st_mode):
        return None
    if getattr(status, "st_blocks", 1):
        return status.st_size
    # Without waiting: some files of /proc have nothing to say yet.
    descriptor = os.open(path, os.O_RDONLY | _NONBLOCK)
    try:
        return size_of_descriptor(descriptor)
    finally:
        os.close(descriptor)
