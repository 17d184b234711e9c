"""`MultipartReader`: a source of bytes to parts, one at a time.

Knows: the source, the decoder of its level, which part is current, and the nested levels.
Must not know: routes, handlers, flows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import anyio

from mpflow.errors import PartRef
from mpflow.frames import Frames
from mpflow.info import part_info
from mpflow.level import MAX_CHARSET, EventReader
from mpflow.mail import open_mail
from mpflow.messages import Message, asgi_message, open_message
from mpflow.pairs import Pairs
from mpflow.part import Body, Part
from mpflow.related import Related
from mpflow.sources import AsgiReceive, ByteSource, Source, open_source
from mpflow.walk import Walk
from mpflow.wire import NEED_DATA, Limits, PartBegin, PartData, WholePart
from mpflow.wire.headers import Head

__all__ = ["MultipartReader"]


class MultipartReader(EventReader):
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
        super().__init__(source, content_type, limits=limits, strict=strict, tolerate=tolerate)
        self._current: Part | None = None
        self._current_ended = True
        self._taken = 0  # parts so far: the index of the next one
        self._closed = self._claimed = self._done = False
        self._inside: list[Related] = []  # what holds a file of its own

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
        return cls._of(
            asgi_message(scope, receive), limits=limits, strict=strict, tolerate=tolerate
        )

    @classmethod
    def from_message(
        cls,
        message: object,
        *,
        limits: Limits | None = None,
        strict: bool = False,
        tolerate: Iterable[str] = frozenset(),
    ) -> Self:
        """A reader of a request or a response, told by its shape: headers and a streaming body.

        Responses of httpx, httpx2, aiohttp and niquests; requests of aiohttp, Starlette, FastAPI,
        Litestar, Falcon and BlackSheep. The content codings of a response (gzip, deflate, br,
        zstd; several) are undone as it is read, but where its client has done so: within
        `max_decoded_ratio`, and `max_total_bytes` counts what comes of them. A response with one
        is read to its end before the reader says that no part is left: only there it shows
        whether all of it was right (`InvalidContent`). What aiohttp undoes by itself it does not
        check there: have it not, with `auto_decompress=False`. A request may have none. Refuses
        by the headers alone as `from_asgi` does; raises `TypeError` for anything else. The
        message itself stays open.
        """
        opened = open_message(message, limits=limits or Limits())
        return cls._of(opened, limits=limits, strict=strict, tolerate=tolerate)

    @classmethod
    def from_response(
        cls,
        message: object,
        *,
        limits: Limits | None = None,
        strict: bool = False,
        tolerate: Iterable[str] = frozenset(),
    ) -> Self:
        """The same as `from_message`."""
        # Not an alias: type checkers bind `Self` in a method only.
        return cls.from_message(message, limits=limits, strict=strict, tolerate=tolerate)

    @classmethod
    async def from_mail(
        cls,
        source: ByteSource,
        *,
        limits: Limits | None = None,
        strict: bool = False,
        tolerate: Iterable[str] = frozenset(),
    ) -> Self:
        """A reader of a mail or a saved page (`.eml`, `.mhtml`), whose headers `source` holds too.

        Reads up to the blank line behind the headers, at most `Limits.max_total_header_bytes`.
        Files that tools have stored with bare LFs need `tolerate={"bare-lf"}`. Raises what the
        constructor does, `TruncatedBody` where no blank line comes, and `UnsupportedCoding` for a
        transfer encoding that a multipart may not have.
        """
        opened = open_source(source)
        try:
            message, found = await open_mail(
                opened, limits=limits or Limits(), strict=strict, tolerate=tolerate
            )
            reader = cls._of(message, limits=limits, strict=strict, tolerate=tolerate)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await opened.aclose()
            raise
        # Those of the content type are among them, with their place.
        known = {deviation.code for deviation in found}
        reader.deviations[:] = found + [
            it for it in reader.deviations if it.level is not None or it.code not in known
        ]
        return reader

    @classmethod
    def _of(
        cls, message: Message, *, limits: Limits | None, strict: bool, tolerate: Iterable[str]
    ) -> Self:
        reader = cls(
            message.source,
            message.content_type,
            limits=limits,
            strict=strict,
            tolerate=tolerate,
        )
        reader.headers = message.headers
        reader._expected = message.length
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
                self._current.close()
                if not self._current_ended:
                    await self._drain_current()
                self._current = None
            while (event := self.poll()) is NEED_DATA:  # not `next_event`: a coroutine less
                await self.fetch()
            if type(event) is WholePart:
                part = self.make_part(event.head, None, event.data)
            elif type(event) is PartBegin:
                part = self.make_part(event.head, _WireBody(self))
                self._current_ended = False
            else:
                if self.must_end:
                    await self.read_to_end()
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

    def pairs(self) -> Pairs:
        """An async iterator of `(document, attachments)`, one a part of this level.

        A part that is a multipart is a document, its first part, with attachments, the others; any
        other part is a document that stands alone. The document is a `Part`, the attachments an
        async iterator of parts. Both stream: read the document first, then the attachments, then
        go on; what is passed over is drained.
        """
        return Pairs(self)

    def related(self) -> Related:
        """The body as a `multipart/related` (RFC 2387): a root, and parts by their Content-ID.

        Raises `NotMultipart` for another subtype. It takes the place of iterating the reader.
        """
        related = Related(self)
        self._inside.append(related)
        return related

    def frames(self, *, latest: bool = True, max_bytes: int | str = "8 MiB") -> Frames:
        """The frames of a `multipart/x-mixed-replace`, as an async context manager.

        Each comes as soon as it is whole. `latest` (True) gives a slow consumer the newest frame
        and drops those before it; False gives each. `max_bytes` bounds one frame. A reader without
        limits of its own takes `Limits.stream()`.
        """
        return Frames(self, latest=latest, max_bytes=max_bytes)

    async def aclose(self) -> None:
        """Close the current part, and the iterator over the source that the reader made."""
        self.close()
        if self.holder is None:
            self._source.wanted = not self._decoder.ended
            await self._source.aclose()

    def close(self) -> None:
        """Close the current part and read no more; the source is left as it is."""
        current = self.shut()
        if current is not None:
            current.close()

    def shut(self) -> Part | None:
        """For parts: close this level alone. The part that is current is left to the caller."""
        self._closed = True
        self._idle.stop()
        for related in self._inside:
            related.close()
        return self._current

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

    @property
    def taken(self) -> int:
        """How many parts of this level were begun."""
        return self._taken

    async def claim(self) -> None:
        """For flows: from now on only `poll` and `fill` read the reader."""
        if self._closed or self._claimed:
            self._refuse()
        self._claimed = self._timed_by_flow = True
        current, self._current = self._current, None
        if current is not None:
            current.close()
        if not self._current_ended:
            # Not drained here: the flow reads, and it alone times what it reads.
            self._current_ended = True
            self._decoder.skip_part()

    def make_part(self, head: Head, body: Body | None, data: bytes = b"") -> Part:
        """The part that begins, as this level's next one."""
        index = self._taken
        self._taken = index + 1
        size = len(data) if body is None else None
        info = part_info(head, index, (*self.budget.path, index), size)
        return self.part_class(info, body, level=self, data=data)

    def nested(self, part: Part) -> MultipartReader:
        """A reader of the multipart that `part` holds, one level deeper, on the same budget."""
        cls = self.reader_class or type(self)
        return cls(
            part,
            part.headers.get("Content-Type"),
            strict=self._policy.strict,
            tolerate=self._policy.tolerate,
        )

    # -- the part that is current -------------------------------------------------------------

    def _open_ref(self) -> PartRef | None:
        if self._current is None or self._current_ended:
            return None
        return self._current.info.ref

    async def _drain_current(self) -> None:
        while not self._current_ended:
            event = await self.next_event()
            self._current_ended = type(event) is not PartData

    async def receive_body(self) -> bytes:
        """The next bytes of the part that is open; `EndOfStream` once it is whole."""
        if self._current_ended:
            raise anyio.EndOfStream
        # Not `next_event`, nor `receive` in `Part.__anext__`: a coroutine less for each chunk.
        if self._decoder.ready is NEED_DATA:
            await self.fetch()
            data = self.take_data()
            if data is not None:
                return data
        while (event := self.poll()) is NEED_DATA:
            await self.fetch()
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

    __slots__ = ("receive",)

    def __init__(self, reader: MultipartReader) -> None:
        self.receive = reader.receive_body
