"""`Spool`: bodies of parts, kept in one temporary file until they are asked for.

Knows: the file, and how much may be in it. Must not know: which parts are kept, or why.
"""

from __future__ import annotations

import os
from tempfile import TemporaryFile
from typing import IO

import anyio
from anyio import to_thread

from mpflow.errors import LimitExceeded
from mpflow.part import Part

__all__ = ["Spool", "SpooledBody"]

BLOCK = 256 * 1024
"""Bytes that one visit to a worker thread writes or reads at most."""


class Spool:
    """One temporary file, made with the first byte and gone when it is closed.

    It holds at most `limit` bytes (None for any number); past it `LimitExceeded` names
    `max_spool_bytes`. All file I/O is done in worker threads.
    """

    def __init__(self, limit: int | None) -> None:
        self.size: int = 0
        """Bytes in the file."""
        self._limit = limit
        self._file: IO[bytes] | None = None
        self._closed = False

    async def keep(self, part: Part) -> SpooledBody:
        """Read what is left of a part into the file; its body, to be read again."""
        start, block, held = self.size, list[bytes](), 0
        while True:
            try:
                data = await part.receive()
            except anyio.EndOfStream:
                break
            self._count(part, held + len(data))
            block.append(data)
            held += len(data)
            if held >= BLOCK:
                await self._add(b"".join(block))
                block, held = [], 0
        if held:
            await self._add(b"".join(block))
        return SpooledBody(self, start, self.size)

    def _count(self, part: Part, more: int) -> None:
        if self._limit is not None and self.size + more > self._limit:
            raise LimitExceeded(
                "max_spool_bytes",
                self._limit,
                message=f"expected at most {self._limit} bytes of parts that have to be kept, "
                "and more came",
                part=part.info.ref,
            )

    async def _add(self, data: bytes) -> None:
        self._refuse_closed()
        await to_thread.run_sync(self._write, data, self.size)
        self.size += len(data)

    def _write(self, data: bytes, at: int) -> None:
        if self._file is None:
            self._file = TemporaryFile(prefix="mpflow-")  # noqa: SIM115 - closed by `close`
        left = memoryview(data)
        while left:
            done = os.pwrite(self._file.fileno(), left, at)
            left, at = left[done:], at + done

    async def read(self, at: int, size: int) -> bytes:
        """The bytes that stand at `at`, at most `BLOCK` of them."""
        self._refuse_closed()
        file = self._file
        assert file is not None  # nobody asks for what was never written
        return await to_thread.run_sync(os.pread, file.fileno(), min(size, BLOCK), at)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError("what was kept of the parts is gone: it was closed")

    def close(self) -> None:
        """Close the file, which removes it."""
        self._closed = True
        file, self._file = self._file, None
        if file is not None:
            file.close()


class SpooledBody:
    """The body of a part that was kept: what `Part` reads from. `fresh` begins it anew."""

    __slots__ = ("_at", "_end", "_spool", "_start")

    def __init__(self, spool: Spool, start: int, end: int) -> None:
        self._spool = spool
        self._start = self._at = start
        self._end = end

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return self._end - self._start

    def fresh(self) -> SpooledBody:
        """The same body from its first byte."""
        return SpooledBody(self._spool, self._start, self._end)

    async def receive(self) -> bytes:
        if self._at >= self._end:
            raise anyio.EndOfStream
        data = await self._spool.read(self._at, self._end - self._at)
        self._at += len(data)
        return data
