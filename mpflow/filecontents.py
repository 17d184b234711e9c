"""Files that were given open as the body of a part that is sent.

Knows: how a file is read in worker threads, and what its name says.
Must not know: paths, who else reads an open file, headers as they are sent, where the bytes go.
"""

from __future__ import annotations

import codecs
import math
import os
import stat
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from anyio import current_time, to_thread

from mpflow.contents import Content, Reading, encode_text, guess_type, name_of, text_encoder
from mpflow.openfiles import READ_SIZE, OpenFile

__all__ = ["File", "FileReading", "TextFile"]

_PIECES: Final = 4
"""How many pieces are read at once, at most: a hop to a worker thread costs as much as one."""

_QUICK: Final = 0.002
"""Seconds: who uses up a piece of 1 MiB in so many would spend much of them on hops."""


class File(Content):
    """A binary file that was given open: read from where it stood, never closed."""

    def __init__(self, file: Any) -> None:
        self._open = OpenFile(file)
        self._size = self._open.size
        self.filename: str | None = name_of(file)
        self.content_type: str | None = guess_type(self.filename) or "application/octet-stream"

    @property
    def replayable(self) -> bool:
        return self._open.start is not None

    def size(self, charset: str) -> int | None:
        return self._size

    def check(self) -> None:
        self._open.check()

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        known = self._size is not None
        status = self._open.status if known else None
        return FileReading(self._open.begin(), ready=known, status=status)


class TextFile(File):
    """A text file that was given open: its text, in the charset of the part."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.content_type: str | None = (
            f"{guess_type(self.filename) or 'text/plain'}; charset=utf-8"
        )

    def open(self, charset: str, path: tuple[int, ...]) -> Reading:
        encoder = text_encoder(charset)
        return FileReading(self._open.begin(), encoder=encoder)


class FileReading:
    """Reads in worker threads; the text of a text file by `encoder`.

    Of a file that is `ready`, whose reads wait for nobody, several pieces are read at once, for
    as long as they are soon used up: who is slow has one at hand, and who is quick four.
    """

    def __init__(
        self,
        read: Callable[[], object],
        *,
        ready: bool = False,
        status: Callable[[], os.stat_result | None] | None = None,
        encoder: codecs.IncrementalEncoder | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self._read = read
        self._ready = ready
        self._status = status
        self.changed: int | None = None
        self._encoder = encoder
        self._close = close
        self._pieces: deque[bytes] = deque()
        self._count = 1  # of the pieces that are read at once
        self._read_at = -math.inf
        self._ended = False

    async def next(self) -> bytes:
        if not self._pieces and not self._ended:
            quick = self._ready and current_time() - self._read_at < self._count * _QUICK
            self._count = min(2 * self._count, _PIECES) if quick else 1
            await to_thread.run_sync(self._gather)
            self._read_at = current_time()
        return self._pieces.popleft() if self._pieces else b""

    def _gather(self) -> None:
        """Read on; in a worker thread."""
        self.changed = None
        self._read_on()
        # Afterwards: what was written until it was read shows in the times of the file.
        status = None if self._status is None else self._status()
        if status is not None and stat.S_ISREG(status.st_mode):
            self.changed = max(status.st_mtime_ns, status.st_ctime_ns)

    def _read_on(self) -> None:
        pieces = self._pieces
        while not self._ended:
            data = self._read()
            self._ended = not data
            if encoded := self._encoded(data):
                pieces.append(encoded)
            if pieces and not self._ready:
                return
            # Behind a piece that is not full there is but the end to be read.
            if len(pieces) >= self._count + (len(encoded) < READ_SIZE):
                return

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
