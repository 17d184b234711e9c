"""`Outgoing`: one pass over the parts that are to be sent, as chunks of bytes.

Knows: the order of parts, how small ones are joined, and that sizes must be true.
Must not know: how parts are made, or where the chunks go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import anyio

from mpflow.contents import Reading
from mpflow.errors import PartRef, WriteError
from mpflow.payloads import Payload
from mpflow.wire import BodyEnd, Encoder, PartBegin, PartData, PartEnd, WholePart

__all__ = ["More", "Outgoing"]

BATCH: Final = 64 * 1024
"""Small pieces are joined to chunks of about so many bytes."""

PASS: Final = 16 * 1024
"""A piece of so many bytes or more goes out as it is."""

MAX_CHUNK: Final = 1024 * 1024
"""No chunk is larger."""

More = tuple[Callable[[], Awaitable[Payload]], Callable[[], Awaitable[Any]] | None]
"""What gives the next payload, until `StopAsyncIteration`; and what closes it."""


class Outgoing:
    """An async iterator of the bytes of a multipart body: listed payloads, then `more`.

    Nothing is held back while it waits for somebody else: a stream, or the next of `more`.
    After a failure or a cancellation it cannot go on.
    """

    def __init__(
        self,
        boundary: str,
        payloads: Sequence[Payload],
        more: More | None,
        *,
        form: bool,
        close_boundary: bool = True,
        path: tuple[int, ...] = (),
        total: int | None = None,
    ) -> None:
        self._encoder = Encoder(boundary)
        self._listed = iter(payloads)
        self._more: Callable[[], Awaitable[Payload]] | None = None
        self._close_more: Callable[[], Awaitable[Any]] | None = None
        if more is not None:
            self._more, self._close_more = more
        self._form = form
        self._close_boundary = close_boundary
        self._path = path
        self._total = total  # what the message's own Content-Length says
        self._made = 0
        self._index = -1
        self._ready: deque[bytes] = deque()  # chunks to give out
        self._batch: list[bytes] = []
        self._batched = 0
        self._payload: Payload | None = None  # the one that `_reading` reads
        self._reading: Reading | None = None
        self._expected: int | None = None
        self._sent = 0
        self._state = ""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.next()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def next(self) -> bytes:
        """The next chunk, `b""` at the end."""
        while not self._ready:
            if self._state == "ended":
                return b""
            if self._state:
                raise WriteError(f"the body cannot be written on: {self._state}")
            self._state = "writing it failed or was cancelled, or goes on elsewhere"
            try:
                ended = await self._step()
                self._check_total(ended=ended)
            except BaseException as error:
                self._blame(error)
                with anyio.CancelScope(shield=True):
                    await self.aclose()
                raise
            self._state = "ended" if ended else ""
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Close what was opened to be read. Nothing that was given is closed.

        What was not given out by then never is.
        """
        if self._ready or not self._state:
            self._state = "it was closed"
        self._ready.clear()
        self._batch, self._batched = [], 0
        reading, self._reading = self._reading, None
        if reading is not None:
            await reading.aclose()
        close, self._close_more = self._close_more, None
        if close is not None:
            await close()

    # -- the parts ----------------------------------------------------------------------------

    async def _step(self) -> bool:
        """Go on by a piece; whether that was the last one."""
        if self._payload is not None:
            await self._read(self._payload)
            return False
        payload = next(self._listed, None)
        if payload is not None:
            self._begin(payload)
            return False
        if self._more is None:
            self._end()
            return True
        if self._batch:
            self._flush()
            return False
        try:
            payload = await self._more()
        except StopAsyncIteration:
            self._more = None
        else:
            self._begin(payload)
        return False

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
            self._reading = payload.open((*self._path, self._index))
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

    async def _read(self, payload: Payload) -> None:
        assert self._reading is not None
        prompt = payload.content.prompt
        if self._batch and not prompt:
            self._flush()
            return
        data = await self._reading.next()
        self._sent += len(data)
        if self._expected is not None and (
            self._sent > self._expected if data else self._sent < self._expected
        ):
            more = "more came" if data else f"{self._sent} came"
            raise WriteError(f"expected a body of {self._expected} bytes, and {more}")
        if data:
            self._put(self._encoder.send(PartData(data)))
            if not prompt:
                self._flush()
            return
        self._encoder.send(PartEnd())
        reading, self._reading = self._reading, None
        await reading.aclose()
        self._payload = None

    def _end(self) -> None:
        if self._close_boundary:
            self._put(self._encoder.send(BodyEnd()))
        elif self._index >= 0:
            self._put(b"\r\n")  # of the delimiter that somebody else writes next
        self._flush()

    def _check_total(self, *, ended: bool) -> None:
        if self._total is not None and (
            self._made > self._total or (ended and self._made < self._total)
        ):
            more = f"{self._made} came" if ended else "more came"
            raise WriteError(
                f"expected a message of {self._total} bytes, as its Content-Length says, and {more}"
            )

    def _blame(self, error: BaseException) -> None:
        if isinstance(error, WriteError) and error.part is None and self._payload is not None:
            try:
                head = self._payload.head()
                name, filename = head.name, head.filename
            except Exception:  # the headers themselves are at fault
                name = filename = None
            error.part = PartRef((*self._path, self._index), name, filename)

    # -- the chunks ---------------------------------------------------------------------------

    def _put(self, data: bytes) -> None:
        self._made += len(data)
        if len(data) < PASS:
            self._batch.append(data)
            self._batched += len(data)
            if self._batched >= BATCH:
                self._flush()
            return
        self._flush()
        if len(data) <= MAX_CHUNK:
            self._ready.append(data)
            return
        for start in range(0, len(data), MAX_CHUNK):
            self._ready.append(data[start : start + MAX_CHUNK])

    def _flush(self) -> None:
        if self._batched:
            self._ready.append(b"".join(self._batch))
        self._batch, self._batched = [], 0
