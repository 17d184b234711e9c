"""`Part`: one part, with its headers and a stream of its body.

Knows: how a body is received, gathered and decoded, within limits.
Must not know: where the bytes come from (a reader, a channel of a flow, memory).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypedDict

import anyio
import attrs
from anyio.abc import ByteReceiveStream

from mpflow.decoding import DecodedStream, DecodePolicy, decode_whole, decoding_of
from mpflow.errors import LimitExceeded, UnsupportedCoding, excerpt
from mpflow.info import Described, PartInfo
from mpflow.pieces import Pieces
from mpflow.values import Values
from mpflow.wire.codings import Coding, codings_of
from mpflow.wire.limits import Budget, parse_size

if TYPE_CHECKING:
    from mpflow.reader import MultipartReader

__all__ = ["Body", "Level", "Part", "PartInfo"]

MAX_RECEIVE: Final = 65536
"""Bytes that one `receive` gives at most by default."""

_MAX_ITERATED: Final = 4 * MAX_RECEIVE
"""The same for a step of an iteration by hand: servers read as much at once, and a cut copies."""


def _undone(policy: DecodePolicy) -> _Undone:
    """The arguments of `decoded` for a policy."""
    return {"transfer": policy != "none", "content": policy == "all"}


class _Undone(TypedDict):
    transfer: bool
    content: bool


class Body(Protocol):
    """Where a part's bytes come from: each call gives at least one, `EndOfStream` ends them."""

    async def receive(self) -> bytes: ...


class Level(Protocol):
    """What a part knows of the reader that it came from."""

    budget: Budget
    charset: str | None
    content_type: str

    @property
    def holder(self) -> Part | None: ...

    def nested(self, part: Part) -> MultipartReader: ...


class Holder(Protocol):
    """What a part knows of the flow whose handler has it."""

    @property
    def decode(self) -> DecodePolicy: ...

    @property
    def place(self) -> tuple[int, ...]: ...

    def alive(self) -> None: ...

    def fails_by_itself(self) -> None: ...

    def hold_descriptor(self) -> bool: ...


