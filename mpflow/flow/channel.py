"""`Channel`: the bytes of one part that is still open, from the pump to its handler.

Knows: how much may wait in it. Must not know: parts, routes, or who is at either end.
"""

from __future__ import annotations

from typing import Final

import anyio

from mpflow.flow.wake import Wake
from mpflow.flow.watch import Watch
from mpflow.pieces import Pieces

__all__ = ["CHANNEL_SIZE", "Channel"]

CHANNEL_SIZE: Final = 65536
"""Bytes of the largest piece that is taken from a channel; at most two such wait in it."""


class Channel:
    """A memory channel bounded in bytes, for one sender and one receiver.

    The sender may go on when its bytes are in and no more than `CHANNEL_SIZE` bytes wait: so it
    puts in the next piece while the receiver takes the last one, and neither waits for the other.
    Small ones gather, and come out in one piece of `CHANNEL_SIZE` bytes at most. A larger one,
    which its sender would have to keep, waits here and is cut as it is taken: so it needs one turn
    of the sender, not one a cut. A receiver that is gone costs nothing: what is sent to it is
    dropped.
    """

    __slots__ = (
        "_at", "_block", "_closed", "_ended", "_error", "_item", "_large", "_pieces", "_room",
        "_watch", "told",
    )  # fmt: skip

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._block = b""  # what had been gathered when a piece came that would not fit with it
        self._pieces = Pieces()
        self._large = b""  # behind them, from `_at` on
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
        if len(data) > CHANNEL_SIZE:
            self._large, self._at = data, 0
        else:
            if self._pieces.size + len(data) > CHANNEL_SIZE:
                self._block = self._pieces.take()
            self._pieces.add(data)
        self._wake()
        return not self._is_full

    async def wait(self) -> None:
        """Wait until there is room for another piece, or the receiver is gone."""
        while self._is_full and not self._closed:
            self._room = self._watch.wake()
            try:
                await self._room.wait()
            finally:
                self._room = None

    @property
    def _is_full(self) -> bool:
        return bool(self._block or self._large)

    def end(self) -> None:
        """The part is whole."""
        self._ended = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """The part will never be whole: the receiver gets `error`, never the end."""
        if not self._ended and self._error is None:
            self._error = error
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
            self._item = self._watch.wake()
            try:
                await self._item.wait()
            finally:
                self._item = None
        if self._block:
            data, self._block = self._block, b""
        else:
            data = self._pieces.take() if self._pieces.size else self._cut()
        self._watch.move()
        if self._room is not None and not self._is_full:
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
        self._closed = True
        self._pieces.take()
        self._block = self._large = b""
        self._wake()  # who still waits to receive is told, and never sees an end
        if self._room is not None:
            self._room.set()
