"""`Spool`: a part that is kept while the flow is open, to be read as often as one likes.

Knows: how much of it may be in memory, and how long it is there.
Must not know: how bytes are kept in a file (`kept.py`).
"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import attrs
from anyio import to_thread
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

from mpflow import LimitExceeded, Part, PartRef
from mpflow_handlers.batches import BATCH_BYTES
from mpflow_handlers.cleanup import clean_up
from mpflow_handlers.kept import GONE, Kept, KeptFile, Room
from mpflow_handlers.sizes import size_of

__all__ = ["Spool", "Spooled"]

MIB: Final = 1024 * 1024
_BLOCK: Final = 256 * 1024
"""Bytes of a file that one visit to a worker thread reads."""
_BUFFER: Final = 64 * 1024


def _each(value: int | str | None) -> int | None:
    return size_of(value, option="max_memory of Spool")


def _total(value: int | str | None) -> int | None:
    return size_of(value, option="max_total_memory of Spool")


def _directory(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)


@attrs.define(eq=False, repr=False)
class Spooled:
    """A part that was kept: `size` bytes, to be read as often as one likes, from several places.

    It is there until the flow commits or rolls back, at the end of the block of `router.flow` or
    at `flow.commit()`. After that `open` and `read` raise `anyio.ClosedResourceError`, and so do
    streams that are open; `file` and open files raise `ValueError`.
    """

    _kept: Kept
    _part: PartRef

    @property
    def size(self) -> int:
        """Bytes of it."""
        return self._kept.size

    @property
    def is_in_memory(self) -> bool:
        """Whether it is in memory, and no temporary file was needed."""
        return self._kept.is_in_memory

    async def open(self) -> ByteReceiveStream:
        """A stream of it from its first byte. Each call gives another one."""
        await checkpoint()
        _refuse_gone(self._kept)
        return _SpooledStream(self._kept)

    async def read(self, *, limit: int | str | None = MIB) -> bytes:
        """All of it. More than `limit` bytes (1 MiB; None for any) raise `LimitExceeded`."""
        _refuse_gone(self._kept)
        most = size_of(limit, option="limit")
        if most is not None and self.size > most:
            text = f"expected a part of at most {most} bytes to gather in memory, got {self.size}"
            raise LimitExceeded("max_memory", most, message=text, part=self._part)
        return await _read(self._kept, 0, self.size)

    def file(self) -> io.BufferedReader:
        """A binary file of it that can seek, at its first byte. Each call gives another one.

        It is not for the event loop: reading it blocks, and belongs into a worker thread.
        """
        if self._kept.is_closed:
            raise ValueError(GONE)
        return io.BufferedReader(KeptFile(self._kept), _BUFFER)

    def __repr__(self) -> str:
        place = "in memory" if self.is_in_memory else "in a file"
        state = "gone" if self._kept.is_closed else place
        return f"<Spooled {self.size} bytes, {state}>"


class _SpooledStream(ByteReceiveStream):
    """A reader of what was kept, with a place of its own."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._at = 0
        self._ahead = b""  # what was read from `_at` on
        self._is_closed = False

    async def receive(self, max_bytes: int = _BUFFER) -> bytes:
        if max_bytes < 1:
            raise ValueError(f"expected max_bytes of at least 1, got {max_bytes}")
        if self._is_closed:
            raise anyio.ClosedResourceError("this stream was closed")
        if self._ahead:
            await checkpoint()
            _refuse_gone(self._kept)
        else:
            self._ahead = await _read(self._kept, self._at, _BLOCK)
        if not self._ahead:
            raise anyio.EndOfStream
        data, self._ahead = self._ahead[:max_bytes], self._ahead[max_bytes:]
        self._at += len(data)
        return data

    async def aclose(self) -> None:
        self._is_closed = True
        self._ahead = b""


