"""`States`: what becomes of each text between delimiters, whatever it is and however it is cut.

Knows: preamble, header blocks and bodies, and what the limits allow of each.
Must not know: where bytes come from, what a header means, who takes the events, what is fast.
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
from mpflow.wire.events import BodyEnd, Event, PartBegin, PartData, PartEnd
from mpflow.wire.headers import Deviation, Head, parse_head, policy_of
from mpflow.wire.limits import Budget, Limits
from mpflow.wire.oddities import ODDITIES, OddTokens
from mpflow.wire.refusals import empty, no_delimiter, truncated
from mpflow.wire.scanner import CLOSE, Scanner

__all__ = ["BODY", "HEADERS", "MAX_DEVIATIONS", "NO_LIMIT", "PART_END", "States"]

MAX_DEVIATIONS = 1000
"""How many deviations are kept; further ones are dropped, so that they fill no memory."""

_BEGINS = 256
"""How much of a preamble is kept, to say what came in place of a delimiter."""

NO_LIMIT = 1 << 62
_PREAMBLE, HEADERS, BODY = range(3)
_E = TypeVar("_E", bound=MultipartError)
END = BodyEnd()
PART_END = PartEnd()


class States:
    """The decoder's slow and general way: `Decoder` has the face, and what is quicker."""

    # Slots, because an instance of more than 30 attributes is slow to read without.
    __slots__ = (
        "_at", "_begins", "_block", "_boundary", "_budget", "_counted", "_counts", "_default_type",
        "_dropping", "_easy", "_ended", "_eof", "_error", "_head", "_index", "_limits",
        "_most_header_bytes", "_most_parts", "_moved", "_moves", "_odd", "_overflow", "_policy",
        "_queue", "_read_head", "_received", "_scanner", "_size", "_skip", "_state", "_tokens",
        "_total", "deviations", "epilogue_bytes", "part_limit",
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
        self._policy = policy_of(strict=strict, tolerate=tolerate)
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
        self._odd = not self._policy.tolerate.isdisjoint(ODDITIES)
        if self._odd:
            self._tokens = OddTokens(
                self._scanner,
                self._boundary,
                self._policy.tolerate,
                note=lambda code, detail: self._note(code, detail, max(0, self._at)),
                move=self._move,
                in_headers=lambda: self._state == HEADERS,
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
        self._most_header_bytes = NO_LIMIT if total is None else total
        self._most_parts = NO_LIMIT if parts is None else parts

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

    def _count_part(self) -> None:
        self._counted = True
        self._counts.parts += 1
        limit = self._limits.max_parts
        if limit is not None and self._counts.parts > limit:
            raise LimitExceeded("max_parts", limit, part=self._ref(), offset=self._at)

    def _on_headers(self, text: bytes, mark: int) -> None:
        """The general path: a block that is cut, long, or has no blank line."""
        self._counts.settle()
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
        self._head, self._size, self._state = head, 0, BODY
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
            self._queue.append(PART_END)
        if self._dropping:
            self._drop()
        if mark:
            self._skip = 0
            self._delimit(mark)

    def _delimit(self, mark: int) -> None:
        """A delimiter line ends what was open, and begins a part or ends the body."""
        scanner = self._scanner
        self._at += len(scanner.delimiter) + scanner.padding
        if self._state != _PREAMBLE:
            self._index += 1
        self._state, self._counted, self._head = HEADERS, False, None
        if self._moved or self._moves:
            self._moved, self._moves = 0, []
        if mark == CLOSE:
            self._ended = True
            self.epilogue_bytes = self._received - (self._at + 2)
            scanner.clear()
            self._tokens.close()
            self._queue.append(END)

    def _count_epilogue(self, size: int) -> None:
        # Not done by `Decoder`: type checkers take an augmented assignment for a declaration.
        self.epilogue_bytes += size

    def _after_end(self) -> BodyEnd:
        limit = self._limits.max_epilogue
        if limit is not None and self.epilogue_bytes > limit:
            raise LimitExceeded("max_epilogue", limit, offset=self._at + 2 + limit)
        return END

    def _drop(self) -> None:
        """Throw away what was decoded of a part that is skipped, up to its end."""
        while self._queue and self._dropping:
            self._dropping = self._queue.popleft() is not PART_END

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
        if self._state == HEADERS:
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
        size = self._size if self._state == BODY else None
        return truncated(delimiter, self._received, size=size, part=part)

    def _no_delimiter(self, limit: int | None) -> str:
        return no_delimiter(self._scanner.delimiter, self._boundary, self._begins[2:], limit)
