"""`Encoder`: events to bytes.

Knows: the order of events, delimiters, and that a body must not hold one.
Must not know: what a part is made of, or where the bytes go.
"""

from __future__ import annotations

from mpflow.errors import WriteError
from mpflow.wire.boundary import check_boundary, new_boundary
from mpflow.wire.events import BodyEnd, Event, PartBegin, PartData, PartEnd, WholePart
from mpflow.wire.headers import Head
from mpflow.wire.limits import Limits

__all__ = ["Encoder"]


class Encoder:
    """Turns the events of one multipart level into bytes (RFC 2046, 5.1.1), without any I/O.

    `boundary` is made from `secrets` where none is given. `send` raises `WriteError` before it
    gives a byte: for a body in which the delimiter occurs, and for events out of order.
    """

    def __init__(self, boundary: str | None = None) -> None:
        self.boundary: str = new_boundary() if boundary is None else boundary
        raw, _ = check_boundary(self.boundary, limits=Limits())
        self._delimiter = b"\r\n--" + raw
        self._first = True
        self._open = self._ended = False
        self._tail = b""

    def send(self, event: Event) -> bytes:
        """The bytes of one event."""
        if self._ended:
            raise WriteError(f"expected no event after BodyEnd, got {type(event).__name__}")
        if isinstance(event, WholePart):
            self._expect_open(False, event)
            self._check(b"\r\n", event.data)
            return self._begin(event.head) + event.data
        if isinstance(event, PartBegin):
            self._expect_open(False, event)
            # The CRLF of the blank line may be that of a delimiter, too.
            self._open, self._tail = True, b"\r\n"
            return self._begin(event.head)
        if isinstance(event, PartData):
            self._expect_open(True, event)
            self._tail = self._check(self._tail, event.data)
            return event.data
        if isinstance(event, PartEnd):
            self._expect_open(True, event)
            self._open = False
            return b""
        return self._close(event)

    def send_older(self, data: bytes) -> bytes:
        """The same as `PartData(data)`, for bytes that are known to be older than the boundary.

        They are not searched for it: nobody can have written down what was not made yet.
        """
        self._expect_open(True, PartData)
        size = len(self._delimiter)
        self._tail = (self._tail + data[-size:])[1 - size :]
        return data

    def _begin(self, head: Head) -> bytes:
        delimiter = self._delimiter[2:] if self._first else self._delimiter
        self._first = False
        block = head.raw + b"\r\n" if head.raw else b""
        return delimiter + b"\r\n" + block + b"\r\n"

    def _close(self, event: BodyEnd) -> bytes:
        self._expect_open(False, event)
        self._ended = True
        delimiter = self._delimiter[2:] if self._first else self._delimiter
        return delimiter + b"--\r\n"

    def _check(self, tail: bytes, data: bytes) -> bytes:
        """Refuse a body in which the delimiter occurs: it would end the part for any reader.

        `tail` is the end of what was sent before `data`; gives the new one.
        """
        size = len(self._delimiter)
        if self._delimiter in tail + data[:size] or self._delimiter in data:
            raise WriteError("expected a body without the boundary in it, and it has a delimiter")
        return (tail + data[-size:])[1 - size :]

    def _expect_open(self, expected: bool, what: object) -> None:
        if self._open is not expected:
            state = "inside" if self._open else "outside of"
            raise WriteError(
                f"got {type(what).__name__} {state} a part, which cannot be sent there"
            )