@attrs.frozen
class Spool:
    """Keeps the part while the flow is open; gives `Spooled`, which is read again and again.

    For what cannot be done while a part arrives: a library that seeks (zipfile, Pillow), a second
    look, a part that another one's handler needs. Up to `max_memory` bytes of a part are kept in
    memory; past that, or once all parts that this `Spool` keeps, in any flow, have
    `max_total_memory` in memory, the part is in a temporary file in `directory`, by default the
    system's. `max_memory=0` keeps all in files, None puts no bound on a part.

    The bytes are those that `Save` stores: without their transfer encoding, with their content
    coding, unless the route's `decode` says otherwise. File I/O is done in worker threads, in
    batches of 0.5 MiB. At most 64 files of a flow are held open, and have no name; more than that
    have a random one that begins with `mpflow-`, and are opened while somebody reads. All are gone
    with the commit or the rollback; only a process that is killed may leave those that have a
    name. How large they get is bounded by `max_part_bytes` and `max_total_bytes`. What the system
    refuses (a full disk) is its `OSError`.
    """

    max_memory: int | None = attrs.field(default=MIB, converter=_each)
    max_total_memory: int | None = attrs.field(default=16 * MIB, converter=_total, kw_only=True)
    directory: Path | None = attrs.field(default=None, converter=_directory, kw_only=True)
    _room: Room = attrs.field(
        default=attrs.Factory(lambda self: Room(self.max_total_memory), takes_self=True),
        init=False,
        eq=False,
        repr=False,
    )

    @asynccontextmanager
    async def __call__(self, part: Part) -> AsyncGenerator[Spooled, None]:
        filling = _Filling(self, part)
        try:
            await filling.fill(part.stored())
            yield Spooled(filling.kept, part.info.ref)
        finally:
            await filling.close()


@attrs.define(eq=False)
class _Filling:
    """One part on its way into memory, and on into a file."""

    spool: Spool
    part: Part
    kept: Kept = attrs.field(factory=Kept, init=False)
    taken: int = attrs.field(default=0, init=False)
    """Bytes of the room that are taken."""
    uses_file: bool = attrs.field(default=False, init=False)

    async def fill(self, stream: ByteReceiveStream) -> None:
        async for data in stream:
            if not self._take(len(data)):
                await self._spill(data, stream)
                return
            self.kept.add(data)

    def _take(self, size: int) -> bool:
        most = self.spool.max_memory
        if most is not None and self.taken + size > most:
            return False
        if not _room_of(self.spool).take(size):
            return False
        self.taken += size
        return True

    async def _spill(self, data: bytes, stream: ByteReceiveStream) -> None:
        self.uses_file = True
        hold = self.part.hold_descriptor()
        await to_thread.run_sync(partial(self.kept.spill, self.spool.directory, hold=hold))
        self._give()
        batch = bytearray(data)
        async for more in stream:
            if len(batch) >= BATCH_BYTES:
                await to_thread.run_sync(self.kept.write, batch)
                batch = bytearray()
            batch += more
        await to_thread.run_sync(self._finish, batch)

    def _finish(self, batch: bytearray) -> None:
        self.kept.write(batch)
        self.kept.rest()

    def _give(self) -> None:
        taken, self.taken = self.taken, 0
        _room_of(self.spool).give(taken)

    async def close(self) -> None:
        try:
            if self.uses_file:
                await clean_up(self.kept.close)
            else:
                self.kept.close()
        finally:
            self._give()


def _room_of(spool: Spool) -> Room:
    return spool._room  # pyright: ignore[reportPrivateUsage] # ours alone


async def _read(kept: Kept, at: int, size: int) -> bytes:
    _refuse_gone(kept)
    try:
        if kept.is_in_memory:
            await checkpoint()
            return kept.read(at, size)
        return await to_thread.run_sync(kept.read, at, size)
    except ValueError:
        _refuse_gone(kept)
        raise


def _refuse_gone(kept: Kept) -> None:
    if kept.is_closed:
        raise anyio.ClosedResourceError(GONE)
