"""`ByteRanges`: the ranges of an HTTP answer, read and put where they belong (RFC 9110, 14 and 15).

Knows: the three shapes of an answer to a Range, where each range goes, which bytes are there.
Must not know: the wire, who sent the answer, what the bytes mean.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO, Final, Self

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream

from mpflow.contentrange import ContentRange
from mpflow.errors import (
    LimitExceeded,
    MalformedBody,
    NotMultipart,
    PartRef,
    TruncatedBody,
    UnsupportedCoding,
    excerpt,
)
from mpflow.messages import open_message
from mpflow.part import Part
from mpflow.reader import MultipartReader
from mpflow.sources import Source
from mpflow.wire.limits import Limits

__all__ = ["ByteRanges", "RangePart"]

_PARTIAL, _WHOLE = 206, 200
_TOO_FAR: Final = (errno.EFBIG, errno.EINVAL, errno.EOVERFLOW)
"""What systems say of a place that the file cannot have."""


class RangePart(ByteReceiveStream):
    """One range of the answer: which bytes it holds, and a stream of them.

    It gives exactly the bytes that its Content-Range announces: fewer raise `TruncatedBody`, more
    raise `MalformedBody`.
    """

    def __init__(
        self,
        body: Part | Source,
        range: ContentRange | None,
        headers: Mapping[str, str],
        *,
        most: int | None = None,
    ) -> None:
        self.headers = headers
        """The headers of the part, or of the answer where it is one range."""
        self.range = range
        """None for a whole body whose length nobody knows before its end."""
        self.received: int = 0
        """Bytes that have come so far."""
        self._body = body
        self._ahead = b""
        self._most = most  # of a single range: a part is bounded by its reader

    @property
    def start(self) -> int:
        """The place of the first byte, from 0."""
        return 0 if self.range is None else self.range.start

    @property
    def end(self) -> int | None:
        """The place after the last byte; None where nobody knows yet."""
        return None if self.range is None else self.range.end

    @property
    def total(self) -> int | None:
        """How many bytes the whole has; None where nobody knows."""
        return None if self.range is None else self.range.total

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next bytes: at least one, at most `max_bytes`. Raises `anyio.EndOfStream`."""
        if not self._ahead:
            self._ahead = await self._pull()
        data, self._ahead = self._ahead[:max_bytes], self._ahead[max_bytes:]
        return data

    async def _pull(self) -> bytes:
        try:
            if isinstance(self._body, Part):
                data = await self._body.receive()
            else:
                data = b""
                while not data:
                    data = bytes(await anext(self._body))
        except (anyio.EndOfStream, StopAsyncIteration):
            if self.range is not None and self.received < self.range.end - self.range.start:
                raise TruncatedBody(self._said("the body ended"), part=self.ref) from None
            raise anyio.EndOfStream from None
        self.received += len(data)
        if self.range is not None and self.received > self.range.end - self.range.start:
            raise MalformedBody(self._said("more came"), part=self.ref)
        if self._most is not None and self.received > self._most:
            raise LimitExceeded("max_part_bytes", self._most)
        return data

    @property
    def ref(self) -> PartRef | None:
        """How errors name the part; None where the answer is one range."""
        return self._body.info.ref if isinstance(self._body, Part) else None

    def _said(self, what: str) -> str:
        assert self.range is not None
        size = self.range.end - self.range.start
        return f"expected {size} bytes for '{self.range}', and {what} after {self.received}"

    async def aclose(self) -> None:
        """Give the range up. What is left of it is drained when the next one is asked for."""
        if isinstance(self._body, Part):
            await self._body.aclose()

    async def close_source(self) -> None:
        """Close what was made to read a single range."""
        if isinstance(self._body, Source):
            await self._body.aclose()


