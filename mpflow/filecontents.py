"""Files as the body of a part that is sent: open ones, and paths.

Knows: how a file is read in worker threads, from where it stood, and how large it is.
Must not know: headers as they are sent, delimiters, or where the bytes go.
"""

from __future__ import annotations

import codecs
import io
import os
import stat
from collections.abc import Callable
from tempfile import SpooledTemporaryFile
from typing import Any, Final

from anyio import to_thread

from mpflow.contents import Content, Reading, encode_text, guess_type, name_of, text_encoder
from mpflow.errors import WriteError

__all__ = ["File", "FileAt", "TextFile"]

READ_SIZE: Final = 1024 * 1024
"""Bytes asked of a file at once: each time costs a hop to a worker thread."""


class File(Content):
    """A binary file that was given open: read from where it stood, never closed."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._turn = 0
        self._start = _place(file)
        self._size = _size_of(file, self._start)
        self.filename: str | None = name_of(file)
        self.content_type: str | None = guess_type(self.filename) or "application/octet-stream"

    @property
    def replayable(self) -> bool:
        return self._start is not None

    def size(self, charset: str) -> int | None:
        return self._size

    def check(self) -> None:
        if self._turn and not self.replayable:
            raise WriteError("expected a file that can be read again, got one that cannot seek")

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        return FileReading(self._reads())

    def _reads(self) -> Callable[[], object]:
        """What reads on, in a worker thread, for as long as no other writing has begun."""
        self.check()
        self._turn += 1
        turn, place = self._turn, self._start

        def read() -> object:
            nonlocal place
            if turn != self._turn:
                raise WriteError("expected the file for one writing, and another one has begun")
            if place is not None:
                self._file.seek(place)
                place = None
            data: object = self._file.read(READ_SIZE)
            return data

        return read


class TextFile(File):
    """A text file that was given open: its text, in the charset of the part."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self._size = None
        self.content_type: str | None = (
            f"{guess_type(self.filename) or 'text/plain'}; charset=utf-8"
        )

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        return FileReading(self._reads(), encoder=text_encoder(charset))


class FileAt(Content):
    """The file at a path: opened and closed by each writing."""

    def __init__(self, path: os.PathLike[Any]) -> None:
        self._path = path
        self.filename: str | None = os.path.basename(os.fsdecode(path)) or None
        self.content_type: str | None = guess_type(self.filename) or "application/octet-stream"
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"expected the path of a file, got the directory {path}")
        self._size = status.st_size if stat.S_ISREG(status.st_mode) else None

    def size(self, charset: str) -> int | None:
        return self._size

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        file: io.FileIO | None = None

        def read() -> object:
            nonlocal file
            if file is None:
                file = open(self._path, "rb", buffering=0)  # noqa: SIM115 - closed by `close`
            return file.read(READ_SIZE)

        def close() -> None:
            if file is not None:
                file.close()

        return FileReading(read, close=close)


class FileReading:
    """Reads in worker threads; the text of a text file by `encoder`."""

    def __init__(
        self,
        read: Callable[[], object],
        *,
        encoder: codecs.IncrementalEncoder | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self._read = read
        self._encoder = encoder
        self._close = close
        self._ended = False

    async def next(self) -> bytes:
        while not self._ended:
            data = await to_thread.run_sync(self._read)
            self._ended = not data
            encoded = self._encoded(data)
            if encoded:
                return encoded
        return b""

    def _encoded(self, data: object) -> bytes:
        if self._encoder is None:
            if isinstance(data, bytes):
                return data
        elif isinstance(data, str):
            return encode_text(self._encoder, data, not data)
        kind = "binary" if self._encoder is None else "text"
        raise TypeError(
            f"expected a blocking {kind} file, got {type(data).__name__} from its read()"
        )

    async def aclose(self) -> None:
        self._finish()

    def _finish(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            close()

    def __del__(self) -> None:
        self._finish()  # who iterates over a writer may drop it half way


def _place(file: Any) -> int | None:
    """Where a file stands, as its `seek` takes it; None where it cannot go back."""
    try:
        place: int | None = file.tell() if file.seekable() else None
    except (AttributeError, OSError):
        return None
    return place


def _size_of(file: Any, start: int | None) -> int | None:
    """Bytes from `start` to the end, where the file system knows them.

    Not by seeking to the end: that would unpack the whole of a compressed file.
    """
    if start is None:
        return None
    if isinstance(file, SpooledTemporaryFile):
        end: int = file.seek(0, os.SEEK_END)
        file.seek(start)
        return max(0, end - start)
    inner = getattr(file, "file", file)  # of a named temporary file
    if isinstance(getattr(inner, "raw", inner), io.FileIO):
        status = os.fstat(inner.fileno())
        if stat.S_ISREG(status.st_mode):
            return max(0, status.st_size - start)
    return None
