"""`MultipartReader`: a source of bytes to parts, one at a time.

Knows: the source, the decoder of its level, which part is current, and the nested levels.
Must not know: routes, handlers, flows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import anyio
import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from mpflow.errors import (
    EmptyBody,
    InvalidBoundary,
    InvalidContent,
    LimitExceeded,
    MalformedBody,
    NotMultipart,
    UnsupportedCoding,
    excerpt,
)
from mpflow.info import PartInfo
from mpflow.part import Body, Part, text_codec
from mpflow.sources import AsgiReceive, ByteSource, Source, asgi_source, open_source
from mpflow.wire import (
    NEED_DATA,
    Budget,
    Decoder,
    Deviation,
    Event,
    Limits,
    NeedData,
    PartBegin,
    PartData,
    WholePart,
    parse_content_type,
)
from mpflow.wire.decoder import MAX_DEVIATIONS
from mpflow.wire.headers import Head, Policy

__all__ = ["MultipartReader", "Walk"]

MAX_CHARSET = 64
"""Bytes that the value of a `_charset_` field may have."""


class MultipartReader:
    """Reads a `multipart/*` body part by part, without holding it in memory.

    `source` is where the bytes come from: bytes, an async iterable of bytes, an anyio or trio
    receive stream, an asyncio or aiohttp `StreamReader`, a binary file, sync or async.
    `content_type` is the value of the header, with its boundary. `limits` bound each axis
    (default `Limits()`, or those of the router that dispatches the reader). `strict` refuses
    every deviation, `tolerate` names ambiguities to accept.

    Raises `NotMultipart`, `InvalidBoundary`, and `MalformedBody` for a content type that is none,
    when made; `TruncatedBody`, `MalformedBody` and `LimitExceeded` while it reads. Iterating gives
    each `Part`; asking for the next one drains the one before. As an async context manager it
    closes what it made when it is left, and times all reads of the source by
    `Limits.idle_timeout`.
    """

    part_class: ClassVar[type[Part]] = Part
    reader_class: ClassVar[type[MultipartReader] | None] = None
    """The class of the readers of nested parts; None for the class of this reader."""

    def __init__(
        self,
        source: ByteSource | Source,
        content_type: str | None,
        *,
        limits: Limits | None = None,
        strict: bool = False,
        tolerate: Iterable[str] = frozenset(),
    ) -> None:
        policy = Policy(strict=strict, tolerate=frozenset(tolerate))
        if content_type is None:
            raise NotMultipart("expected a content type of multipart/*, and there is none")
        parsed = parse_content_type(content_type, policy=policy)
        if not parsed.is_multipart:
            came = excerpt(parsed.essence)
            raise NotMultipart(f"expected a content type of multipart/*, got {came}")
        if parsed.boundary is None:
            came = excerpt(content_type, limit=80)
            raise InvalidBoundary(f"expected a boundary in the content type, got {came}")
        self.content_type = parsed.essence
        """Type and subtype in lower case."""
        self.headers: Mapping[str, str] = CIMultiDictProxy(
            CIMultiDict({"Content-Type": content_type})
        )
        """The headers of the message, or of the part that holds this level."""
        self.deviations: list[Deviation] = list(parsed.deviations)
        """What was accepted though malformed, in order, of this level and those inside it."""
        self.budget = Budget(limits or Limits())
        self.charset: str | None = None
        """The default charset, once a `_charset_` field has named one."""
        self._limits_given = limits
        self._policy = policy
        self._boundary = parsed.boundary
        self._source = open_source(source)
        self.holder: Part | None = source if isinstance(source, Part) else None
        """The part that holds this level, None for the outermost."""
        self._expected: int | None = None  # what Content-Length says
        self._current: Part | None = None
        self._current_ended = True
        self._taken = 0  # parts so far: the index of the next one
        self._busy = self._closed = self._claimed = self._started = self._at_eof = False
        self._done = False
        self.part_bytes_allowed = False
        """Whether a flow bounds the parts in place of `max_part_bytes`."""
        self._scope: anyio.CancelScope | None = None
        self._timed_by_flow = False
        # A wrong boundary is refused now, not at the first part.
        self._decoder = self._make_decoder()

    @classmethod
    def from_asgi(
        cls,
        scope: Mapping[str, Any],
        receive: AsgiReceive,
        *,
        limits: Limits | None = None,
        strict: bool = False,
        tolerate: Iterable[str] = frozenset(),
    ) -> Self:
        """A reader of the body of an ASGI HTTP request.

        Refuses by the headers alone, before the first `receive()`: `NotMultipart`,
        `InvalidBoundary`, `UnsupportedCoding` for a Content-Encoding, `LimitExceeded` for a
        Content-Length past `max_total_bytes` (without `limits` of its own only when reading
        begins, as a router's may count).
        """
        headers = CIMultiDictProxy(
            CIMultiDict(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in scope["headers"]
            )
        )
        types = headers.getall("Content-Type", [])
        if len(set(types)) > 1:
            raise MalformedBody(f"expected one Content-Type, got {len(types)} that differ")
        for coding in ",".join(headers.getall("Content-Encoding", [])).split(","):
            if coding.strip().lower() not in ("", "identity"):
                raise UnsupportedCoding(
                    f"expected a request without content coding, got {excerpt(coding.strip())}"
                )
        reader = cls(
            asgi_source(receive),
            types[0] if types else None,
            limits=limits,
            strict=strict,
            tolerate=tolerate,
        )
        reader.headers = headers
        length = headers.get("Content-Length", "").strip()
        if length.isascii() and length.isdigit():
            # No message has 10**19 bytes or more; int() refuses thousands of digits.
            reader._expected = int(length.lstrip("0")[:20] or "0")
        if limits is not None:
            reader._check_expected()
        return reader

    # -- parts --------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        part = await self.next_part()
        if part is None:
            raise StopAsyncIteration
        return part

    async def next_part(self) -> Part | None:
        """The next part, or None after the last one. What is left of the one before is drained."""
        if self._closed or self._claimed:
            self._refuse()
        if self._busy:
            raise anyio.BusyResourceError("reading from")
        while not self._done:
            if self._current is not None:
                await self._finish_current()
            event = await self.next_event()
            if type(event) is WholePart:
                part = self.make_part(event.head, None, event.data)
            elif type(event) is PartBegin:
                part = self.make_part(event.head, _WireBody(self))
                self._current_ended = False
            else:
                self._done = True
                break
            self._current = part
            if not self.is_charset(part.info):
                return part
            self.set_charset(part.info, await _begin_of(part, MAX_CHARSET + 1))
        return None

    def _refuse(self) -> None:
        what = "it was closed" if self._closed else "a flow reads it"
        raise anyio.ClosedResourceError(f"the reader cannot be read: {what}")

    async def drain(self) -> None:
        """Read all parts that are left and throw them away. Limits and errors count as ever."""
        while await self.next_part() is not None:
            pass

    def walk(self) -> Walk:
        """An async iterator of the leaves, depth first: parts that are not multiparts."""
        return Walk(self)

    async def aclose(self) -> None:
        """Close the current part, and the iterator over the source that the reader made."""
        self.close()
        if self.holder is None:
            await self._source.aclose()

    def close(self) -> None:
        """Close the current part and read no more; the source is left as it is."""
        self._closed = True
        if self._current is not None:
            self._current.close()

    async def __aenter__(self) -> Self:
        if self.holder is None:
            self._scope = anyio.CancelScope()
            self._scope.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        scope, self._scope = self._scope, None
        try:
            await self.aclose()
        except BaseException as error:
            if scope is None or not scope.__exit__(type(error), error, error.__traceback__):
                raise
            raise self.idle_error() from None
        if scope is not None and scope.__exit__(exc_type, exc, tb) and exc is not None:
            raise self.idle_error() from None

    # -- what flows use of it -----------------------------------------------------------------

    async def next_event(self) -> Event:
        """The next event of this level; reads the source where none is in hand.

        For those who drive the reader at the level of events; it does not mix with parts.
        """
        while True:
            event = self.poll()
            if event is not NEED_DATA:
                return event
            await self.fill()

    def poll(self) -> Event | NeedData:
        """The next event of this level that is in hand, or `NEED_DATA`: then call `fill`."""
        try:
            return self._decoder.next_event()
        except EmptyBody as error:
            raise self._explain_empty(error) from None

    @property
    def taken(self) -> int:
        """How many parts of this level were begun."""
        return self._taken

    @property
    def at_eof(self) -> bool:
        """Whether the source has ended."""
        return self._at_eof

    def limit(self, limits: Limits | None) -> None:
        """For flows: take a router's limits; the tighter of each field where both have some."""
        if limits is not None and not self._started:
            given = self._limits_given is not None or self.budget.path
            self._set_budget(
                attrs.evolve(
                    self.budget, limits=self.budget.limits.tighten(limits) if given else limits
                )
            )
        self._check_expected()

    async def claim(self) -> None:
        """For flows: from now on only `poll` and `fill` read the reader."""
        if self._closed or self._claimed:
            self._refuse()
        self._claimed = self._timed_by_flow = True
        await self._finish_current()

    def allow_part_bytes(self, most: int) -> None:
        """For flows: let a part be larger than `max_part_bytes`; the flow bounds it."""
        limit = self._decoder.part_limit
        if limit is not None and most > limit:
            # Off, not `most`: the flow knows which limit it is that a part has passed.
            self._decoder.part_limit = None
            self.part_bytes_allowed = True

    async def fill(self) -> None:
        """Read the source once, and hand what came to the decoder."""
        decoder = self._decoder
        if self._busy:
            raise anyio.BusyResourceError("reading from")
        if not self._started:
            self._check_expected()
        self._busy = self._started = True
        try:
            chunk = await self._receive()
        except StopAsyncIteration:
            self._at_eof = True
            decoder.receive_eof()
        else:
            decoder.receive_data(chunk)
        finally:
            self._busy = False

    async def _receive(self) -> bytes | bytearray | memoryview:
        limit = self.budget.limits.idle_timeout
        source = self._source
        if self.holder is not None or self._timed_by_flow or limit is None:
            return await source.__anext__()
        if self._scope is not None:
            # One scope whose deadline moves: a source may hold a scope of its own over its yield.
            self._scope.deadline = anyio.current_time() + limit
            try:
                return await source.__anext__()
            finally:
                self._scope.deadline = math.inf
        if not source.timed:
            return await source.__anext__()
        with anyio.move_on_after(limit) as scope:
            return await source.__anext__()
        assert scope.cancelled_caught
        raise self.idle_error()

    def idle_error(self) -> LimitExceeded:
        """The refusal of a source that gave nothing for `idle_timeout`."""
        limit = self.budget.limits.idle_timeout
        text = f"expected more of the body within {limit} s (idle_timeout), and nothing came"
        part = self._current.info.ref if self._current and not self._current_ended else None
        return LimitExceeded("idle_timeout", limit, message=text, part=part, status=408)

    def _make_decoder(self) -> Decoder:
        decoder = Decoder(
            self._boundary,
            strict=self._policy.strict,
            tolerate=self._policy.tolerate,
            subtype=self.content_type.partition("/")[2],
            budget=self.budget,
        )
        for found in decoder.deviations:
            # Those of the boundary; again when a level's limits are replaced.
            placed = attrs.evolve(found, part=self.budget.path or None)
            if placed not in self.deviations and len(self.deviations) < MAX_DEVIATIONS:
                self.deviations.append(placed)
        decoder.deviations = self.deviations
        return decoder

    def _set_budget(self, budget: Budget) -> None:
        """Take other limits, before anything was read."""
        self.budget = budget
        self._decoder = self._make_decoder()

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

    def make_part(self, head: Head, body: Body | None, data: bytes = b"") -> Part:
        """The part that begins, as this level's next one."""
        index = self._taken
        self._taken = index + 1
        size = len(data) if body is None else None
        info = PartInfo(head, index, (*self.budget.path, index), size)
        return self.part_class(info, body, level=self, data=data)

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

    def nested(self, part: Part) -> MultipartReader:
        """A reader of the multipart that `part` holds, one level deeper, on the same budget."""
        cls = self.reader_class or type(self)
        reader = cls(
            part,
            part.headers.get("Content-Type"),
            limits=self.budget.limits,
            strict=self._policy.strict,
            tolerate=self._policy.tolerate,
        )
        reader.headers = part.headers
        reader.charset = part.default_charset
        # What its content type deviates in was recorded with the part's headers.
        reader.deviations = self.deviations
        reader._set_budget(self.budget.nested(part.path, part=part.info.ref))
        return reader

    # -- the part that is current -------------------------------------------------------------

    async def _finish_current(self) -> None:
        if self._current is None:
            return
        self._current.close()
        while not self._current_ended:
            event = await self.next_event()
            self._current_ended = type(event) is not PartData
        self._current = None

    async def receive_body(self) -> bytes:
        """The next bytes of the part that is open; `EndOfStream` once it is whole."""
        if self._current_ended:
            raise anyio.EndOfStream
        event = await self.next_event()
        if type(event) is PartData:
            return event.data
        self._current_ended = True
        raise anyio.EndOfStream


async def _begin_of(part: Part, size: int) -> bytes:
    """The first `size` bytes of a part, fewer where it ends before."""
    data = b""
    try:
        while len(data) < size:
            data += await part.receive(size - len(data))
    except anyio.EndOfStream:
        pass
    return data


class _WireBody:
    """The body of the part that a reader is at."""

    __slots__ = ("_reader",)

    def __init__(self, reader: MultipartReader) -> None:
        self._reader = reader

    async def receive(self) -> bytes:
        return await self._reader.receive_body()


class Walk:
    """The leaves of a multipart, depth first. An async iterator of `Part`."""

    def __init__(self, reader: MultipartReader) -> None:
        self._readers = [reader]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        while self._readers:
            part = await self._readers[-1].next_part()
            if part is None:
                self._readers.pop()
            elif part.is_multipart:
                self._readers.append(part.multipart())
            else:
                return part
        raise StopAsyncIteration
