"""`Decoder`: bytes to events.

Knows: preamble, header blocks and bodies, and what the limits allow of each.
Must not know: where bytes come from, what a header means, or who takes the events.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import TypeVar

import attrs

from mpflow.errors import (
    EmptyBody,
    LimitExceeded,
    MalformedBody,
    MultipartError,
    PartRef,
    TruncatedBody,
)
from mpflow.wire.block import HeaderBlock
from mpflow.wire.boundary import check_boundary
from mpflow.wire.events import (
    NEED_DATA,
    BodyEnd,
    Event,
    NeedData,
    PartBegin,
    PartData,
    PartEnd,
    WholePart,
)
from mpflow.wire.headers import Deviation, Head, Policy, parse_head
from mpflow.wire.limits import Budget, Limits
from mpflow.wire.oddities import ODDITIES, OddTokens
from mpflow.wire.plainfields import take_fields
from mpflow.wire.refusals import empty, no_delimiter, truncated
from mpflow.wire.scanner import CLOSE, Scanner

__all__ = ["Decoder"]

MAX_DEVIATIONS = 1000
"""How many deviations are kept; further ones are dropped, so that they fill no memory."""

_BEGINS = 256
"""How much of a preamble is kept, to say what came in place of a delimiter."""

_NO_LIMIT = 1 << 62
_PREAMBLE, _HEADERS, _BODY = range(3)
_E = TypeVar("_E", bound=MultipartError)
_END = BodyEnd()
_PART_END = PartEnd()


class Decoder:
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

    # Slots, because an instance of more than 30 attributes is slow to read without.
    __slots__ = (
        "_at", "_begins", "_block", "_boundary", "_budget", "_cap", "_counted", "_counts",
        "_default_type", "_dropping", "_easy", "_ended", "_entered", "_eof", "_error", "_flows",
        "_head", "_index", "_is_text", "_limits", "_most_header_bytes", "_most_parts", "_moved",
        "_moves", "_odd", "_overflow", "_policy", "_queue", "_read_head", "_ready", "_received",
        "_room", "_scanner", "_size", "_skip", "_state", "_tokens", "_total", "deviations",
        "epilogue_bytes", "part_limit",
    )  # fmt: skip

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
        self._budget = budget or Budget(limits or Limits(), given=limits is not None)
        self._policy = Policy(strict=strict, tolerate=tolerate)
        # RFC 2046, 5.1.5: in a digest the default is message/rfc822.
        self._default_type = "message/rfc822" if subtype == "digest" else "text/plain"
        self._read_head = partial(
            parse_head,
            form=subtype == "form-data",
            default_type=self._default_type,
            policy=self._policy,
        )
        self.deviations: list[Deviation] = []
        self.epilogue_bytes: int = 0
        """Bytes that came after the close delimiter so far."""
        self._boundary, odd = check_boundary(boundary, limits=self._budget.limits)
        if odd is not None:
            self._note(odd.code, odd.detail)
        self._scanner = Scanner(b"\r\n--" + self._boundary, max_line=None)
        self._block = HeaderBlock(self._budget)
        self._counts = self._budget.counts
        self._bound()
        self._tokens = self._scanner.tokens()
        self._queue: deque[Event] = deque()
        self._error: MultipartError | None = None
        self._received: int = 0
        self._eof = self._overflow = self._ended = self._dropping = False
        # `_at` is the offset of the next byte of text; before the body stands a CRLF of ours.
        self._state, self._at = _PREAMBLE, -2
        self._begins = b""
        # Where a header block is longer than on the wire, and by how much it is in all.
        self._moves: list[int] = []
        self._moved = 0
        self._index, self._counted = 0, False
        self._head: Head | None = None
        self._skip = 0
        self._size: int = 0
        # The fast lane of large parts: see `_enter_lane`.
        self._flows = False
        self._ready: PartData | NeedData | None = None
        self._cap = _NO_LIMIT
        self._room: int = 0
        self._entered: int = 0
        self._is_text = self._scanner.is_text
        self._odd = not self._policy.tolerate.isdisjoint(ODDITIES)
        if self._odd:
            self._tokens = OddTokens(
                self._scanner,
                self._boundary,
                self._policy.tolerate,
                note=lambda code, detail: self._note(code, detail, max(0, self._at)),
                move=self._move,
                in_headers=lambda: self._state == _HEADERS,
            ).tokens()

    def _bound(self) -> None:
        """Take over the limits of the budget, when it is made and when they change."""
        limits = self._limits = self._budget.limits
        self.part_limit: int | None = limits.max_part_bytes
        """Bytes that the body of one part may have; set it before the first event."""
        self._total = self._budget.total
        self._scanner.max_line = limits.max_header_line
        self._block.bound()
        self._easy = self._block.easy
        total, parts = limits.max_total_header_bytes, limits.max_parts
        self._most_header_bytes = _NO_LIMIT if total is None else total
        self._most_parts = _NO_LIMIT if parts is None else parts

    # -- the public face ----------------------------------------------------------------------

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Add what came. A `bytes` object is kept as it is, anything mutable is copied."""
        if self._ready is not None:
            if self._ready is NEED_DATA and type(data) is bytes and data:
                room = self._room - len(data)
                if room >= 0 and self._is_text(data):
                    self._room, self._ready = room, PartData(data)
                    return
            self._leave_lane()
        if type(data) is not bytes:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"expected bytes, bytearray or memoryview, got {data!r:.60}")
            data = bytes(data)
        if self._eof:
            raise RuntimeError("receive_data() was called after receive_eof()")
        self._received += len(data)
        if self._ended:
            self.epilogue_bytes += len(data)
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

    def next_event(self) -> Event | NeedData:
        """The next event, or `NEED_DATA`. After `BodyEnd` it gives `BodyEnd` for ever.

        Raises `TruncatedBody`, `EmptyBody`, `MalformedBody` or `LimitExceeded`.
        """
        if self._ready is not None:
            ready, self._ready = self._ready, NEED_DATA
            return ready
        queue = self._queue
        try:
            while not queue:
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return self._after_end()
                if self._scanner.pieces and self._cap == _NO_LIMIT and self._take_fields():
                    break
                token = next(self._tokens)
                if token is None:
                    if self._overflow or self._eof:
                        raise self._cut_off()
                    if self._flows:
                        self._flows = False
                        self._enter_lane()
                    return NEED_DATA
                text, mark = token
                if self._cap < _NO_LIMIT and self._is_past(text, mark):
                    continue
                if self._state == _HEADERS:
                    part = self._usual_part(text, mark)
                    if part is not None:
                        return part
                    self._on_headers(text, mark)
                elif self._state == _BODY:
                    size, limit = self._size + len(text), self.part_limit
                    if (
                        mark
                        or not text
                        or self._skip
                        or self._dropping
                        or not (limit is None or size <= limit)
                    ):
                        self._on_body(text, mark)
                        continue
                    # What most chunks of a large part are.
                    self._size = size
                    self._at += len(text)
                    self._flows = True
                    return PartData(text)
                else:
                    self._on_preamble(text, mark)
        except MultipartError as error:
            self._fail(error)
            if not queue:
                raise
        event = queue.popleft()
        if type(event) is WholePart:
            # Taken ahead, and had only now: it counts now, for other levels count too.
            counts = self._counts
            counts.parts += 1
            counts.header_bytes += len(event.head.raw)
            if counts.parts > self._most_parts or counts.header_bytes > self._most_header_bytes:
                return self._refuse_field(event)
        return event

    def tighten(self, limits: Limits) -> None:
        """From now on take `limits` too: the tighter of each field, of the `budget` as well.

        Where none were given so far, these take the place of the default ones. What was decoded
        stays, and counts. Raises `LimitExceeded` for a boundary past `max_boundary`.
        """
        check_boundary(self._boundary, limits=limits)
        if self._queue and type(self._queue[0]) is WholePart:
            self._give_back()
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
        if end <= self._cap:
            return False
        fits = (text + scanner.delimiter if mark else text)[: max(0, self._cap - self._at)]
        scanner.clear()
        if fits:
            scanner.inbox.append(fits)
        self._tokens, self._cap = scanner.tokens(), _NO_LIMIT
        return True

    def skip_part(self) -> None:
        """Throw away what is left of the part that is open, with its `PartEnd`.

        For who drains it only as more data comes. The limits count on, and errors are raised.
        """
        self._leave_lane()
        self._flows, self._dropping = False, True
        while self._queue and self._dropping:
            self._dropping = self._queue.popleft() is not _PART_END

    @property
    def ended(self) -> bool:
        """True once the close delimiter was seen."""
        return self._ended

    # -- the fast lane of large parts ---------------------------------------------------------

    def _enter_lane(self) -> None:
        """All that came is decoded: if a body goes on, the next chunk may be data as it is.

        Then it needs no state but how many bytes more are within all limits. `_ready` is what the
        next event is, `NEED_DATA` if nothing came, and None outside the lane.
        """
        if self._state == _BODY and not (self._scanner.held or self._skip or self._odd):
            size = _NO_LIMIT if self.part_limit is None else self.part_limit - self._size
            total = _NO_LIMIT if self._total is None else self._total - self._received
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

    # -- the states ---------------------------------------------------------------------------

    def _on_preamble(self, text: bytes, mark: int) -> None:
        limit = self._limits.max_preamble
        if len(self._begins) < _BEGINS:
            # No more than the limit allows, so that any chunking shows the same.
            most = _BEGINS if limit is None else min(_BEGINS, 2 + limit)
            self._begins = (self._begins + text[:most])[:most]
        self._at += len(text)
        if limit is not None and self._at > limit:
            raise LimitExceeded(
                "max_preamble", limit, message=self._no_delimiter(limit), offset=limit
            )
        if mark:
            self._delimit(mark)

    def _take_fields(self) -> bool:
        """The hot path of forms: as many parts as come next, are whole and have usual headers."""
        scanner, counts, most, queue = self._scanner, self._counts, self.part_limit, self._queue
        scanner.at, self._at = take_fields(
            scanner.pieces,
            scanner.at,
            self._at,
            delimiter=len(scanner.delimiter),
            default_type=self._default_type,
            most_parts=self._most_parts - counts.parts,
            most_header_bytes=self._most_header_bytes - counts.header_bytes,
            easy=self._easy,
            part_limit=_NO_LIMIT if most is None else most,
            add=queue.append,
        )
        self._index += len(queue)
        return bool(queue)

    def _refuse_field(self, field: WholePart) -> Event | NeedData:
        """One that was taken ahead passes a limit after all: the states say what is wrong."""
        self._counts.parts -= 1
        self._counts.header_bytes -= len(field.head.raw)
        self._queue.appendleft(field)
        self._give_back()
        return self.next_event()

    def _give_back(self) -> None:
        """What `_take_fields` took ahead, and nobody has had, was not decoded yet."""
        fields = [event for event in self._queue if type(event) is WholePart]
        # A CRLF before the block, two behind it.
        self._at = fields[0].offset - len(fields[0].head.raw) - 6
        self._scanner.at -= len(fields)
        self._index -= len(fields)
        self._queue.clear()

    def _usual_part(self, text: bytes, mark: int) -> WholePart | PartBegin | None:
        """The hot path: the headers of a part are whole in hand, and can break no limit.

        What there is of the body beside them waits in the queue if it is cut.
        """
        if self._counted or (self._odd and not mark):
            return None
        raw, blank, data = text.partition(b"\r\n\r\n")
        block = raw[2:]
        size, counts, most = len(block), self._counts, self.part_limit
        header_bytes, parts, at = counts.header_bytes + size, counts.parts + 1, self._at
        if (
            not blank
            or size > self._easy
            or header_bytes > self._most_header_bytes
            or parts > self._most_parts
            or (most is not None and len(data) > most)
        ):
            return None
        try:
            head = self._read_head(block)
        except MalformedBody:
            return None  # lines without a colon may be too many even here: that comes first
        counts.header_bytes, counts.parts = header_bytes, parts
        if head.deviations:
            self._keep_all(head, at + 2)
        self._at = at + len(text)
        begin = at + len(raw) + 4
        if mark:
            self._delimit(mark)
            return WholePart(head, data, begin)
        self._head, self._size, self._state, self._counted = head, len(data), _BODY, True
        if data:
            self._queue.append(PartData(data))
            self._flows = True
        return PartBegin(head, begin)

    def _count_part(self) -> None:
        self._counted = True
        self._counts.parts += 1
        limit = self._limits.max_parts
        if limit is not None and self._counts.parts > limit:
            raise LimitExceeded("max_parts", limit, part=self._ref(), offset=self._at)

    def _on_headers(self, text: bytes, mark: int) -> None:
        """The general path: a block that is cut, long, or has no blank line."""
        if not self._counted:
            self._count_part()
        block = self._block
        start = self._at - len(block.text) - self._moved
        found = block.add(text, b"" if mark else self._scanner.held)
        region, end = block.text, found
        if found < 0:
            # A CR or CRLF at the end may belong to the blank line or to the delimiter.
            end = len(region)
            end -= 2 if region.endswith(b"\r\n") else region.endswith(b"\r") and not mark
        try:
            block.check(end)
        except LimitExceeded as error:
            raise self._placed(error, start) from None
        self._at += len(text)
        if found < 0 and not mark:
            return
        whole = block.take()
        head = self._parse(whole[2 : max(2, end)], start + 2)
        unended = found < 0 and not whole[2:].endswith(b"\r\n") and whole != b"\r\n"
        if unended:
            # RFC 2046, 5.1.1: "body-part := MIME-part-headers [CRLF *OCTET]"; here the CRLF that
            # ends the last header, or the delimiter line, is that of the next delimiter as well.
            self._note(
                "no-blank-line", "expected a blank line after headers, got a delimiter", start
            )
        # The second CRLF of the blank line may begin a delimiter, and may not be here yet.
        body = whole[end + 4 :] if found >= 0 else b""
        self._skip = max(0, end + 4 - len(whole)) if found >= 0 else 0
        self._head, self._size, self._state = head, 0, _BODY
        begin = self._at if unended else start + self._moved + end + 4
        self._queue.append(PartBegin(head, begin))
        self._at -= len(body)
        self._on_body(body, mark)

    def _on_body(self, text: bytes, mark: int) -> None:
        if self._skip and text:
            text = text[2:]
            self._at += 2
            self._skip = 0
        if text:
            # A larger `part_limit` is for parts that somebody else counts: not for this one.
            limit = self._limits.max_part_bytes if self._dropping else self.part_limit
            if limit is not None and self._size + len(text) > limit:
                fits = max(0, limit - self._size)
                if fits and not self._dropping:
                    self._queue.append(PartData(text[:fits]))
                raise LimitExceeded(
                    "max_part_bytes", limit, part=self._ref(), offset=self._at + fits
                )
            self._size += len(text)
            self._at += len(text)
            self._queue.append(PartData(text))
        if mark:
            self._queue.append(_PART_END)
        if self._dropping:
            self.skip_part()
        if mark:
            self._skip = 0
            self._delimit(mark)

    def _delimit(self, mark: int) -> None:
        """A delimiter line ends what was open, and begins a part or ends the body."""
        scanner = self._scanner
        self._at += len(scanner.delimiter) + scanner.padding
        if self._state != _PREAMBLE:
            self._index += 1
        self._state, self._counted, self._head = _HEADERS, False, None
        if self._moved or self._moves:
            self._moved, self._moves = 0, []
        if mark == CLOSE:
            self._ended = True
            self.epilogue_bytes = self._received - (self._at + 2)
            scanner.clear()
            self._tokens.close()
            self._queue.append(_END)

    def _after_end(self) -> BodyEnd:
        limit = self._limits.max_epilogue
        if limit is not None and self.epilogue_bytes > limit:
            raise LimitExceeded("max_epilogue", limit, offset=self._at + 2 + limit)
        return _END

    # -- helpers ------------------------------------------------------------------------------

    def _parse(self, raw: bytes, offset: int) -> Head:
        self._counts.header_bytes += len(raw)
        try:
            head = self._read_head(raw)
        except MalformedBody as error:
            raise self._placed(error, offset, ahead=2) from error.__cause__
        self._keep_all(head, offset)
        return head

    def _keep_all(self, head: Head, offset: int) -> None:
        for found in head.deviations:
            at = found.offset or 0
            self._keep(found, offset + at - self._added(at + 2))

    def _note(self, code: str, detail: str, offset: int | None = None) -> None:
        """Record a deviation, or refuse it."""
        found: list[Deviation] = []
        try:
            self._policy.note(code, detail, found)
        except MalformedBody as error:
            if offset is None:
                raise
            raise self._placed(error, offset) from None
        for deviation in found:
            self._keep(deviation, offset)

    def _keep(self, deviation: Deviation, offset: int | None) -> None:
        if len(self.deviations) < MAX_DEVIATIONS:
            level = self._budget.path
            outside = offset is None or self._state == _PREAMBLE
            part = (level or None) if outside else (*level, self._index)
            self.deviations.append(attrs.evolve(deviation, part=part, offset=offset, level=level))

    def _move(self, by: int) -> None:
        self._at += by
        if self._state == _HEADERS:
            self._moved += by
            if by < 0:  # the CRLF that comes next is an LF on the wire
                self._moves.append(len(self._block.text) + 2)

    def _added(self, at: int) -> int:
        """How many bytes that the wire has not stand before a byte of the header block."""
        return bisect_right(self._moves, at) if self._moves else 0

    def _ref(self) -> PartRef:
        head, path = self._head, (*self._budget.path, self._index)
        return PartRef(path) if head is None else PartRef(path, head.name, head.filename)

    def _placed(self, error: _E, start: int, *, ahead: int = 0) -> _E:
        """Say where: `start`, and `error.offset` from there, `ahead` bytes into the block."""
        at = error.offset or 0
        error.part = self._ref()
        error.offset = start + at - self._added(at + ahead)
        return error

    def _fail(self, error: MultipartError) -> None:
        if error.offset is None and not isinstance(error, EmptyBody):
            self._placed(error, max(0, self._at))
        error.level = self._budget.path
        self._error = error
        self._scanner.clear()
        self._tokens.close()  # it holds what it was at

    def _cut_off(self) -> MultipartError:
        """What is wrong when no more data comes, or no more is allowed."""
        delimiter, part = self._scanner.delimiter, None
        if self._state != _PREAMBLE:
            part = self._ref()
        if self._overflow:
            return LimitExceeded("max_total_bytes", self._total, part=part, offset=self._total)
        if not self._received:
            return empty(delimiter)
        if self._state == _PREAMBLE:
            return TruncatedBody(self._no_delimiter(None), offset=self._received)
        size = self._size if self._state == _BODY else None
        return truncated(delimiter, self._received, size=size, part=part)

    def _no_delimiter(self, limit: int | None) -> str:
        return no_delimiter(self._scanner.delimiter, self._boundary, self._begins[2:], limit)
