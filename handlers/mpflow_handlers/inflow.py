"""Bytes on their way from an event loop to a thread, which reads them as a file.

Knows: how a thread waits for an event loop, and an event loop for a thread.
Must not know: parts, or what the thread does with the bytes.
"""

from __future__ import annotations

import errno
import io
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import EventLoopToken, current_token

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Inflow", "InflowFile"]

HELD: Final = 256 * 1024
"""Bytes that may wait for the thread, beside the piece that came last."""


class Inflow:
    """The bytes of a stream for the thread that reads them, and for threads that it starts.

    `pump` fills it, on the event loop; `read_into` empties it, in any thread. A `limiter` bounds
    how many threads are at work at once: whoever waits for bytes gives its place up until they
    are there. So whoever has one can go on, and no number is too small.
    """

    def __init__(self, limiter: anyio.CapacityLimiter | None = None) -> None:
        self.error: Exception | None = None
        """What the stream raised, once a thread was told so."""
        self._limiter = limiter
        self._has_place = False
        # A virtual clock that counts threads at work, if one does: it stands still for them, so it
        # has to hear which of them only wait.
        self._busy: Any = getattr(to_thread.run_sync, "busy", None)
        self._paused = False
        self._call_soon = _call_soon(current_token())
        self._changed = threading.Condition()
        self._pieces: deque[memoryview] = deque()
        self._size = 0
        self._ended = False
        self._failure: Exception | None = None
        self._closed: str | None = None
        self._waiting = 0  # threads that wait for bytes
        self._room: anyio.Event | None = None  # for which the pump waits

    # -- on the event loop --------------------------------------------------------------------

    async def begin(self) -> None:
        """Wait until the thread may be at work."""
        if self._limiter is not None and not self._has_place:
            await self._limiter.acquire_on_behalf_of(self)
            self._has_place = True
        self._resume()

    async def pump(self, stream: ByteReceiveStream) -> None:
        """Receive the stream for the thread, until cancelled."""
        failure: Exception | None = None
        try:
            while True:
                await self._wait_for_room()
                data = await stream.receive()
                await self.begin()
                self._put(data)
        except anyio.EndOfStream:
            pass
        except Exception as error:
            failure = error
        await self.begin()
        with self._changed:
            self._ended, self._failure = True, failure
            self._changed.notify_all()
        # What the thread does after the end is cancelled by `close`, too.
        await anyio.sleep_forever()

    async def _wait_for_room(self) -> None:
        with self._changed:
            if self._size < HELD:
                return
            room = self._room = anyio.Event()
        await room.wait()

    def _put(self, data: bytes) -> None:
        with self._changed:
            self._pieces.append(memoryview(data))
            self._size += len(data)
            self._changed.notify_all()

    def _on_wake(self) -> None:
        """A thread waits for bytes, or has made room for more."""
        with self._changed:
            is_over = self._ended or self._closed is not None
            is_hungry = self._waiting and not self._pieces and not is_over
            room, self._room = (self._room, None) if self._size < HELD else (None, self._room)
        if is_hungry:
            self._give_place()
            self._pause()
        if room is not None:
            room.set()

    def _give_place(self) -> None:
        if self._limiter is not None and self._has_place:
            self._has_place = False
            self._limiter.release_on_behalf_of(self)

    def _pause(self) -> None:
        if self._busy is not None and not self._paused:
            self._paused = True
            self._busy.add(-1)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._busy.add(1)

    def stop(self) -> None:
        """Nobody pumps any more: a thread that still reads fails at once.

        One at work keeps its place until it ends: it cannot be interrupted. One that waited for
        bytes has none by now, and gets none to fail in.
        """
        self.close("the part is over for its handler: it was cancelled, or has ended")
        self._resume()

    def end(self) -> None:
        """The thread has ended, or was never started: its place is free."""
        self.stop()
        self._give_place()

    # -- in threads ---------------------------------------------------------------------------

    def close(self, why: str) -> None:
        """Whoever reads from now on gets an `OSError` that says why."""
        with self._changed:
            if self._closed is None:
                self._closed = why
            self._pieces.clear()
            self._changed.notify_all()

    def read_into(self, out: memoryview) -> int:
        """Take bytes, at least one; 0 at the end, once the stream is whole. It blocks.

        Raises `OSError`: `EIO` with what the stream raised as its cause, `ECANCELED` once it is
        closed.
        """
        with self._changed:
            while not self._pieces:
                self._refuse_over()
                if self._ended:
                    return 0
                self._waiting += 1
                try:
                    if self._limiter is not None or self._busy is not None:
                        self._wake()
                    self._changed.wait()
                finally:
                    self._waiting -= 1
            return self._take(out)

    def _refuse_over(self) -> None:
        if self._closed is not None:
            raise OSError(errno.ECANCELED, self._closed)
        if self._failure is not None:
            self.error = self._failure
            text = f"the rest of the part does not come: {self._failure}"
            raise OSError(errno.EIO, text) from self._failure

    def _take(self, out: memoryview) -> int:
        piece = self._pieces[0]
        count = min(len(piece), len(out))
        out[:count] = piece[:count]
        if count == len(piece):
            self._pieces.popleft()
        else:
            self._pieces[0] = piece[count:]
        self._size -= count
        if self._room is not None and self._size <= HELD // 2:
            self._wake()
        return count

    def _wake(self) -> None:
        try:
            self._call_soon(self._on_wake)
        except RuntimeError:  # the event loop has ended, and left a thread of a library behind
            self._closed = "the event loop has ended"
            self._refuse_over()


class InflowFile(io.RawIOBase):
    """What comes in, as a file that cannot seek."""

    def __init__(self, inflow: Inflow) -> None:
        super().__init__()
        self._inflow = inflow

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into the buffer; how many bytes, 0 at the end. It blocks until there are some."""
        if self.closed:
            raise ValueError("expected an open file, and it is closed: its function has ended")
        with memoryview(buffer).cast("B") as out:
            return self._inflow.read_into(out) if len(out) else 0

    def readall(self) -> bytes:
        """All that is left."""
        return b"".join(iter(lambda: self.read(65536), b""))


def _call_soon(token: EventLoopToken) -> Callable[[Callable[[], object]], object]:
    """How a thread has the event loop call something, without waiting for it."""
    native: Any = token.native_token
    # Of an asyncio loop, and of trio.
    name = "call_soon_threadsafe" if hasattr(native, "call_soon_threadsafe") else "run_sync_soon"
    call: Callable[[Callable[[], object]], object] = getattr(native, name)
    return call
