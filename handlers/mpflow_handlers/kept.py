"""The bytes of a part that was kept: in memory, or in a temporary file.

Knows: temporary files, and files as the standard library has them.
Must not know: parts, event loops. What touches a file blocks, and runs in worker threads.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Kept", "KeptFile", "Room"]

PREFIX: Final = "mpflow-"
"""What the name of each temporary file begins with, where it has one."""

GONE: Final = "expected a part that is kept, and it is gone: its flow has ended"


@attrs.define(eq=False)
class Room:
    """Memory that many parts share, of all flows and threads: `limit` bytes, None for any."""

    limit: int | None
    used: int = attrs.field(default=0, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def take(self, size: int) -> bool:
        """Whether there is room for so many more bytes, which are taken then."""
        with self._lock:
            if self.limit is not None and self.used + size > self.limit:
                return False
            self.used += size
            return True

    def give(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self.used -= size


@attrs.define(eq=False)
class Kept:
    """Bytes that are added one after the other, and read at any place, by any thread.

    They stay in memory until `spill` moves them into a file. That has no name, and is held open;
    without `hold` it has a random one (mode 0600), and is open only while somebody uses it.
    After `close` nothing is left of either, and reading raises `ValueError`.
    """

    size: int = attrs.field(default=0, init=False)
    _memory: bytearray = attrs.field(factory=bytearray, init=False)
    _file: io.FileIO | None = attrs.field(default=None, init=False)
    _path: str | None = attrs.field(default=None, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _is_closed: bool = attrs.field(default=False, init=False)

    @property
    def is_in_memory(self) -> bool:
        """Whether no file was needed."""
        return self._file is None and self._path is None

    @property
    def is_closed(self) -> bool:
        """Whether the bytes are gone."""
        return self._is_closed

    def add(self, data: bytes) -> None:
        """Add bytes, in memory."""
        self._memory += data
        self.size += len(data)

    def spill(self, directory: Path | None, *, hold: bool) -> None:
        """Move what is in memory into a new file in `directory`, by default the system's."""
        with self._lock:
            self._refuse_closed()
            if hold:
                # It outlives this call: `close` closes it.
                file = tempfile.TemporaryFile(  # noqa: SIM115 - closed by `close`
                    buffering=0, prefix=PREFIX, dir=directory
                )
                # On POSIX it is a FileIO where there is no buffer, whatever the stubs say.
                assert isinstance(file, io.FileIO)
                self._file = file
            else:
                fd, self._path = tempfile.mkstemp(prefix=PREFIX, dir=directory)
                self._file = io.FileIO(fd, "r+")
            data, self._memory = self._memory, bytearray()
            _write(self._file.fileno(), data, at=0)

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes to the file."""
        with self._lock:
            self._refuse_closed()
            assert self._file is not None
            _write(self._file.fileno(), data, at=self.size)
            self.size += len(data)

    def rest(self) -> None:
        """Nothing more comes: a file that has a name is closed until somebody reads it."""
        with self._lock:
            file = self._file
            if self._path is not None and file is not None:
                self._file = None
                file.close()

    def read(self, at: int, size: int) -> bytes:
        """The bytes at that place: as many, unless there are fewer."""
        # Under the lock, so that no descriptor is closed, and given to others, under a reader.
        with self._lock:
            self._refuse_closed()
            size = max(min(size, self.size - at), 0)
            if self._file is not None:
                return _read(self._file.fileno(), at, size)
            if self._path is None:
                with memoryview(self._memory) as view:
                    return bytes(view[at : at + size])
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                return _read(fd, at, size)
            finally:
                os.close(fd)

    def close(self) -> None:
        """Remove everything; wait for a read under way before that."""
        with self._lock:
            self._is_closed = True
            file, path = self._file, self._path
            self._file = self._path = None
            self._memory = bytearray()
            try:
                if path is not None:
                    with suppress(FileNotFoundError):
                        os.unlink(path)
            finally:
                if file is not None:
                    file.close()

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise ValueError(GONE)


class KeptFile(io.RawIOBase):
    """What was kept as a file of its own: it is read from its first byte, and can seek."""

    def __init__(self, kept: Kept) -> None:
        super().__init__()
        self._kept = kept
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        self._refuse_closed()
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place, counted from the start, from here, or from the end."""
        self._refuse_closed()
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._kept.size}
        if whence not in starts:
            raise ValueError(f"expected a whence of 0, 1 or 2, got {whence}")
        if starts[whence] + offset < 0:
            raise ValueError(f"expected a place in the file, got {starts[whence] + offset}")
        self._at = starts[whence] + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into the buffer; how many bytes, 0 at the end."""
        self._refuse_closed()
        with memoryview(buffer).cast("B") as out:
            data = self._kept.read(self._at, len(out))
            out[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _refuse_closed(self) -> None:
        if self.closed:
            raise ValueError("expected an open file, and it is closed")


def _write(fd: int, data: bytes | bytearray, *, at: int) -> None:
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            count = os.pwrite(fd, view[done:], at + done)
            if count < 1:
                raise OSError(errno.EIO, "not a byte was written")
            done += count


def _read(fd: int, at: int, size: int) -> bytes:
    data = os.pread(fd, size, at)
    while len(data) < size:
        more = os.pread(fd, size - len(data), at + len(data))
        if not more:
            raise OSError(errno.EIO, f"expected {size} bytes of a temporary file, got {len(data)}")
        data += more
    return data
