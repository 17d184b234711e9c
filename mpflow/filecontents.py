"""Files that were given open as the body of a part that is sent.

Knows: how a file is read in worker threads, and what its name says.
Must not know: paths, who else reads an open file, headers as they are sent, where the bytes go.
"""

from __future__ import annotations

import codecs
import math
import os
import stat
from collections.abc import Callable
from typing import Any, Final

from anyio import current_time, to_thread
from anyio.lowlevel import checkpoint

from mpflow.contents import Content, Reading, encode_text, guess_type, name_of, text_encoder
from mpflow.openfiles import READ_SIZE, OpenFile, Read, ReadCached
from mpflow.waitedreads import WaitedReading, can_be_waited_for

__all__ = ["File", "FileReading", "TextFile"]

_MOST: Final = 4
"""How many times `READ_SIZE` is read at once, at most.

A hop to a worker thread costs as much as reading `READ_SIZE`. And it is one piece then, not four:
memory that was used for the piece before is still at hand, and more is not.
"""

_QUICK: Final = 0.002
"""Seconds: who uses up `READ_SIZE` in so many would spend much of them on hops."""


class File(Content):
    """A binary file that was given open: read from where it stood, never closed."""

    def __init__(self, file: Any) -> None:
        self._open = OpenFile(file)
        self._file = file
        self._size = self._open.size
        self.filename: str | None = name_of(file)
        self.content_type: str | None = guess_type(self.filename) or "application/octet-stream"

    @property
    def replayable(self) -> bool:
        return self._open.start is not None

    @property
    def prompt(self) -> bool:
        return not self._open.waits

    def size(self, charset: str) -> int | None:
        return self._size

    def check(self) -> None:
        self._open.check()

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        known = self._size is not None
        status = self._open.status if known else None
        read, cached = self._open.begin()
        if self._open.waits and can_be_waited_for(self._file):
            return WaitedReading(self._file, check=self._open.check_turn())
        return FileReading(read, cached=cached, ready=known, status=status)


class TextFile(File):
    """A text file that was given open: its text, in the charset of the part."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.content_type: str | None = (
            f"{guess_type(self.filename) or 'text/plain'}; charset=utf-8"
        )

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        encoder = text_encoder(charset)
        read, _ = self._open.begin()
        return FileReading(read, encoder=encoder)


class FileReading:
    """Reads in worker threads, by `read(size)`; the text of a text file by `encoder`.

    What `cached` gives is read at once, on the event loop: it waits for nothing.
    Of a file that is `ready`, whose reads wait for nobody, a piece grows for as long as pieces are
    soon used up: who is slow has `READ_SIZE` at hand, and who is quick four times that.
    """

    def __init__(
        self,
        read: Read,
        *,
        cached: ReadCached | None = None,
        ready: bool = False,
        status: Callable[[], os.stat_result | None] | None = None,
        encoder: codecs.IncrementalEncoder | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self._read = read
        self._read_cached = cached
        self._ready = ready
        self._status = status
        self.changed: int | None = None
        self._encoder = encoder
        self._close = close
        self._times = 1  # how many times READ_SIZE is read at once
        self._read_at = -math.inf
        self._begun = self._ended = False

    async def next(self) -> bytes:
        if self._ended:
            return b""
        if self._begun and self._read_cached is not None and (piece := self._read_cached()):
            self._look()
            await checkpoint()
            return piece
        quick = self._ready and current_time() - self._read_at < self._times * _QUICK
        self._times = min(2 * self._times, _MOST) if quick else 1
        piece = await to_thread.run_sync(self._read_on)
        self._read_at = current_time()
        self._begun = True
        return piece

    def _read_on(self) -> bytes:
        """The next piece, and what the system says of it; in a worker thread."""
        size = self._times * READ_SIZE
        piece = self._read_some(size)
        # Behind a piece that is not full there is but the end to be read, and no hop for that.
        if self._ready and piece and len(piece) < size:
            piece += self._read_some(size)
        self._look()
        return piece

    def _look(self) -> None:
        """Afterwards: what was written until it was read shows in the times of the file."""
        status = None if self._status is None else self._status()
        regular = status is not None and stat.S_ISREG(status.st_mode)
        self.changed = max(status.st_mtime_ns, status.st_ctime_ns) if status and regular else None

    def _read_some(self, size: int) -> bytes:
        """At least a byte, unless that was the end."""
        while not self._ended:
            data = self._read(size)
            self._ended = not data
            if encoded := self._encoded(data):
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
