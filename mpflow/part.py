"""`Part`: one part, with its headers and a stream of its body.

Knows: how a body is received, gathered and taken for text, JSON or a form, within limits.
Must not know: where the bytes come from (a reader, a channel of a flow, memory).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from json import loads
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar, overload
from urllib.parse import parse_qsl

import anyio
from anyio.abc import ByteReceiveStream
from multidict import CIMultiDictProxy

from mpflow.charsets import text_codec
from mpflow.errors import InvalidContent, LimitExceeded, RouteError, UnsupportedCoding, excerpt
from mpflow.info import PartInfo
from mpflow.pieces import Pieces
from mpflow.structure import structure
from mpflow.wire.limits import Budget, parse_size

if TYPE_CHECKING:
    from mpflow.reader import MultipartReader

__all__ = ["Body", "Level", "Part", "PartInfo"]

MAX_RECEIVE: Final = 65536
"""Bytes that one `receive` gives at most by default."""

_T = TypeVar("_T")
_NO_CODING = frozenset({"", "identity"})
_NO_ENCODING = frozenset({"", "7bit", "8bit", "binary"})


class Body(Protocol):
    """Where a part's bytes come from: each call gives at least one, `EndOfStream` ends them."""

    async def receive(self) -> bytes: ...


class Level(Protocol):
    """What a part knows of the reader that it came from."""

    budget: Budget
    charset: str | None

    @property
    def holder(self) -> Part | None: ...

    def nested(self, part: Part) -> MultipartReader: ...


class Holder(Protocol):
    """What a part knows of the flow whose handler has it."""

    def alive(self) -> None: ...

    def hold_descriptor(self) -> bool: ...


