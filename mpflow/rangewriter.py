"""`range_writer`: a server's 206 answer of several ranges (RFC 9110, 15.3.7.2).

Knows: which bytes of a file go into which part. Must not know: requests, how parts are written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Final

from anyio import to_thread

from mpflow.contentrange import ContentRange
from mpflow.contents import Content, Reading
from mpflow.errors import WriteError
from mpflow.payloads import Payload
from mpflow.writer import MultipartWriter

__all__ = ["range_writer"]

_BLOCK: Final = 256 * 1024


def range_writer(
    file: bytes | bytearray | memoryview | str | os.PathLike[str],
    ranges: Iterable[tuple[int, int]],
    *,
    content_type: str = "application/octet-stream",
    boundary: str | None = None,
) -> MultipartWriter:
    """A writer of a `multipart/byteranges` with these `(start, end)` of a file or of bytes.

    `end` is the byte after the last. The file is looked at now, and opened for each range as it is
    written; one that has become shorter since raises `WriteError`. So does a range that holds no
    byte or that ends past the end, and no range at all: answer 416 to those. A directory raises
    `IsADirectoryError`, a descriptor or an open file `TypeError`.
    """
    if isinstance(file, bytearray | memoryview):
        file = bytes(file)
    total = len(file) if isinstance(file, bytes) else _size_at(file)
    writer = MultipartWriter("byteranges", boundary=boundary)
    for start, end in ranges:
        if not 0 <= start < end <= total:
            text = f"expected ranges within {total} bytes, each of one byte at least"
            raise WriteError(f"{text}, got {start}-{end}")
        said = str(ContentRange(start, end, total))
        headers = [("Content-Type", content_type), ("Content-Range", said)]
        writer.append(Payload.of(_Slice(file, start, end), headers))
    if not writer.parts:
        raise WriteError("expected one range at least, got none")
    return writer


def _size_at(path: str | os.PathLike[str]) -> int:
    given: object = path
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"expected bytes or the path of a file, got {type(given).__name__}")
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"expected the path of a file, got the directory {path}")
    return status.st_size


class _Slice(Content):
    """Some bytes of a file, or of memory."""

    content_type = None

    def __init__(self, file: bytes | str | os.PathLike[str], start: int, end: int) -> None:
        self._file = file
        self._start = start
        self._end = end

    def size(self, charset: str) -> int:
        return self._end - self._start

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        return _SliceReading(self._file, self._start, self._end)


class _SliceReading:
    """Reads them, a file in worker threads."""

    def __init__(self, file: bytes | str | os.PathLike[str], at: int, end: int) -> None:
        self._file = file
        self._at = at
        self._end = end
        self._descriptor: int | None = None

    def __del__(self) -> None:
        self._close()  # who iterates over a writer may drop it half way

    async def next(self) -> bytes:
        stop = min(self._end, self._at + _BLOCK)
        if self._at >= stop:
            return b""
        if isinstance(self._file, bytes):
            data = self._file[self._at : stop]
        else:
            data = await to_thread.run_sync(self._read, self._file, stop)
        if not data:
            raise WriteError(f"expected a file of {self._end} bytes, and it ended at {self._at}")
        self._at += len(data)
        return data

    def _read(self, path: str | os.PathLike[str], stop: int) -> bytes:
        if self._descriptor is None:
            self._descriptor = os.open(path, os.O_RDONLY)
        return os.pread(self._descriptor, stop - self._at, self._at)

    async def aclose(self) -> None:
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
