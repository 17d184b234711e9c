"""`Channel`: the bytes of one part that is still open, from the pump to its handler.

Knows: how much may wait in it. Must not know: parts, routes, or who is at either end.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from mpflow.flow.wake import Wake
from mpflow.flow.watch import Watch
from mpflow.pieces import Pieces

__all__ = ["CHANNEL_SIZE", "KEEPS_UP", "MAX_AHEAD", "Channel"]

CHANNEL_SIZE: Final = 65536
"""Bytes of the largest piece that is taken from a channel."""

MAX_AHEAD: Final = 7
"""Such pieces that wait in the channel of an open part at most, beside the one that is filled."""

KEEPS_UP: Final = 0.001
"""Seconds in which a receiver that keeps up takes all of a full channel."""


class Channel:
    """A memory channel bounded in bytes, for one sender and one receiver.

    The sender may go on when its bytes are in and no more than `CHANNEL_SIZE` bytes wait: so it
    puts in the next piece while the receiver takes the last one, and neither waits for the other.

    One whose receiver keeps up takes more before it is full: twice as much each time that it was
    full and soon empty, up to `most` pieces and one. Turns are a third of what a large part costs.
    A receiver that is slow, or computes for long, has as little as before, and others their turns.

    Small ones gather, and come out in one piece of `CHANNEL_SIZE` bytes at most. A larger one,
    which its sender would have to keep, waits here and is cut as it is taken: so it needs one turn
    of the sender, not one a cut. A receiver that is gone costs nothing: what is sent to it is
    dropped.
    """

    __slots__ = (
        "_at", "_blocks", "_closed", "_ended", "_error", "_full_at", "_item", "_large", "_most",
        "_pieces", "_room", "_watch", "ahead", "told",
    )  # fmt: skip

    def __init__(self, watch: Watch, *, most: int = 1) -> None:
        self._watch = watch
        self._most = most
        self.ahead: int = 1
        """Blocks that fill it; one where what is put in is dropped."""
        self._full_at: float | None = None  # None: not since the receiver found nothing in it
        self._blocks: deque[bytes] = deque()  # each gathered when a piece came that did not fit in
        self._pieces = Pieces()  # behind them
        self._large = b""  # behind these, from `_at` on
        self._at = 0
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._item: Wake | None = None
        self._room: Wake | None = None
        self.told: BaseException | None = None
        """What the receiver was given in place of the end."""

    # -- the pump's end -----------------------------------------------------------------------

    def put(self, data: bytes) -> bool:
        """Put a piece in; True if there is room for another one, False if `wait` must be called."""
        if self._closed or self._error is not None:
            return True
        pieces = self._pieces
        if self._item is not None and not pieces.size:
            self._item.set()  # else it is set: who finds nothing waits, and was woken by the first
        if len(data) > CHANNEL_SIZE:
            self._large, self._at = data, 0
        elif pieces.size + len(data) > CHANNEL_SIZE:
            self._blocks.append(pieces.swap(data))
        else:
            pieces.add(data)
        return len(self._blocks) < self.ahead and not self._large

    async def wait(self) -> None:
        """Wait until no more than `CHANNEL_SIZE` bytes wait, or the receiver is gone."""
        self._full_at = self._watch.now()
        if self.ahead > 1:
            # A receiver that keeps up is about to take all: to look again after one turn costs
            # half of being woken, for both then run in the same pass of the event loop.
            await checkpoint()
        while self.is_behind and not self._closed:
            self._room = self._watch.wake()
            try:
                await self._room.wait()
            finally:
                self._room = None

    @property
    def is_behind(self) -> bool:
        """Whether more than `CHANNEL_SIZE` bytes wait."""
        return bool(self._blocks or self._large)

    def end(self) -> None:
        """The part is whole."""
        self._ended = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """The part will never be whole: the receiver gets `error`, never the end."""
        if not self._ended and self._error is None:
            self._error, self.ahead = error, 1
            self._wake()

    def _wake(self) -> None:
        if self._item is not None:
            self._item.set()

    # -- the handler's end --------------------------------------------------------------------

    async def receive(self) -> bytes:
        """The bytes that wait, at least one; `EndOfStream` once the part is whole."""
        while not (self._pieces.size or self._large):  # no block without pieces behind it
            if self._closed:
                raise anyio.ClosedResourceError("the handler has answered: its part is closed")
            if self._error is not None:
                self.told = self._error
                raise self._error
            if self._ended:
                raise anyio.EndOfStream
            if self._item is not None:
                raise anyio.BusyResourceError("receiving from")
            if self._full_at is not None:
                soon = self._watch.now() - self._full_at <= KEEPS_UP
                self.ahead = min(2 * self.ahead + 1, self._most) if soon else 1
                self._full_at = None
            self._item = self._watch.wake()
            try:
                await self._item.wait()
            finally:
                self._item = None
        if self._blocks:
            data = self._blocks.popleft()
        else:
            data = self._pieces.take() if self._pieces.size else self._cut()
        self._watch.move()
        if self._room is not None and not self.is_behind:
            self._room.set()
        return data

    def _cut(self) -> bytes:
        start, self._at = self._at, self._at + CHANNEL_SIZE
        data = self._large[start : self._at]
        if len(self._large) - self._at <= CHANNEL_SIZE:  # its sender may go on
            if rest := self._large[self._at :]:
                self._pieces.add(rest)
            self._large = b""
        return data

    def close(self) -> None:
        """The receiver wants no more."""
        self._closed, self.ahead = True, 1
        self._pieces.take()
        self._blocks.clear()
        self._large = b""
        self._wake()  # who still waits to receive is told, and never sees an end
        if self._room is not None:
            self._room.set()
