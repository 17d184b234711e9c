"""`Spool`: bodies of parts, kept in one temporary file until they are asked for.

Knows: the file, and how much may be in it. Must not know: which parts are kept, or why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from tempfile import TemporaryFile
from threading import Lock
from typing import IO

import anyio
from anyio import to_thread

from mpflow.errors import BrokenSource, LimitExceeded, PartRef
from mpflow.part import Part
from mpflow.pieces import Pieces

__all__ = ["Keeping", "Spool", "SpooledBody"]

BLOCK = 256 * 1024
"""Bytes that one visit to a worker thread writes or reads at most."""


class Spool:
    """One temporary file, made with the first byte and gone when it is closed.

    It holds at most `limit` bytes (None for any number); past it `LimitExceeded` names
    `max_spool_bytes`. Several parts may be kept at once. All file I/O is done in worker threads.
    What cannot be written is the system's `OSError`, what cannot be read again `BrokenSource`.
    """

    def __init__(self, limit: int | None) -> None:
        self.size: int = 0
        """Bytes that were kept, or are about to be."""
        self._limit = limit
        self._end = 0  # of what has its place in the file
        self._file: IO[bytes] | None = None
        self._lock = Lock()
        self._users = 0  # threads at work on the file
        self._closed = False

    def begin(self, part: PartRef) -> Keeping:
        """Begin to keep a part."""
        return Keeping(self, part)

    async def keep(self, part: Part) -> SpooledBody:
        """Read what is left of a part into the file; its body, to be read again."""
        keeping = self.begin(part.info.ref)
        while True:
            try:
                data = await part.receive()
            except anyio.EndOfStream:
                return await keeping.end()
            await keeping.add(data)

    def count(self, size: int, part: PartRef) -> None:
        """Count bytes that are to be kept."""
        if self._limit is not None and self.size + size > self._limit:
            raise LimitExceeded(
                "max_spool_bytes",
                self._limit,
                message=f"expected at most {self._limit} bytes of parts that have to be kept, "
                "and more came",
                part=part,
            )
        self.size += size

    async def add(self, data: bytes) -> tuple[int, int]:
        """Write a block; where it begins and ends."""
        # Its place is taken before it is written: another part may be kept meanwhile.
        start, self._end = self._end, self._end + len(data)
        await to_thread.run_sync(self._write, data, start)
        return start, start + len(data)

    async def read(self, at: int, size: int) -> bytes:
        """The bytes that stand at `at`, at most `BLOCK` of them."""
        return await to_thread.run_sync(self._read, at, min(size, BLOCK))

    def _write(self, data: bytes, at: int) -> None:
        with self._in_use() as fd:
            left = memoryview(data)
            while left:
                done = os.pwrite(fd, left, at)
                left, at = left[done:], at + done

    def _read(self, at: int, size: int) -> bytes:
        # No handler's failure, which a route may collect: the body itself cannot be read on.
        with self._in_use() as fd:
            try:
                data = os.pread(fd, size, at)
            except OSError as error:
                got = error.strerror or type(error).__name__
                raise BrokenSource(f"expected what was kept of the part, got: {got}") from error
        if not data:
            raise BrokenSource("expected what was kept of the part, got the end of its file")
        return data

    @contextmanager
    def _in_use(self) -> Generator[int]:
        """The descriptor, which stays that of the file as long as a thread uses it.

        On asyncio a task may be cancelled past all scopes. Then nobody waits for its thread, and
        the file may be closed while that is at work.
        """
        with self._lock:
            self._refuse_closed()
            if self._file is None:
                self._file = TemporaryFile(prefix="mpflow-")  # noqa: SIM115 - closed by `close`
            file = self._file
            self._users += 1
        try:
            yield file.fileno()
        finally:
            with self._lock:
                self._users -= 1
                self._close_unused()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError("what was kept of the parts is gone: it was closed")

    def close(self) -> None:
        """Close the file, which removes it; if a thread still uses it, that does it at its end."""
        with self._lock:
            self._closed = True
            self._close_unused()

    def _close_unused(self) -> None:
        if self._closed and not self._users and self._file is not None:
            file, self._file = self._file, None
            file.close()


class Keeping:
    """A part that is being kept: `add` its bytes, then `end` it."""

    __slots__ = ("_blocks", "_part", "_pieces", "_spool")

    def __init__(self, spool: Spool, part: PartRef) -> None:
        self._spool = spool
        self._part = part
        self._pieces = Pieces()
        self._blocks: list[tuple[int, int]] = []

    async def add(self, data: bytes) -> None:
        """Add bytes; they are written once enough of them have gathered."""
        self._spool.count(len(data), self._part)
        self._pieces.add(data)
        if self._pieces.size >= BLOCK:
            await self._flush()

    async def _flush(self) -> None:
        self._blocks.append(await self._spool.add(self._pieces.take()))

    async def end(
        self,
        *,
        on_read: Callable[[], None] | None = None,
        on_error: Callable[[BrokenSource], None] | None = None,
    ) -> SpooledBody:
        """Write what is left; the body, to be read again.

        `on_read` is called at each read, `on_error` with what one fails with.
        """
        if self._pieces.size:
            await self._flush()
        return SpooledBody(self._spool, tuple(self._blocks), on_read, on_error)


class SpooledBody:
    """The body of a part that was kept: what `Part` reads from. `fresh` begins it anew."""

    __slots__ = ("_at", "_blocks", "_next", "_on_error", "_on_read", "_spool")

    def __init__(
        self,
        spool: Spool,
        blocks: tuple[tuple[int, int], ...],
        on_read: Callable[[], None] | None = None,
        on_error: Callable[[BrokenSource], None] | None = None,
    ) -> None:
        self._spool = spool
        self._blocks = blocks
        self._on_read = on_read
        self._on_error = on_error
        self._next = 0  # which block is read
        self._at = 0  # how much of it was

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(end - start for start, end in self._blocks)

    def fresh(self) -> SpooledBody:
        """The same body from its first byte."""
        return SpooledBody(self._spool, self._blocks, self._on_read, self._on_error)

    async def receive(self) -> bytes:
        if self._next == len(self._blocks):
            raise anyio.EndOfStream
        start, end = self._blocks[self._next]
        try:
            data = await self._spool.read(start + self._at, end - start - self._at)
        except BrokenSource as error:
            if self._on_error is not None:
                self._on_error(error)
            raise
        self._at += len(data)
        if start + self._at == end:
            self._next, self._at = self._next + 1, 0
        if self._on_read is not None:
            self._on_read()
        return data
