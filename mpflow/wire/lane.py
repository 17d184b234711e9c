"""`Lane`: how a chunk gets in, and the fast lane of large parts.

Knows: that a chunk of an open body which has no delimiter, and cannot end in part of one, is data
as it is. Must not know: what becomes of any other chunk, headers, or who takes the events.
"""

from __future__ import annotations

from mpflow.wire.events import NEED_DATA, NeedData, PartData
from mpflow.wire.states import BODY, NO_LIMIT, States

__all__ = ["Lane"]

_CR = 13
_new = object.__new__


class Lane(States):
    """The states, and a way past them for most chunks of a large part.

    In the lane nothing is held, and a chunk needs no state but how many bytes more are within all
    limits (`_room`). `_ready` is what the next event is, `NEED_DATA` if nothing came, and None
    outside the lane.
    """

    __slots__ = ("_delimiter", "_entered", "_last", "_ready", "_room", "_tail")

    def _lay_lane(self) -> None:
        self._ready: PartData | NeedData | None = None
        self._room: int = 0
        self._entered: int = 0
        self._delimiter: bytes = self._scanner.delimiter
        self._last: int = self._delimiter[-1]
        self._tail: int = 1 - len(self._delimiter)  # where what may begin a delimiter begins

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Add what came. A `bytes` object is kept as it is, anything mutable is copied."""
        if self._ready is NEED_DATA and type(data) is bytes and data:
            room = self._room - len(data)
            # Here, and not in the scanner: a call would be a tenth of what 4 KiB cost, and so would
            # `__init__`. Without its last byte there is no delimiter, seen in a tenth of the time;
            # `find` is quicker than `in`.
            if room >= 0 and (self._last not in data or data.find(self._delimiter) < 0):
                tail = data[self._tail :]
                if _CR not in tail or not self._delimiter.startswith(tail[tail.rfind(b"\r") :]):
                    self._room = room
                    self._ready = event = _new(PartData)
                    event.data = data
                    return
        if self._ready is not None:
            self._leave_lane()
        if type(data) is not bytes:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"expected bytes, bytearray or memoryview, got {data!r:.60}")
            data = bytes(data)
        if self._eof:
            raise RuntimeError("receive_data() was called after receive_eof()")
        self._received += len(data)
        if self._ended:
            self._count_epilogue(len(data))
        elif data and self._error is None:
            if self._total is not None and self._received > self._total:
                # What is within the limit is still decoded, so that any chunking ends alike.
                data = data[: max(0, len(data) - (self._received - self._total))]
                self._overflow = True
            if data:
                self._scanner.inbox.append(data)

    def receive_eof(self) -> None:
        """No more data will come. If the body is not whole, `next_event` will raise."""
        self._leave_lane()
        self._eof = True

    def _enter_lane(self) -> None:
        """All that came is decoded: if a body goes on, the next chunk may be data as it is."""
        if self._state == BODY and not (self._scanner.held or self._skip or self._odd):
            size = NO_LIMIT if self.part_limit is None else self.part_limit - self._size
            total = NO_LIMIT if self._total is None else self._total - self._received
            self._room = self._entered = min(size, total)
            self._ready = NEED_DATA

    def _leave_lane(self) -> None:
        if self._ready is not None:
            taken = self._entered - self._room
            self._size += taken
            self._received += taken
            self._at += taken
            if self._ready is not NEED_DATA:
                self._queue.append(self._ready)
            self._ready = None
