"""`EventReader`: one level of a message as events, from a source.

Knows: the source, the decoder of the level, the limits that bound both, and the default charset.
Must not know: parts as streams, which part is current, levels inside this one, flows.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from itertools import islice
from types import coroutine
from typing import Any, Final

import anyio
import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from mpflow.charsets import text_codec
from mpflow.errors import (
    BrokenSource,
    EmptyBody,
    InvalidBoundary,
    InvalidContent,
    LimitExceeded,
    MalformedBody,
    NotMultipart,
    excerpt,
)
from mpflow.info import PartInfo
from mpflow.part import Part
from mpflow.sources import ByteSource, Source, open_source
from mpflow.timedreads import TimedReads
from mpflow.wire import (
    NEED_DATA,
    Budget,
    ContentType,
    Decoder,
    Deviation,
    Event,
    Limits,
    NeedData,
    PartData,
    parse_content_type,
)
from mpflow.wire.headers import policy_of
from mpflow.wire.states import MAX_DEVIATIONS

__all__ = ["MAX_CHARSET", "EventReader"]

MAX_CHARSET = 64
"""Bytes that the value of a `_charset_` field may have."""


class EventReader(TimedReads):
    """What `MultipartReader` is made on, and what flows use of it."""

    def __init__(
        self,
        source: ByteSource | Source,
        content_type: str | None,
        *,
        limits: Limits | None = None,
        strict: bool = False,
        tolerate: Iterable[str] = frozenset(),
    ) -> None:
        policy = policy_of(strict=strict, tolerate=tolerate)
        if content_type is None:
            raise NotMultipart("expected a content type of multipart/*, and there is none")
        if not isinstance(content_type, str):
            raise TypeError(f"expected the content type as str, got {content_type!r:.60}")
        holder = source if isinstance(source, Part) else None
        parsed = None if holder is None else _parsed_with(holder, content_type)
        if parsed is None:
            parsed = parse_content_type(content_type, policy=policy)
        if not parsed.is_multipart:
            came = excerpt(parsed.essence)
            raise NotMultipart(f"expected a content type of multipart/*, got {came}")
        if parsed.boundary is None:
            came = excerpt(content_type, limit=80)
            raise InvalidBoundary(f"expected a boundary in the content type, got {came}")
        self.content_type: str = parsed.essence
        """Type and subtype in lower case."""
        self.content_type_params: Mapping[str, str] = parsed.params
        """The parameters of the content type, with names in lower case."""
        self.headers: Mapping[str, str]
        """The headers of the message, or of the part that holds this level."""
        self.deviations: list[Deviation] = [
            attrs.evolve(found, level=None) for found in parsed.deviations
        ]
        """What was accepted though malformed, in order, of this level and those inside it."""
        self.charset: str | None = None
        """The default charset, once a `_charset_` field has named one."""
        self.budget: Budget
        self.holder = holder
        if holder is None:
            self.headers = CIMultiDictProxy(CIMultiDict({"Content-Type": content_type}))
            self.budget = Budget(limits or Limits(), given=limits is not None)
            self._source = open_source(source)
        else:
            self._join(holder, content_type, limits)
            self._source = Source(holder.receive, timed=True)
        self._policy = policy
        self._boundary = parsed.boundary
        self._expected: int | None = None  # what Content-Length says
        self._busy = self._started = self._at_eof = False
        self.part_bytes_allowed: bool = False
        """Whether a flow bounds the parts in place of `max_part_bytes`."""
        self._lay_timing()
        # A wrong boundary is refused now, not at the first part.
        self._decoder = self._make_decoder()

    def _join(self, part: Part, content_type: str, limits: Limits | None) -> None:
        """Become a level of the message that `part` is of: its limits, counts and deviations."""
        self.headers = part.headers
        self.charset = part.default_charset
        try:
            self.budget = part.level.budget.nested(part.path)
        except LimitExceeded as error:
            error.part = part.info.ref  # only now: to name it takes as long as the budget
            raise
        if limits is not None:
            self.budget.tighten(limits)
        if isinstance(part.level, EventReader):
            found, self.deviations = self.deviations, part.level.deviations
            # What its own content type deviates in was recorded with its headers.
            if content_type != part.headers.get("Content-Type"):
                self._record([attrs.evolve(it, part=part.path) for it in found])

    async def next_event(self) -> Event:
        """The next event of this level; reads the source where none is in hand.

        For those who drive the reader at the level of events; it does not mix with parts.
        """
        while (event := self.poll()) is NEED_DATA:
            await self.fetch()
        return event

    def poll(self) -> Event | NeedData:
        """The next event of this level that is in hand, or `NEED_DATA`: then call `fill`."""
        try:
            return self._decoder.next_event()
        except EmptyBody as error:
            raise self._explain_empty(error) from None
        except RecursionError:
            self._decoder = _BROKEN  # an event may be lost; no call, for there is no stack for one
            raise

    def take_data(self) -> bytes | None:
        """Data of the open part, where that is all that is in hand; else None: call `poll`.

        It spares two polls for each chunk of a large part: the next event is `NEED_DATA`.
        """
        decoder = self._decoder
        ready = decoder.ready
        if type(ready) is not PartData:
            return None
        decoder.ready = NEED_DATA
        return ready.data

    @property
    def at_eof(self) -> bool:
        """Whether the source has ended."""
        return self._at_eof

    @property
    def must_end(self) -> bool:
        """Whether the source has to be read to its end, also behind the close delimiter."""
        return self._source.ends_checked

    async def read_to_end(self) -> None:
        """Read on behind the close delimiter, to the end of the source: all of it is epilogue."""
        self.poll()  # what is in hand counts as well
        while not self._at_eof:
            await self.fetch()
            self.poll()

    def limit(self, limits: Limits | None) -> None:
        """For flows: take a router's limits; the tighter of each field where both have some."""
        if limits is not None:
            self._decoder.tighten(limits)
        self._check_expected()

    def allow_endless(self) -> None:
        """For streams without end: no count of parts and no totals, unless limits were given."""
        if not self.budget.given:
            self.limit(Limits.stream())

    def allow_part_bytes(self, most: int) -> None:
        """For flows: let a part be larger than `max_part_bytes`; the flow bounds it."""
        limit = self._decoder.part_limit
        if limit is not None and most > limit:
            # Off, not `most`: the flow knows which limit it is that a part has passed.
            self._decoder.part_limit = None
            self.part_bytes_allowed = True

    def give_up(self) -> None:
        """For flows: nobody reads on, and what came is let go of."""
        if not self._decoder.ended:
            self._decoder = _GIVEN_UP
            self.budget.counts.settle()

    async def fill(self) -> None:
        """Read the source once, and hand what came to the decoder."""
        await self.fetch()

    @coroutine
    def fetch(self) -> Generator[Any, Any, None]:
        """The same, but no task can be made of it: a coroutine less for each chunk."""
        if self._busy:
            raise anyio.BusyResourceError("reading from")
        if not self._started:
            self._check_expected()
        self._busy = self._started = True
        decoder = self._decoder
        try:
            if self.budget.limits.min_rate or (self._scope is None and not self._timed_by_flow):
                read = self._receive()
            else:
                # What `_receive` gives then, without its calls: a level inside a part has no scope.
                read = self._source.__anext__()
            if self.holder is not None:
                # Not by hand: where the stack ends, the levels around would be left half way.
                data = yield from read.__await__()
            else:
                # Driven by hand: a coroutine less a chunk, and no timer for what does not wait.
                try:
                    first = read.send(None)
                except StopIteration as done:
                    data = done.value
                else:
                    data = yield from self._wait(read, first)
            decoder.receive_data(data)
        except StopAsyncIteration:
            self._at_eof = True
            self._idle.stop()
            decoder.receive_eof()
        except RecursionError as error:
            self._decoder = _BROKEN  # what came may be lost
            if self.holder is None:
                raise
            raise self._too_deep(self.holder) from error
        except BaseException:
            self._idle.stop()
            raise
        finally:
            self._busy = False

    def _too_deep(self, holder: Part) -> LimitExceeded:
        value = self.budget.limits.max_depth
        text = f"expected fewer levels than Python's stack holds (max_depth is {value})"
        return LimitExceeded("max_depth", value, message=text, part=holder.info.ref)

    def _make_decoder(self) -> Decoder:
        decoder = Decoder(
            self._boundary,
            strict=self._policy.strict,
            tolerate=self._policy.tolerate,
            subtype=self.content_type.partition("/")[2],
            budget=self.budget,
        )
        self._record(decoder.deviations)  # those of the boundary
        decoder.deviations = self.deviations
        return decoder

    def _record(self, found: Iterable[Deviation]) -> None:
        self.deviations += islice(found, max(0, MAX_DEVIATIONS - len(self.deviations)))

    def _explain_empty(self, error: EmptyBody) -> EmptyBody:
        if not self._expected:
            return error
        return EmptyBody(
            f"{error.message}, though Content-Length said {self._expected}: a server that drops "
            "the body of a request with 'Upgrade: h2c' does so (uvicorn with httptools; use "
            "--http h11, or HTTP/1.1 in the client)"
        )

    def _check_expected(self) -> None:
        limits = self.budget.limits
        most = limits.max_total_bytes
        if most is None or limits.max_epilogue is None or self._expected is None:
            return
        if self._expected > most + limits.max_epilogue:
            text = f"expected at most {most} bytes, and Content-Length says {self._expected}"
            raise LimitExceeded("max_total_bytes", most, message=text)

    def note(self, code: str, detail: str, info: PartInfo) -> None:
        """Record what is wrong with a part that came, or raise `MalformedBody`."""
        found: list[Deviation] = []
        try:
            self._policy.note(code, detail, found, part=info.path)
        except MalformedBody as error:
            error.part = info.ref
            raise
        self._record([attrs.evolve(it, level=self.budget.path) for it in found])

    def is_charset(self, info: PartInfo) -> bool:
        """True for the field that names the charset of those after it (RFC 7578, 4.6)."""
        return (
            info.name == "_charset_"
            and info.filename is None
            and self.content_type == "multipart/form-data"
        )

    def set_charset(self, info: PartInfo, value: bytes) -> None:
        """Take the value of a `_charset_` field."""
        charset = value.decode("ascii", "replace").strip()
        if len(value) > MAX_CHARSET or text_codec(charset) is None:
            raise InvalidContent(
                f"expected a known charset in the field _charset_, got {excerpt(value)}",
                part=info.ref,
            )
        self.charset = charset


def _parsed_with(holder: Part, content_type: str) -> ContentType | None:
    """The content type of a part, where it is what was parsed with its headers, and flawless."""
    head = holder.info.head
    if head.deviations or content_type != head.headers.get("Content-Type"):
        return None
    parsed = head.parsed_content_type
    return parsed if parsed.is_multipart else None


class _BrokenDecoder(Decoder):
    """Stands in for a decoder that is no more."""

    __slots__ = ("_why",)

    def __init__(self, why: str) -> None:
        super().__init__("broken")
        self._why = why

    def next_event(self) -> Event | NeedData:
        raise BrokenSource(f"the body cannot be read on: {self._why}")

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        self.next_event()


_BROKEN: Final = _BrokenDecoder("Python's stack was full")
_GIVEN_UP: Final = _BrokenDecoder("the flow that read it has failed")