class ByteRanges:
    """The ranges of an answer, in their order: an async iterator of `RangePart`.

    Made of a `MultipartReader` of a `multipart/byteranges`, or by `from_message` of any answer to
    a request with a Range. Ranges that overlap, or that differ in their total, raise
    `MalformedBody`. As an async context manager it closes what it made when it is left.
    """

    def __init__(self, reader: MultipartReader | RangePart) -> None:
        if isinstance(reader, MultipartReader) and reader.content_type != "multipart/byteranges":
            came = excerpt(reader.content_type)
            raise NotMultipart(f"expected a content type of multipart/byteranges, got {came}")
        self.total: int | None = None
        """How many bytes the whole has; None where nobody knows (yet)."""
        self.written: list[tuple[int, int]] = []
        """Which bytes `write_to` has written, as `(start, end)`, in order, joined."""
        self._reader = reader
        self._seen: list[tuple[int, int]] = []
        self._given = False

    @classmethod
    def from_message(cls, response: object, *, limits: Limits | None = None) -> Self:
        """The ranges of a response, as `MultipartReader.from_message` takes it.

        A 206 is a multipart or a single range (RFC 9110, 15.3.7). A 200 is the whole: servers may
        ignore a Range. Raises `NotMultipart` for any other status, `MalformedBody` for a 206
        without a range, `UnsupportedCoding` for an answer with a content coding, whose ranges
        would count coded bytes. `Limits.max_part_bytes` bounds a single range as well.
        """
        message = open_message(response)
        if message.status not in (_PARTIAL, _WHOLE):
            raise NotMultipart(f"expected an answer with status 206 or 200, got {message.status}")
        coding = message.headers.get("Content-Encoding", "").strip().lower()
        if coding not in ("", "identity"):
            raise UnsupportedCoding(f"expected ranges without content coding, got {coding!r:.40}")
        most = (limits or Limits()).max_part_bytes
        if message.status == _WHOLE:
            size = message.length
            whole = ContentRange(0, size, size) if size else None
            return cls(RangePart(message.source, whole, message.headers, most=most))
        value = message.headers.get("Content-Range")
        if value is not None:
            # RFC 9110, 15.3.7.1: a single range has it in the answer's own headers.
            found = ContentRange.parse(value)
            return cls(RangePart(message.source, found, message.headers, most=most))
        return cls(MultipartReader.from_message(message, limits=limits))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RangePart:
        reader = self._reader
        if isinstance(reader, RangePart):
            if self._given:
                raise StopAsyncIteration
            self._given, found = True, reader
        else:
            part = await reader.next_part()
            if part is None:
                raise StopAsyncIteration
            value = part.headers.get("Content-Range")
            if value is None:
                raise MalformedBody("expected a Content-Range, got none", part=part.info.ref)
            found = RangePart(part, _parsed(value, part), part.headers)
        if found.range is not None:
            self._check(found.range, found.ref)
        return found

    def _check(self, found: ContentRange, ref: PartRef | None) -> None:
        if found.total is not None:
            if self.total not in (None, found.total):
                text = f"expected a total of {self.total} bytes, got '{found}'"
                raise MalformedBody(text, part=ref)
            self.total = found.total
        for start, end in self._seen:
            if found.start < end and start < found.end:
                text = f"expected ranges that do not overlap, got '{found}' after {start}-{end - 1}"
                raise MalformedBody(text, part=ref)
        self._seen = _joined([*self._seen, (found.start, found.end)])

    async def aclose(self) -> None:
        """Close the reader, or what was made to read a single range."""
        if isinstance(self._reader, RangePart):
            await self._reader.close_source()
        else:
            await self._reader.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.aclose()

    # -- into a file --------------------------------------------------------------------------

    async def write_to(self, file: IO[bytes] | str | os.PathLike[str]) -> list[tuple[int, int]]:
        """Write all ranges that are left into a file, each at its place; what is still missing.

        `file` is a seekable binary file that is open for writing, or a path: that is made if it
        is not there, and never cut. One that is open for appending raises `ValueError`: all would
        go to its end. A range that lies too far for the file raises `MalformedBody`. All file I/O
        is done in worker threads. After an error `written` tells what is in the file.
        """
        if isinstance(file, str | os.PathLike):
            path = file
            opened = await to_thread.run_sync(lambda: os.fdopen(_open(path), "r+b"))
            try:
                return await self.write_to(opened)
            finally:
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(opened.close)
        if _appends(file):
            raise ValueError("expected a file that is written at any place, got one that appends")
        async for found in self:
            at = found.start
            async for data in found:
                try:
                    await to_thread.run_sync(_write_at, file, at, data)
                except (OverflowError, OSError) as error:
                    if isinstance(error, OSError) and error.errno not in _TOO_FAR:
                        raise
                    text = f"expected a range that the file can hold, got '{found.range}'"
                    raise MalformedBody(text, part=found.ref) from error
                self.written = _joined([*self.written, (at, at + len(data))])
                at += len(data)
            if found.range is None:
                self.total = at  # the whole has come to its end
        await to_thread.run_sync(file.flush)
        return self.missing

    @property
    def missing(self) -> list[tuple[int, int]]:
        """Which bytes `write_to` has not written: the gaps, and the rest where `total` is known."""
        gaps: list[tuple[int, int]] = []
        at = 0
        for start, end in self.written:
            if start > at:
                gaps.append((at, start))
            at = end
        if self.total is not None and at < self.total:
            gaps.append((at, self.total))
        return gaps


def _parsed(value: str, part: Part) -> ContentRange:
    try:
        return ContentRange.parse(value)
    except MalformedBody as error:
        error.part = part.info.ref
        raise


def _open(path: str | os.PathLike[str]) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _appends(file: IO[bytes]) -> bool:
    """Whether all that is written goes to the end of a file, wherever it stands."""
    mode: object = getattr(file, "mode", None)
    if isinstance(mode, str) and "a" in mode:
        return True
    try:
        descriptor = -1 if isinstance(file, SpooledTemporaryFile) else file.fileno()
        import fcntl  # not on Windows
    except (AttributeError, OSError, ImportError):
        return False
    return descriptor >= 0 and bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND)


def _write_at(file: IO[bytes], at: int, data: bytes) -> None:
    file.seek(at)
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges in order, those that touch made one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
