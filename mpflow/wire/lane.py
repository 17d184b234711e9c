"""`Lane`: how a chunk gets in, and the fast lane of large parts.

Knows: that a chunk of an open body which has no delimiter is data as it is, but for what of its
end may begin one. Must not know: what becomes of any other chunk, headers, or who takes the events.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mpflow.wire.events import NEED_DATA, NeedData, PartData
from mpflow.wire.scanner import WINDOW
from mpflow.wire.states import BODY, NO_LIMIT, States

__all__ = ["Lane"]

_CR = 13
_SMALL = 8192
_MANY = 8
_new = object.__new__


class Lane(States):
    """The states, and a way past them for most chunks of a large part.

    In the lane a chunk needs no state but how many bytes more are within all limits (`_room`), and
    what the scanner holds back of the one before, as it may begin a delimiter. `ready` is what
    the next event is, `NEED_DATA` if there is none, and None outside the lane. Who takes it leaves
    `NEED_DATA` there.
    """

    __slots__ = ("_entered", "_helds", "_pattern", "_room", "ready")

    def _lay_lane(self) -> None:
        self.ready: PartData | NeedData | None = None
        self._room: int = 0
        self._entered: int = 0
        self._helds: int = 0
        self._pattern: Callable[[bytes], object] | None = None

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Add what came. A `bytes` object is kept as it is, anything mutable is copied."""
        if self.ready is NEED_DATA and type(data) is bytes and data:
            room = self._room - len(data)
            if room >= 0:
                # All of it here: a call would be a tenth of what 4 KiB cost, and so would
                # `__init__`. Without its last byte there is no delimiter, seen in a tenth of the
                # time; `find` is quicker than `in`.
                scanner, text = self._scanner, data
                if not scanner.held:
                    found = scanner.last in data and data.find(scanner.delimiter) >= 0
                elif len(data) <= WINDOW:
                    text = scanner.held + data
                    found = self._look(text)
                else:
                    found = True  # or not: a larger one is cut into windows, not copied
                if not found:
                    self._room = room
                    scanner.held = b""
                    tail = text[scanner.tail :]
                    # Asked here as well: one chunk in seven has a CR there, one in 250 has to hold.
                    if _CR in tail and scanner.delimiter.startswith(tail[tail.rfind(b"\r") :]):
                        text = scanner.hold(text)
                        if not text:
                            return
                    self.ready = event = _new(PartData)
                    event.data = text
                    return
        if self.ready is not None:
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

    def _look(self, text: bytes) -> bool:
        """Whether a delimiter is in `text`, which begins with what was held back.

        Who chooses a boundary can have each small chunk end in what may begin it, in a body in
        which `find` goes on by a byte at a time. A pattern, which looks for the first byte, then
        takes a third of the time; elsewhere it takes three times as long.
        """
        scanner = self._scanner
        self._helds += 1
        if scanner.last not in text:
            return False
        if self._helds < _MANY or len(text) > _SMALL:
            return text.find(scanner.delimiter) >= 0
        if self._pattern is None:
            self._pattern = re.compile(re.escape(scanner.delimiter)).search
        return self._pattern(text) is not None

    def _enter_lane(self) -> None:
        """All that came is decoded: if a body goes on, the next chunk may be data as it is."""
        held, delimiter = len(self._scanner.held), len(self._scanner.delimiter)
        if self._state == BODY and held < delimiter and not (self._skip or self._odd):
            self._size += held
            self._at += held
            size = NO_LIMIT if self.part_limit is None else self.part_limit - self._size
            total = NO_LIMIT if self._total is None else self._total - self._received
            self._room = self._entered = min(size, total)
            self.ready = NEED_DATA

    def _leave_lane(self) -> None:
        if self.ready is not None:
            taken = self._entered - self._room
            self._received += taken
            taken -= len(self._scanner.held)
            self._size += taken
            self._at += taken
            if self.ready is not NEED_DATA:
                self._queue.append(self.ready)
            self.ready = None