class Part(ByteReceiveStream):
    """One part: its headers, and a stream of its body as it is on the wire.

    It is an `anyio.abc.ByteReceiveStream`: `receive`, `async for` and everything that takes such
    a stream work with it. `receive`, `read`, `readline` and `peek` mix freely: none of them loses
    or repeats a byte. A part that is no longer current raises `anyio.ClosedResourceError`; a body
    that is cut raises what is wrong with it, each time. It never looks empty or whole.
    """

    _inside: tuple[MultipartReader, ...] = ()  # what `multipart` gave; most parts have none

    def __init__(
        self, info: PartInfo, body: Body | None, *, level: Level, data: bytes = b""
    ) -> None:
        self.info = info
        self.level = level
        # Not later: a field that comes after this part says nothing of it.
        self.default_charset = level.charset
        self._body = body
        self._ahead = data  # received, and not given out yet, from `_start` on
        self._start = 0
        self._closed = False
        self.holder: Holder | None = None
        self.bytes_received = len(data)
        """Bytes of the body that have come so far, as they were on the wire."""

    def __repr__(self) -> str:
        return f"<Part {self.info.ref}: {self.info.content_type}>"

    # -- what the headers say -----------------------------------------------------------------

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """See `PartInfo.headers`."""
        return self.info.headers

    @property
    def name(self) -> str | None:
        """See `PartInfo.name`."""
        return self.info.name

    @property
    def filename(self) -> str | None:
        """See `PartInfo.filename`."""
        return self.info.filename

    @property
    def content_type(self) -> str:
        """See `PartInfo.content_type`."""
        return self.info.content_type

    @property
    def content_type_params(self) -> Mapping[str, str]:
        """See `PartInfo.content_type_params`."""
        return self.info.content_type_params

    @property
    def charset(self) -> str | None:
        """See `PartInfo.charset`."""
        return self.info.charset

    @property
    def disposition(self) -> str | None:
        """See `PartInfo.disposition`."""
        return self.info.disposition

    @property
    def index(self) -> int:
        """See `PartInfo.index`."""
        return self.info.index

    @property
    def path(self) -> tuple[int, ...]:
        """See `PartInfo.path`."""
        return self.info.path

    @property
    def is_multipart(self) -> bool:
        """See `PartInfo.is_multipart`."""
        return self.info.is_multipart

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
            self._ahead = await self._pull()
        elif self._body is not None:
            self.alive()  # a byte moves, though the flow does not see it
        data, start = self._ahead, self._start
        end = start + max_bytes
        if end < len(data):
            self._start = end
            return data[start:end]
        self._ahead, self._start = b"", 0
        return data[start:] if start else data

    async def _pull(self) -> bytes:
        """The next bytes of the body itself, past what is ahead."""
        if self._closed:
            self._refuse()
        if self._body is None:
            raise anyio.EndOfStream
        data = await self._body.receive()
        self.bytes_received += len(data)
        return data

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
        for reader in self._inside:
            reader.close()

    async def drain(self) -> None:
        """Read what is left of the part and throw it away."""
        try:
            while True:
                await self.receive()
        except anyio.EndOfStream:
            pass

    # -- gathering ----------------------------------------------------------------------------

    async def read(
        self, *, decode: bool = False, limit: int | str | Literal["default"] | None = "default"
    ) -> bytes:
        """All that is left of the body, `b""` at its end.

        `limit` is the most that may be gathered, by default `Limits.max_memory` (1 MiB); None
        takes any size. Past it `LimitExceeded` is raised before more is read. With `decode` the
        codings that the headers name are undone.
        """
        if decode:
            self._check_codings()
        most = self.level.budget.limits.max_memory if limit == "default" else parse_size(limit)
        given = limit != "default"
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
        """The body without its transfer encoding (`transfer`) and content coding (`content`).

        Raises `UnsupportedCoding` for one that cannot be undone: never undecoded bytes.
        """
        self._check_codings(transfer=transfer, content=content)
        return self

    def decode(self, data: bytes) -> bytes:
        """Undo the codings of a body that was read before. Raises `UnsupportedCoding`."""
        self._check_codings()
        return data

    def _check_codings(self, *, transfer: bool = True, content: bool = True) -> None:
        if self.info.head.is_plain:
            return
        headers = self.info.headers
        encoding = headers.get("Content-Transfer-Encoding", "").strip().lower()
        if transfer and encoding not in _NO_ENCODING:
            raise UnsupportedCoding(
                f"expected no transfer encoding, 7bit, 8bit or binary, got {excerpt(encoding)}",
                part=self.info.ref,
            )
        for value in headers.getall("Content-Encoding", []):
            for coding in value.split(","):
                if content and coding.strip().lower() not in _NO_CODING:
                    raise UnsupportedCoding(
                        f"expected no content coding, got {excerpt(coding.strip())}",
                        part=self.info.ref,
                    )

    # -- taking it for something --------------------------------------------------------------

    async def text(self, encoding: str | None = None) -> str:
        """All that is left, as text.

        By `encoding`, else the charset of the part, else that of a `_charset_` field before it
        (RFC 7578, 4.6), else UTF-8, whose byte order mark is left out. Raises `InvalidContent`
        where the bytes are no such text, `UnsupportedCoding`, and `LimitExceeded` past
        `max_memory`.
        """
        data = await self.read(decode=True)
        charset = encoding or self.info.charset or self.default_charset or "utf-8"
        codec = text_codec(charset)
        if codec is None:
            known = f"expected a known charset, got {excerpt(charset)}"
            raise InvalidContent(known, part=self.info.ref)
        try:
            return data.decode("utf-8-sig" if codec == "utf-8" else codec)
        except UnicodeError as error:
            start = getattr(error, "start", 0)
            raise InvalidContent(
                f"expected text in {codec}, got {excerpt(data[start : start + 8])} "
                f"at byte {start} of the part",
                part=self.info.ref,
            ) from error

    @overload
    async def json(self, into: None = None, *, decoder: Callable[[bytes], Any] = loads) -> Any: ...
    @overload
    async def json(self, into: type[_T], *, decoder: Callable[[bytes], Any] = loads) -> _T: ...
    @overload
    async def json(
        self, into: Callable[[Any], _T], *, decoder: Callable[[bytes], Any] = loads
    ) -> _T: ...
    async def json(
        self,
        into: Callable[[Any], Any] | None = None,
        *,
        decoder: Callable[[bytes], Any] = loads,
    ) -> Any:
        """All that is left, as JSON (RFC 8259).

        `decoder` takes bytes in UTF-8 without a byte order mark (RFC 8259, 8.1), or in UTF-16 or
        UTF-32 where the part came so. `into` is what the decoded value becomes: a type (by
        msgspec, an extra) or a callable. Raises `InvalidContent` where either raises a
        `ValueError`; also what `text` raises.
        """
        charset = self.info.charset or self.default_charset
        if charset is None or (text_codec(charset) or "").startswith("utf"):
            data = (await self.read(decode=True)).removeprefix(codecs.BOM_UTF8)
        else:
            data = (await self.text()).encode()
        try:
            value = decoder(data)
            return value if into is None else structure(value, into)
        except RouteError:
            raise
        except (ValueError, RecursionError) as error:
            raise InvalidContent(
                f"expected JSON, got {excerpt(data) if data else 'nothing'}: {error}",
                part=self.info.ref,
            ) from error

    async def form(self, encoding: str | None = None) -> list[tuple[str, str]]:
        """All that is left, as `application/x-www-form-urlencoded`: the pairs, in order.

        Empty values are kept. At most 1000 pairs. Raises what `text` raises.
        """
        charset = encoding or self.info.charset or self.default_charset or "utf-8"
        text = await self.text(encoding)
        try:
            return parse_qsl(
                text,
                keep_blank_values=True,
                encoding=text_codec(charset) or "utf-8",
                errors="strict",
                max_num_fields=1000,
            )
        except ValueError as error:
            raise InvalidContent(
                f"expected a urlencoded form, got {excerpt(text)}: {error}", part=self.info.ref
            ) from error

    def multipart(self) -> MultipartReader:
        """A reader of the multipart that the part holds, one level deeper, on the same limits.

        Raises `UnsupportedCoding`, `NotMultipart`, `InvalidBoundary` and, past `max_depth`,
        `LimitExceeded`.
        """
        self._check_codings()
        reader = self.level.nested(self)
        self._inside += (reader,)
        return reader

    # -- in a flow ----------------------------------------------------------------------------

    def hold(self, holder: Holder) -> None:
        """For flows: whose handler has the part."""
        self.holder = holder

    def _flow(self) -> Holder | None:
        """The flow whose handler has the part, or the part around it, at whatever depth."""
        part: Part | None = self
        while part is not None and part.holder is None:
            part = part.level.holder
        return None if part is None else part.holder

    def alive(self) -> None:
        """Tell the flow that the handler is at work, though nothing moves that it can see."""
        holder = self._flow()
        if holder is not None:
            holder.alive()

    def hold_descriptor(self) -> bool:
        """True if the handler may keep one more file open until the commit; else it closes it.

        A flow lets a fixed number of files be kept, so that no body exhausts descriptors.
        """
        holder = self._flow()
        return holder is None or holder.hold_descriptor()