class Part(Described, Values, ByteReceiveStream):
    """One part: its headers, and a stream of its body as it is on the wire.

    It is an `anyio.abc.ByteReceiveStream`: `receive`, `async for` and everything that takes such
    a stream work with it. `receive`, `read`, `readline` and `peek` mix freely: none of them loses
    or repeats a byte. Iterating gives pieces as they came, of at most 256 KiB; in a flow, and in a
    nested part, of 64 KiB.
    A part that is no longer current raises `anyio.ClosedResourceError`; a body that is cut raises
    what is wrong with it, each time. It never looks empty or whole.
    """

    _inside: tuple[MultipartReader, ...] = ()  # what `multipart` gave; most parts have none
    _undoing: tuple[tuple[Coding, ...], DecodedStream] | None = None  # what `decoded` gave
    _receives_itself = True  # else a subclass has its own `receive`, and iterating calls that

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._receives_itself = cls.receive is Part.receive

    def __init__(
        self, info: PartInfo, body: Body | None, *, level: Level, data: bytes = b""
    ) -> None:
        self.info: PartInfo = info
        self.level = level
        # Not later: a field that comes after this part says nothing of it.
        self.default_charset: str | None = level.charset
        self._body = body
        self._ahead = data  # received, and not given out yet, from `_start` on
        self._start = 0
        self._closed = False
        self.holder: Holder | None = None
        self.bytes_received: int = len(data)
        """Bytes of the body that have come so far, as they were on the wire."""

    def __repr__(self) -> str:
        return f"<Part {self.info.ref}: {self.info.content_type}>"

    @property
    def bytes_taken(self) -> int:
        """Bytes of the body that were given out so far; those that were only peeked at, not."""
        return self.bytes_received - len(self._ahead) + self._start

    # -- the stream ---------------------------------------------------------------------------

    async def receive(self, max_bytes: int = MAX_RECEIVE) -> bytes:
        """The next bytes of the body: at least one, at most `max_bytes`.

        Raises `anyio.EndOfStream` once the part is whole, `ClosedResourceError` once it is no
        longer current, and what is wrong with the body (`TruncatedBody`, ...) where it is cut.
        """
        if max_bytes < 1:
            raise ValueError(f"expected max_bytes of at least 1, got {max_bytes}")
        if self._closed:
            self._refuse()
        if not self._ahead:
            data = await self._pull()
            if len(data) <= max_bytes:
                return data
            self._ahead = data
        elif self._body is not None:
            self.alive()  # a byte moves, though the flow does not see it
        data, start = self._ahead, self._start
        end = start + max_bytes
        if end < len(data):
            self._start = end
            return data[start:end]
        self._ahead, self._start = b"", 0
        return data[start:] if start else data

    async def __anext__(self) -> bytes:
        try:
            if self._receives_itself:
                # The quick ways of what most are: a coroutine or two less for each chunk.
                if self._closed:
                    self._refuse()
                data = self._ahead
                if not data:
                    if self._body is None:
                        raise StopAsyncIteration
                    data = await self._body.receive()
                    self.bytes_received += len(data)
                    if len(data) <= MAX_RECEIVE or len(data) <= self._most_at_once:
                        return data
                    self._ahead = data
                elif self._body is None and not self._start and len(data) <= MAX_RECEIVE:
                    self._ahead = b""
                    return data
            return await self.receive(self._most_at_once)
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def _pull(self) -> bytes:
        """The next bytes of the body itself, past what is ahead."""
        if self._closed:
            self._refuse()
        if self._body is None:
            raise anyio.EndOfStream
        data = await self._body.receive()
        self.bytes_received += len(data)
        return data

    def check_current(self) -> None:
        """Raise `ClosedResourceError` if the part is no longer current."""
        if self._closed:
            self._refuse()

    def _refuse(self) -> None:
        raise anyio.ClosedResourceError(
            f"{self.info.ref} is no longer current: the reader or the flow has gone on"
        )

    async def aclose(self) -> None:
        """Give the part up. What is left of it is drained when the next part is asked for."""
        self.close()

    def close(self) -> None:
        """The same as `aclose`, which has nothing to wait for. Closes the levels inside, too."""
        self._closed = True
        self._ahead, self._start = b"", 0
        if self._inside:
            self._close_inside()

    def _close_inside(self) -> None:
        # Not one call a level: there can be more levels open than Python's stack holds.
        parts: list[Part] = [self]
        while parts:
            part = parts.pop()
            part._closed = True
            part._ahead, part._start = b"", 0
            readers, part._inside = part._inside, ()  # each leads back here
            for reader in readers:
                inner = reader.shut()
                if inner is not None:
                    parts.append(inner)

    async def drain(self) -> None:
        """Read what is left of the part and throw it away."""
        try:
            while True:
                await self.receive()
        except anyio.EndOfStream:
            pass

    @property
    def _most_at_once(self) -> int:
        outermost = self.holder is None and self.level.holder is None
        return _MAX_ITERATED if outermost else MAX_RECEIVE

    # -- gathering ----------------------------------------------------------------------------

    async def read(
        self,
        *,
        decode: bool | DecodePolicy = False,
        limit: int | str | Literal["default"] | None = "default",
    ) -> bytes:
        """All that is left of the body, `b""` at its end.

        `limit` is the most that may be gathered, by default `Limits.max_memory` (1 MiB); None
        takes any size. Past it `LimitExceeded` is raised before more is read. With `decode` the
        codings that the headers name are undone, as `decoded` does it: all of them (True), or
        those of a policy; then `limit` bounds what comes of them.
        """
        most, given = self._most(limit), limit != "default"
        if decode and not self.info.head.is_plain:
            stream = self.decoded(**_undone("all" if decode is True else decode))
            if stream is not self:
                assert isinstance(stream, DecodedStream)
                return await self._read_decoded(stream, most, given=given)
        if self._closed:
            self._refuse()
        data = self._ahead[self._start :] if self._start else self._ahead
        if self._body is None:
            self._count(len(data), most, given=given)
            self._ahead, self._start = b"", 0
            return data
        self._ahead, self._start = b"", 0
        pieces = Pieces(data)
        try:
            try:
                while most is None or pieces.size <= most:
                    pieces.add(await self._pull())
            except anyio.EndOfStream:
                pass
            self._count(pieces.size, most, given=given)
        except BaseException:
            self._put_back(pieces)
            raise
        return pieces.take()

    async def _read_decoded(self, stream: DecodedStream, most: int | None, *, given: bool) -> bytes:
        pieces = await stream.gather(most)
        try:
            self._count(pieces.size, most, given=given)
        except LimitExceeded:
            stream.put_back(pieces)
            raise
        return pieces.take()

    def _most(self, limit: int | str | Literal["default"] | None) -> int | None:
        return self.level.budget.limits.max_memory if limit == "default" else parse_size(limit)

    def _put_back(self, pieces: Pieces) -> None:
        """After a refusal or a cancellation: nothing is lost to who reads on."""
        if not self._closed:
            self._ahead, self._start = pieces.take() + self._ahead[self._start :], 0

    def _count(self, size: int, most: int | None, *, given: bool) -> None:
        if most is not None and size > most:
            text = f"expected a part of at most {most} bytes to gather in memory, and more came"
            raise LimitExceeded("max_memory", most, message=text, part=self.info.ref)
        try:
            self.level.budget.take_memory(size, allow=most if given else 0)
        except LimitExceeded as error:
            error.part = self.info.ref
            raise

    async def readline(self) -> bytes:
        """The next line with its LF, the last one perhaps without; `b""` at the end.

        A line is gathered, and so bounded by `Limits.max_memory`.
        """
        if self._closed:
            self._refuse()
        pieces = Pieces()
        most = self.level.budget.limits.max_memory
        end = 0
        try:
            while not end:
                if not self._ahead:
                    self._ahead = await self._pull()
                elif self._body is not None:
                    self.alive()
                data, start = self._ahead, self._start
                end = data.find(b"\n", start) + 1
                pieces.add(data[start : end or len(data)])
                self._start = end
                if not end or end == len(data):
                    self._ahead, self._start = b"", 0
                if most is not None and pieces.size > most:
                    text = f"expected lines of at most {most} bytes, and a longer one came"
                    raise LimitExceeded("max_memory", most, message=text, part=self.info.ref)
        except anyio.EndOfStream:
            pass
        except BaseException:
            self._put_back(pieces)
            raise
        return pieces.take()

    async def peek(self, n: int) -> bytes:
        """The next `n` bytes, fewer only where the part ends, without taking them."""
        most = self.level.budget.limits.max_memory
        if n < 1 or (most is not None and n > most):
            raise ValueError(f"expected to peek at 1 to {most} bytes, got {n}")
        if self._closed:
            self._refuse()
        start = self._start
        if len(self._ahead) - start >= n:
            return self._ahead[start : start + n]
        pieces = Pieces(self._ahead[start:])
        try:
            while pieces.size < n:
                pieces.add(await self._pull())
        except anyio.EndOfStream:
            pass
        finally:
            self._ahead, self._start = pieces.take(), 0
        return self._ahead[self._start : self._start + n]

    # -- codings ------------------------------------------------------------------------------

    def decoded(self, *, transfer: bool = True, content: bool = True) -> ByteReceiveStream:
        """The body without its transfer encoding (`transfer`) and content codings (`content`).

        The part itself where there is nothing to undo. Else a stream that reads the part; it is
        the same one each time, and what the part's own verbs take is lost to it. Content codings
        of form-data are not undone: RFC 7578, 4.8 says that such headers "MUST be ignored".
        Raises `UnsupportedCoding` for a coding that is unknown or whose library is missing, here;
        `InvalidContent` and `LimitExceeded` (`max_decoded_bytes`, `max_decoded_ratio`) while it
        is read.
        """
        codings = self._codings(transfer=transfer, content=content)
        if not codings:
            return self
        if self._undoing is None or self._undoing[0] != codings:
            ref, limits = self.info.ref, self.level.budget.limits
            decoding = decoding_of(codings, limits, part=ref)
            self._undoing = codings, DecodedStream(self, codings, decoding, part=ref)
        return self._undoing[1]

    @property
    def decode_policy(self) -> DecodePolicy:
        """What is undone when the part is stored: the `decode` of its route, or `"transfer"`."""
        flow = self._flow()
        return "transfer" if flow is None else flow.decode

    def stored(self) -> ByteReceiveStream:
        """The body as handlers store it: `decoded`, by `decode_policy`."""
        return self.decoded(**_undone(self.decode_policy))

    def decode(
        self, data: bytes, *, limit: int | str | Literal["default"] | None = "default"
    ) -> bytes:
        """Undo the codings of a whole body that was read before, at once.

        `limit` bounds what comes of it, as that of `read` does. Raises what `decoded` raises.
        """
        codings = self._codings()
        if not codings:
            return data
        most = self._most(limit)
        ref, limits = self.info.ref, self.level.budget.limits
        pieces = decode_whole(decoding_of(codings, limits, part=ref), data, most, part=ref)
        self._count(pieces.size, most, given=limit != "default")
        return pieces.take()

    def _codings(self, *, transfer: bool = True, content: bool = True) -> tuple[Coding, ...]:
        """The codings that are to be undone, as they were applied; those that do nothing aside."""
        if self.info.head.is_plain:
            return ()
        content = content and self.level.content_type != "multipart/form-data"
        try:
            found = codings_of(self.info.headers, transfer=transfer, content=content)
        except UnsupportedCoding as error:
            error.part = self.info.ref
            raise
        return tuple(coding for coding in found if not coding.is_plain)

    # -- taking it for something --------------------------------------------------------------

    async def gather(self) -> bytes:
        """The same as `read(decode=True)`."""
        return await self.read(decode=True)

    def multipart(self) -> MultipartReader:
        """A reader of the multipart that the part holds, one level deeper, on the same limits.

        Raises `NotMultipart`, `InvalidBoundary`, past `max_depth` `LimitExceeded`, and
        `UnsupportedCoding` where the part has a coding: RFC 2045, 6.4 allows a multipart none.
        """
        if codings := self._codings():
            raise UnsupportedCoding(
                f"expected a multipart without a coding, got {excerpt(codings[-1].name)}",
                part=self.info.ref,
            )
        reader = self.level.nested(self)
        self._inside += (reader,)
        return reader

    # -- in a flow ----------------------------------------------------------------------------

    def hold(self, holder: Holder) -> None:
        """For flows: whose handler has the part."""
        self.holder = holder

    def moved(self, body: Body, size: int) -> None:
        """For flows: the body, of which nothing was received, is to be had from `body`."""
        self.info = attrs.evolve(self.info, size=size)
        self._body = body
        self._ahead, self._start, self.bytes_received = b"", 0, 0

    def _flow(self) -> Holder | None:
        """The flow whose handler has the part, or the part around it, at whatever depth."""
        part: Part | None = self
        while part is not None and part.holder is None:
            part = part.level.holder
        return None if part is None else part.holder

    @property
    def place(self) -> tuple[int, ...]:
        """Where its handler stands among all of the message: of two, the lower one comes first.

        It is `path`, and behind the index of each part that branches, the number of the branch.
        """
        below: list[int] = []
        part: Part = self
        while part.holder is None:
            around = part.level.holder
            if around is None:
                return self.path
            below.append(part.info.index)
            part = around
        return (*part.holder.place, *reversed(below))

    def alive(self) -> None:
        """Tell the flow that the handler is at work, though nothing moves that it can see."""
        holder = self._flow()
        if holder is not None:
            holder.alive()

    def fails_by_itself(self) -> None:
        """Tell the flow that the handler fails over what came before that which ended the body.

        For one that reads ahead, and was given that already; else its failure is taken for one of
        the body.
        """
        holder = self._flow()
        if holder is not None:
            holder.fails_by_itself()

    def hold_descriptor(self) -> bool:
        """True if the handler may keep one more file open until the commit; else it closes it.

        A flow lets a fixed number of files be kept, so that no body exhausts descriptors.
        """
        holder = self._flow()
        return holder is None or holder.hold_descriptor()
