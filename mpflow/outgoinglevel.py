"""`Level`: one multipart level as it is written, its small pieces joined to chunks.

Knows: the order of its parts, how small ones are joined, and that sizes must be true.
Must not know: the levels around it or inside, how parts are made, or where the chunks go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from mpflow.contents import Reading
from mpflow.errors import PartRef, WriteError
from mpflow.payloads import Payload
from mpflow.wire import BodyEnd, Encoder, PartBegin, PartData, PartEnd, WholePart

__all__ = ["Level", "More"]

BATCH: Final = 64 * 1024
"""Small pieces are joined to chunks of about so many bytes."""

PASS: Final = 16 * 1024
"""A piece of so many bytes or more goes out as it is."""

MAX_CHUNK: Final = 4 * 1024 * 1024
"""No chunk is larger."""

_MARGIN: Final = 2_000_000_000
"""Nanoseconds: file systems round their times, and clocks of other machines differ."""

More: TypeAlias = tuple[Callable[[], Awaitable[Payload]], Callable[[], Awaitable[Any]] | None]
"""What gives the next payload, until `StopAsyncIteration`; and what closes it."""


class Level:
    """The parts of one writer: listed payloads, then `more`. `step` makes chunks `ready`.

    `made_at` is when the boundary was made at random (nanoseconds of the wall clock; None for one
    that was given). A file whose times say that it was changed before that is not searched. They
    do not tell of what is written through a shared memory map, nor after a clock that was put back
    by more than two seconds: who would break the body so has to know the boundary by then.
    `writer` tells its level from others. While its part is another writer's level, that one is
    stepped instead, and `take` gets what comes of it, `b""` at its end.
    """

    def __init__(
        self,
        writer: object,
        boundary: str,
        payloads: Sequence[Payload],
        more: More | None,
        *,
        form: bool,
        made_at: int | None = None,
        close_boundary: bool = True,
        path: tuple[int, ...] = (),
    ) -> None:
        self.writer = writer
        self._newest = None if made_at is None else made_at - _MARGIN
        self._encoder = Encoder(boundary)
        self._listed = payloads
        self._more: Callable[[], Awaitable[Payload]] | None = None
        self._close_more: Callable[[], Awaitable[Any]] | None = None
        if more is not None:
            self._more, self._close_more = more
        self._form = form
        self._close_boundary = close_boundary
        self._path = path
        self.ready: deque[bytes] = deque()
        """Chunks to give out."""
        self.made: int = 0
        """Bytes of all chunks, those to come of the batch as well."""
        self.ended: bool = False
        self.reading: Reading | None = None
        """What reads the part that is open, if one is."""
        self._payload: Payload | None = None  # the one that is at hand
        self._batch: list[bytes] = []
        self._batched = 0
        self._index = -1
        self._expected: int | None = None
        self._sent = 0

    @property
    def waits(self) -> bool:
        """Whether the next step waits for somebody else: a stream, or the next of `more`."""
        if self.reading is not None:
            return self._payload is not None and not self._payload.content.prompt
        return self._more is not None and self._index + 1 >= len(self._listed)

    async def step(self) -> None:
        """Go on by a piece, or by parts that are in memory until they make a chunk."""
        if self.reading is not None:
            reading = self.reading
            data = await reading.next()
            changed: int | None = getattr(reading, "changed", None)
            is_older = changed is not None and self._newest is not None and changed < self._newest
            self.take(data, is_older=is_older)
            if not data:
                await reading.aclose()
            return
        if self._index + 1 < len(self._listed):
            while self._index + 1 < len(self._listed) and not (self.ready or self.reading):
                self._begin(self._listed[self._index + 1])
            return
        if self._more is None:
            self._end()
            return
        try:
            payload = await self._more()
        except StopAsyncIteration:
            self._more = None
        except WriteError as error:
            if error.part is None:
                error.part = PartRef((*self._path, self._index + 1))
            raise
        else:
            self._begin(payload)

    def take(self, data: bytes, *, is_older: bool = False) -> None:
        """A piece of the part that is open, `b""` at its end; whether it precedes the boundary."""
        self._sent += len(data)
        if self._expected is not None and (
            self._sent > self._expected if data else self._sent < self._expected
        ):
            more = "more came" if data else f"{self._sent} came"
            raise WriteError(f"expected a body of {self._expected} bytes, and {more}")
        if data:
            send = self._encoder.send_older
            self._put(send(data) if is_older else self._encoder.send(PartData(data)))
            return
        self._encoder.send(PartEnd())
        self._payload = self.reading = None

    def flush(self) -> None:
        """Make a chunk of what waits for more."""
        if self._batched:
            self.ready.append(b"".join(self._batch))
        self._batch, self._batched = [], 0

    def blame(self, error: BaseException) -> None:
        """Name the part at hand in an error that names none."""
        if self._payload is not None:
            self._payload.blame(error, (*self._path, self._index))

    async def aclose(self) -> None:
        """Close what was opened to be read, and forget what was not given out."""
        self.ready.clear()
        self._batch, self._batched = [], 0
        reading, self.reading = self.reading, None
        close, self._close_more = self._close_more, None
        try:
            if reading is not None:
                await reading.aclose()
        finally:
            if close is not None:
                await close()

    def _begin(self, payload: Payload) -> None:
        self._index += 1
        self._payload = payload
        payload.check()
        head = payload.head(form=self._form)
        self._expected, self._sent = payload.expected(), 0
        data = payload.data()
        if data is not None and self._expected not in (None, len(data)):
            raise WriteError(
                f"expected a body of {self._expected} bytes, as its Content-Length says, "
                f"got {len(data)}"
            )
        if data is None:
            self._put(self._encoder.send(PartBegin(head)))
            self.reading = payload.open((*self._path, self._index))
            return
        if len(data) < PASS:
            self._put(self._encoder.send(WholePart(head, data)))
        else:  # not copied; and checked as a whole before a chunk of it is given out
            begin = self._encoder.send(PartBegin(head))
            body = self._encoder.send(PartData(data))
            self._encoder.send(PartEnd())
            self._put(begin)
            self._put(body)
        self._payload = None

    def _end(self) -> None:
        if self._close_boundary:
            self._put(self._encoder.send(BodyEnd()))
        elif self._index >= 0:
            self._put(b"\r\n")  # of the delimiter that somebody else writes next
        self.flush()
        self.ended = True

    def _put(self, data: bytes) -> None:
        self.made += len(data)
        if len(data) < PASS:
            self._batch.append(data)
            self._batched += len(data)
            if self._batched >= BATCH:
                self.flush()
            return
        self.flush()
        if len(data) <= MAX_CHUNK:
            self.ready.append(data)
            return
        for start in range(0, len(data), MAX_CHUNK):
            self.ready.append(data[start : start + MAX_CHUNK])
