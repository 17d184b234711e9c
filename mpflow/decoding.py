"""`DecodedStream`: a body without its codings, mostly that of a part.

Knows: how much of a coding is undone on the event loop, and what belongs into a worker thread.
Must not know: any coding, what the bytes are taken for, flows.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final, Literal, Protocol, TypeAlias

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

from mpflow.errors import MultipartError, PartRef
from mpflow.pieces import Pieces
from mpflow.wire.codings import PIECE, Coding, Decoding
from mpflow.wire.limits import Limits

__all__ = ["DecodePolicy", "DecodedStream", "Source", "decode_whole", "decoding_of"]

DecodePolicy: TypeAlias = Literal["transfer", "all", "none"]
"""What is undone of a part that is stored: its transfer encoding, its codings too, or nothing."""

_BATCH: Final = 4
"""Pieces that a worker thread makes at once: a hop costs 0.1 ms, inflating them 0.3 to 1."""
_FEED: Final = 4 * PIECE
"""Bytes of the part that are taken at once, where so many are at hand."""
_CALLS: Final = 16
"""Calls that a worker thread makes at once, where nothing comes of what is given."""
_CALLS_AT_ONCE: Final = 4
"""Calls that are made on the event loop: the last one finds that nothing is left."""


class Source(Protocol):
    """What the stream needs of its part."""

    async def receive(self, max_bytes: int = ...) -> bytes: ...

    def check_current(self) -> None: ...

    def alive(self) -> None: ...


def decoding_of(codings: Sequence[Coding], limits: Limits, *, part: PartRef) -> Decoding:
    """What undoes these codings of a part. Raises `UnsupportedCoding` for a missing library."""
    try:
        return Decoding(
            codings, max_bytes=limits.max_decoded_bytes, max_ratio=limits.max_decoded_ratio
        )
    except MultipartError as error:
        error.part = part
        raise


def decode_whole(decoding: Decoding, data: bytes, most: int | None, *, part: PartRef) -> Pieces:
    """What comes of a whole body; more than `most` bytes by one piece at most."""
    pieces = Pieces()
    decoding.receive_data(data)
    try:
        while not decoding.is_done and (most is None or pieces.size <= most):
            if decoding.needs_data:
                decoding.receive_eof()
            pieces.add(decoding.next_data())
    except MultipartError as error:
        error.part = part
        raise
    return pieces


class DecodedStream(ByteReceiveStream):
    """A part's body without its codings.

    `receive` gives at most 64 KiB unless it is asked for more. Light codings are undone on the
    event loop. So is, of heavy ones, what comes first of a chunk of less than 64 KiB, 96 KiB at
    most; the rest, and what comes of chunks of 64 KiB, in worker threads, 256 KiB at most a time.
    That much is held beside what `receive` has left. A cancelled `receive` loses no byte. What is
    wrong with the codings is raised each time, `InvalidContent` or `LimitExceeded`, once what was
    undone before has been given out: all that is right of base64 and quoted-printable; of the
    others, up to 64 KiB less, by how the part came. So is whatever the part itself raises.
    """

    def __init__(
        self,
        source: Source,
        codings: Sequence[Coding],
        decoding: Decoding,
        *,
        part: PartRef | None,
    ) -> None:
        self._source = source
        self._decoding = decoding
        self._part = part
        self._heavy = any(coding.heavy for coding in codings)
        self._large = False  # whether what is at hand belongs into a thread
        self._ready: deque[bytes] = deque()
        self._ahead = b""
        self._start = 0
        self._error: MultipartError | None = None
        # A thread may outlive a receive that asyncio cancelled behind anyio's back.
        self._lock = threading.Lock()

    async def receive(self, max_bytes: int = PIECE) -> bytes:
        """The next bytes, at least one, at most `max_bytes`; see the class for what it raises."""
        if max_bytes < 1:
            raise ValueError(f"expected max_bytes of at least 1, got {max_bytes}")
        self._source.check_current()
        if not self._ahead:
            self._ahead = await self._next()
        else:
            self._source.alive()
        data, start = self._ahead, self._start
        end = start + max_bytes
        if end < len(data):
            self._start = end
            return data[start:end]
        self._ahead, self._start = b"", 0
        return data[start:] if start else data

    async def aclose(self) -> None:
        """Nothing to do: the part, which the stream reads, is closed by whoever has it."""

    async def gather(self, most: int | None) -> Pieces:
        """All that is left; more than `most` bytes by one piece at most.

        `put_back` takes what is refused.
        """
        pieces = Pieces()
        try:
            while most is None or pieces.size <= most:
                pieces.add(await self.receive())
        except anyio.EndOfStream:
            pass
        except BaseException:
            self.put_back(pieces)
            raise
        return pieces

    def put_back(self, pieces: Pieces) -> None:
        """Give back what was gathered: it comes again."""
        self._ahead, self._start = pieces.take() + self._ahead[self._start :], 0

    async def _next(self) -> bytes:
        while True:
            if self._lock.locked():
                await to_thread.run_sync(self._settle)
            if self._ready:
                return self._take()
            if self._error is not None:
                raise self._error
            decoding = self._decoding
            if decoding.is_done:
                raise anyio.EndOfStream
            if decoding.needs_data:
                await self._feed()
            await self._work()

    def _take(self) -> bytes:
        """What is ready, as it is: only small pieces are joined."""
        ready = self._ready
        if len(ready) > 1 and len(ready[0]) + len(ready[1]) <= PIECE:
            joined = b"".join(ready)
            ready.clear()
            return joined
        return ready.popleft()

    async def _feed(self) -> None:
        try:
            data = await self._source.receive(_FEED)
        except anyio.EndOfStream:
            self._decoding.receive_eof()
            self._large = False
        else:
            self._decoding.receive_data(data)
            self._large = len(data) >= PIECE

    async def _work(self) -> None:
        """Undo some of what is at hand; what comes of it is ready then."""
        self._source.alive()
        if self._heavy and self._large:
            await to_thread.run_sync(self._step, _CALLS, _BATCH * PIECE - PIECE)
        else:
            await checkpoint()
            self._step(_CALLS_AT_ONCE, PIECE // 2)
            # What is left of it, if any, belongs into a thread.
            self._large = not self._decoding.needs_data

    def _step(self, calls: int, enough: int) -> None:
        decoding, size = self._decoding, 0
        with self._lock:
            try:
                while calls and size <= enough:
                    if data := decoding.next_data():
                        self._ready.append(data)
                        size += len(data)
                    calls -= 1
                    if decoding.needs_data or decoding.is_done:
                        break
            except MultipartError as error:
                error.part = self._part
                self._error = error

    def _settle(self) -> None:
        with self._lock:
            pass
