"""`Decoder`: bytes to events.

Knows: what comes in, what goes out, and how the usual is decoded quickly.
Must not know: where bytes come from, what a header means, or who takes the events.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mpflow.errors import MalformedBody, MultipartError
from mpflow.wire.boundary import check_boundary
from mpflow.wire.events import NEED_DATA, Event, NeedData, PartBegin, PartData, WholePart
from mpflow.wire.headers import PLAIN_FILE, Head, plain_head
from mpflow.wire.lane import Lane
from mpflow.wire.limits import Ahead, Budget, Limits
from mpflow.wire.plainfields import MOST, take_fields
from mpflow.wire.states import BODY, HEADERS, NO_LIMIT, PART_END

__all__ = ["Decoder"]


class Decoder(Lane):
    """Turns the bytes of one multipart level into events (RFC 2046, 5.1.1), without any I/O.

    Call `receive_data` with what came, then `next_event` until it gives `NEED_DATA`; call
    `receive_eof` when no more will come. After `BodyEnd` what comes is epilogue: counted and
    thrown away. Any chunking gives the same events, once neighbouring `PartData` are joined and
    a `WholePart` is taken for what it stands for.

    `boundary` is the parameter, without its quotes. `limits` bound each axis. `strict` refuses
    every deviation; `tolerate` names ambiguities to accept (`mpflow.wire.TOLERANCES`).
    `subtype` is that of the content type: `"form-data"` and `"digest"` change how part headers
    are read. `budget` is for nested levels: it stands in place of `limits` and shares counts.

    Every refusal is a `MultipartError`. The first one ends the decoding; each later `next_event`
    raises it again.
    """

    __slots__ = ("_ahead", "_cap", "_flows", "_taken")

    ready: PartData | NeedData | None
    """See `Lane`."""

    def __init__(
        self,
        boundary: str | bytes,
        *,
        limits: Limits | None = None,
        strict: bool = False,
        tolerate: Iterable[str] = frozenset(),
        subtype: str = "mixed",
        budget: Budget | None = None,
    ) -> None:
        super().__init__(
            boundary,
            limits=limits,
            strict=strict,
            tolerate=tolerate,
            subtype=subtype,
            budget=budget,
        )
        self._cap = NO_LIMIT  # bytes that are decoded at most, where that was tightened
        self._ahead: Ahead[WholePart] = Ahead()
        self._taken = self._ahead.parts
        self._flows = False  # the lane may be entered
        self._lay_lane()

    # -- the public face ----------------------------------------------------------------------

    def next_event(self) -> Event | NeedData:
        """The next event, or `NEED_DATA`. After `BodyEnd` it gives `BodyEnd` for ever.

        Raises `TruncatedBody`, `EmptyBody`, `MalformedBody` or `LimitExceeded`.
        """
        ready = self.ready
        if ready is not None:
            self.ready = NEED_DATA
            return ready
        if self._taken:
            return self._taken.pop()
        if self._ahead.returned:
            self._go_back()
        queue = self._queue
        try:
            while not queue:
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return self._after_end()
                if self._scanner.pieces and self._cap == NO_LIMIT and self._take_fields():
                    return self._taken.pop()
                token = next(self._tokens)
                if token is None:
                    if self._overflow or self._eof:
                        raise self._cut_off()
                    if self._flows:
                        self._flows = False
                        self._enter_lane()
                    return NEED_DATA
                text, mark = token
                if self._cap < NO_LIMIT and self._is_past(text, mark):
                    continue
                if self._state == HEADERS:
                    part = self._usual_part(text, mark)
                    if part is not None:
                        return part
                    self._on_headers(text, mark)
                elif self._state == BODY:
                    size, limit = self._size + len(text), self.part_limit
                    if (
                        not text
                        or self._skip
                        or self._dropping
                        or not (limit is None or size <= limit)
                    ):
                        self._on_body(text, mark)
                        continue
                    # What most chunks of a large part are, and the end of most.
                    self._size = size
                    self._at += len(text)
                    self._flows = not mark
                    if mark:
                        queue.append(PART_END)
                        self._delimit(mark)
                    return PartData(text)
                else:
                    self._on_preamble(text, mark)
        except MultipartError as error:
            self._fail(error)
            if not queue:
                raise
        return queue.popleft()

    def tighten(self, limits: Limits) -> None:
        """From now on take `limits` too: the tighter of each field, of the `budget` as well.

        Where none were given so far, these take the place of the default ones. What was decoded
        stays, and counts. Raises `LimitExceeded` for a boundary past `max_boundary`.
        """
        check_boundary(self._boundary, limits=limits)
        self._counts.settle()
        if self._ahead.returned:
            self._go_back()
        self._leave_lane()
        self._budget.tighten(limits)
        self._bound()
        if self._total is not None and self._received > self._total:
            self._overflow, self._cap = True, self._total

    def _is_past(self, text: bytes, mark: int) -> bool:
        """Of what was in hand when the total was tightened, nothing past it is decoded."""
        scanner, end = self._scanner, self._at + len(text)
        if mark:
            # It is seen for what it is with two bytes more: CRLF or "--".
            end += len(scanner.delimiter) + scanner.padding + 2
        if end < self._cap or (mark and end == self._cap):
            return False
        fits = (text + scanner.delimiter if mark else text)[: max(0, self._cap - self._at)]
        scanner.clear()
        scanner.inbox.append(fits)
        self._tokens, self._cap = scanner.tokens(), NO_LIMIT
        return True

    def skip_part(self) -> None:
        """Throw away what is left of the part that is open, with its `PartEnd`.

        For who drains it only as more data comes. The limits count on, and errors are raised.
        """
        self._leave_lane()
        self._flows, self._dropping = False, True
        self._drop()

    @property
    def ended(self) -> bool:
        """True once the close delimiter was seen."""
        return self._ended

    # -- the fast ways of parts that are whole in hand, and of usual headers -------------------

    def _take_fields(self) -> bool:
        """The hot path of forms: as many parts as come next, are whole and have usual headers."""
        scanner, counts, most = self._scanner, self._counts, self.part_limit
        if counts.ahead is not None:
            counts.settle()
        taken = self._taken
        scanner.at, self._at, header_bytes = take_fields(
            taken,
            scanner.pieces,
            scanner.at,
            self._at,
            delimiter=len(scanner.delimiter),
            default_type=self._default_type,
            most_parts=self._most_parts - counts.parts,
            most_header_bytes=self._most_header_bytes - counts.header_bytes,
            easy=self._easy,
            part_limit=NO_LIMIT if most is None else most,
        )
        if len(taken) < MOST:
            scanner.pieces = []  # what comes next is for the states
        if not taken:
            return False
        counts.ahead = self._ahead
        self._index += len(taken)
        counts.parts += len(taken)
        counts.header_bytes += header_bytes
        return True

    def _go_back(self) -> None:
        """What was taken ahead, and nobody has had, was not decoded yet.

        For limits were tightened, or another level of the message has counted since.
        """
        parts = self._ahead.returned
        # A CRLF before the block, two behind it.
        self._at = parts[-1].offset - len(parts[-1].head.raw) - 6
        self._scanner.at -= len(parts)
        self._index -= len(parts)
        self._ahead.returned = []

    def _usual_part(self, text: bytes, mark: int) -> WholePart | PartBegin | None:
        """The hot path: the headers of a part are whole in hand, and can break no limit.

        What there is of the body beside them waits in the queue if it is cut.
        """
        if self._counted or (self._odd and not mark):
            return None
        counts, most = self._counts, self.part_limit
        if counts.ahead is not None:
            counts.settle()
        found = PLAIN_FILE(text)
        if found is None:
            end = text.find(b"\r\n\r\n") + 4
            block, data = text[2 : end - 4], text[end:]
        else:
            end = found.start(6)
            block, data = found.group(1, 6)
        size = len(block)
        header_bytes, parts, at = counts.header_bytes + size, counts.parts + 1, self._at
        if (
            end < 4
            or size > self._easy
            or header_bytes > self._most_header_bytes
            or parts > self._most_parts
            or (most is not None and len(data) > most)
        ):
            return None
        try:
            head = self._head_of(block, found)
        except MalformedBody:
            return None  # lines without a colon may be too many even here: that comes first
        counts.header_bytes, counts.parts = header_bytes, parts
        if head.deviations:
            self._keep_all(head, at + 2)
        self._at = at + len(text)
        begin = at + end
        if mark:
            self._delimit(mark)
            return WholePart(head, data, begin)
        self._head, self._size, self._state, self._counted = head, len(data), BODY, True
        if data:
            self._queue.append(PartData(data))
        return PartBegin(head, begin)

    def _head_of(self, block: bytes, found: re.Match[bytes] | None) -> Head:
        if found is not None:
            try:
                block, name, filename, essence, charset = found.group(1, 2, 3, 4, 5)
                return plain_head(block, name, filename, essence, charset, self._default_type)
            except UnicodeDecodeError:
                pass  # that has to be recorded
        return self._read_head(block)
