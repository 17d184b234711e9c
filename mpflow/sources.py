"""What a body can be read from: one class that makes an async iterator of bytes of any of it.

Knows: the shapes of streams, files and iterables in asyncio, trio, anyio, aiohttp and ASGI.
Must not know: multipart.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream, ObjectReceiveStream

from mpflow.errors import BrokenSource, ClientDisconnected, MultipartError

__all__ = ["AsgiReceive", "ByteSource", "Chunk", "Source", "asgi_source", "open_source"]

Chunk: TypeAlias = bytes | bytearray | memoryview

READ_SIZE = 256 * 1024
"""Bytes asked of a file or a stream at once."""

AsgiReceive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]


@runtime_checkable
class SupportsAsyncRead(Protocol):
    """An asyncio `StreamReader`, an async file: `await read(n)` gives `b""` at the end."""

    async def read(self, n: int = ..., /) -> bytes: ...


@runtime_checkable
class SupportsRead(Protocol):
    """A binary file: `read(n)` gives `b""` at the end. It is read in worker threads."""

    def read(self, n: int = ..., /) -> bytes: ...


@runtime_checkable
class SupportsReceive(Protocol):
    """An anyio receive stream: `await receive()` raises `EndOfStream` at the end."""

    async def receive(self) -> Chunk: ...


@runtime_checkable
class SupportsReceiveSome(Protocol):
    """A trio receive stream: `await receive_some()` gives `b""` at the end."""

    async def receive_some(self, max_bytes: int | None = ..., /) -> Chunk: ...


ByteSource: TypeAlias = (
    Chunk
    | AsyncIterable[bytes]
    | AsyncIterable[bytearray]
    | AsyncIterable[memoryview]
    | AsyncIterable[Chunk]
    | SupportsReceive
    | SupportsReceiveSome
    | SupportsAsyncRead
    | SupportsRead
)
"""What `MultipartReader` can read from."""


class Source:
    """An async iterator of the chunks of a body, which may be of any size and any bytes-like type.

    A read that was cancelled or failed leaves the source dead: reading on raises `BrokenSource`,
    or once more what the source itself said of the body. An async generator would look like a
    clean end there.

    `timed` says whether a cancel scope may stand around one read. It may not around the read of
    somebody else's async iterator, which may hold a scope of its own over its `yield`.
    `ends_checked` says that only the end of it tells whether the bytes before it are right, as
    the checksum of a content coding does: who takes them for whole has to read that far.
    `wanted` says, when it is closed, whether its reader wanted more of it.
    """

    __slots__ = ("_close", "_error", "_pull", "_state", "ends_checked", "timed", "wanted")

    def __init__(
        self,
        pull: Callable[[], Awaitable[object]],
        *,
        timed: bool,
        close: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._pull = pull
        self._close = close
        self._state = ""
        self._error: Exception | None = None
        self.timed: bool = timed
        self.ends_checked: bool = False
        self.wanted: bool = True

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> Chunk:
        if self._state:
            if self._state == "ended":
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            raise BrokenSource(f"the source cannot be read on: {self._state}")
        self._state = "a read of it was cancelled or failed"
        try:
            chunk = await self._pull()
        except (StopAsyncIteration, anyio.EndOfStream):
            self._state = "ended"
            raise StopAsyncIteration from None
        except anyio.BusyResourceError:
            self._state = ""  # somebody else reads it now; nothing was lost here
            raise
        except (MultipartError, anyio.ClosedResourceError) as error:
            self._error = error
            raise
        if type(chunk) is not bytes and not _is_chunk(chunk):  # the first is five times as quick
            raise TypeError(f"expected chunks of bytes, got {type(chunk).__name__}")
        self._state = ""
        return chunk

    async def aclose(self) -> None:
        """Close the iterator that was made for reading; never the object that was given."""
        if not self._state:
            self._state = "it was closed"
        close, self._close = self._close, None
        if close is not None:
            await close()


def open_source(obj: object) -> Source:
    """A `Source` of whatever a body can be read from; `TypeError` for anything else."""
    if isinstance(obj, Source):
        return obj
    if _is_chunk(obj):
        return _once(obj)
    if isinstance(obj, io.BytesIO):
        return _once(obj.read())
    given: Any = obj
    if hasattr(given, "iter_any"):
        # aiohttp's StreamReader: its own iteration goes by lines, and fails on long ones.
        return _iterated(given.iter_any(), given=given, timed=True)
    if isinstance(given, ByteReceiveStream | ObjectReceiveStream):
        return Source(given.receive, timed=True)
    if _is_async(given, "receive"):
        # A trio channel ends with an exception of its own; its iteration knows which.
        return Source(getattr(given, "__anext__", given.receive), timed=True)
    if _is_async(given, "receive_some"):
        return Source(_until_empty(given.receive_some), timed=True)
    if _is_async(given, "read") and _goes_by_lines(given):
        # asyncio's StreamReader and async files: they, too, iterate by lines.
        return Source(_until_empty(lambda: given.read(READ_SIZE)), timed=True)
    if isinstance(obj, AsyncIterable):
        return _iterated(given, given=given, timed=False)
    if callable(getattr(given, "read", None)) and not isinstance(given, io.TextIOBase):
        return Source(_until_empty(lambda: _read_file(given)), timed=True)
    raise TypeError(
        "expected bytes, an async iterable of bytes, a receive stream, a stream reader or a "
        f"binary file to read from, got {type(obj).__name__}"
    )


def _is_chunk(obj: object) -> TypeGuard[Chunk]:
    return isinstance(obj, bytes | bytearray | memoryview)


def _is_async(obj: object, name: str) -> bool:
    return inspect.iscoroutinefunction(getattr(obj, name, None))


def _goes_by_lines(obj: object) -> bool:
    """Whether reading an object is better than iterating over it, if that can be done at all."""
    if hasattr(obj, "readline") or hasattr(obj, "wrapped"):
        return True
    return not isinstance(obj, AsyncIterable)


def _once(data: Chunk) -> Source:
    chunks = [data]

    async def pull() -> Chunk:
        if not chunks:
            raise StopAsyncIteration
        return chunks.pop()

    return Source(pull, timed=True)


def _until_empty(read: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[Chunk]]:
    async def pull() -> Chunk:
        chunk = await read()
        if chunk is None:
            raise TypeError("expected a blocking file, got one whose read() gives None")
        if not _is_chunk(chunk):
            raise TypeError(f"expected a binary file, got {type(chunk).__name__} from read()")
        if not chunk:
            raise StopAsyncIteration
        return chunk

    return pull


def _iterated(iterable: AsyncIterable[Any], *, given: object, timed: bool) -> Source:
    iterator: AsyncIterator[Any] = aiter(iterable)
    close = getattr(iterator, "aclose", None) if iterator is not given else None
    return Source(iterator.__anext__, timed=timed, close=close)


async def _read_file(file: Any) -> object:
    data: object = await to_thread.run_sync(file.read, READ_SIZE)
    return data


def asgi_source(receive: AsgiReceive) -> Source:
    """The body that an ASGI server hands out, message by message (ASGI HTTP 2.x).

    A disconnect raises `ClientDisconnected`, and `receive` is never called again after it:
    hypercorn would wait for ever.
    """
    more = True

    async def pull() -> Chunk:
        nonlocal more
        while more:
            message = await receive()
            if message["type"] != "http.request":
                more = False
                raise ClientDisconnected("the client went away before the body was whole")
            more = message.get("more_body", False)
            body: Chunk = message.get("body", b"")
            if body:
                return body
        raise StopAsyncIteration

    return Source(pull, timed=True)
