"""What a body can be read from: one class that makes an async iterator of bytes of any of it.

Knows: the shapes of streams, files and iterables in asyncio, trio, anyio, aiohttp and ASGI.
Must not know: multipart.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import anyio
from anyio import to_thread

from mpflow.errors import BrokenSource, ClientDisconnected

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

    A read that was cancelled or failed leaves the source dead: reading on raises `BrokenSource`.
    An async generator would look like a clean end there.

    `timed` says whether a cancel scope may stand around one read. It may not around the read of
    somebody else's async iterator, which may hold a scope of its own over its `yield`.
    """

    __slots__ = ("_close", "_pull", "_state", "timed")

    def __init__(
        self,
        pull: Callable[[], Awaitable[Chunk]],
        *,
        timed: bool,
        close: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._pull = pull
        self._close = close
        self._state = ""
        self.timed = timed

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> Chunk:
        if self._state:
            if self._state == "ended":
                raise StopAsyncIteration
            raise BrokenSource(f"the source cannot be read on: {self._state}")
        self._state = "a read of it was cancelled or failed"
        try:
            chunk = await self._pull()
        except (StopAsyncIteration, anyio.EndOfStream):
            self._state = "ended"
            raise StopAsyncIteration from None
        if not isinstance(chunk, bytes | bytearray | memoryview):
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
    if isinstance(obj, bytes | bytearray | memoryview):
        return _once(obj)
    if isinstance(obj, io.BytesIO):
        return _once(obj.read())
    if hasattr(obj, "iter_any"):
        # aiohttp's StreamReader: its own iteration goes by lines, and fails on long ones.
        return _iterated(obj.iter_any(), given=obj, timed=True)
    if _is_async(obj, "receive"):
        return Source(obj.receive, timed=True)  # type: ignore[attr-defined] # just looked
    if _is_async(obj, "receive_some"):
        return Source(_until_empty(obj.receive_some), timed=True)  # type: ignore[attr-defined]
    if _is_async(obj, "read") and (hasattr(obj, "readline") or hasattr(obj, "wrapped")):
        # asyncio's StreamReader and async files: they, too, iterate by lines.
        read = obj.read  # type: ignore[attr-defined]
        return Source(_until_empty(lambda: read(READ_SIZE)), timed=True)
    if isinstance(obj, AsyncIterable):
        return _iterated(obj, given=obj, timed=False)
    if callable(getattr(obj, "read", None)):
        return Source(_until_empty(lambda: _read_file(obj)), timed=True)
    raise TypeError(
        "expected bytes, an async iterable of bytes, a receive stream, a stream reader or a "
        f"binary file to read from, got {type(obj).__name__}"
    )


def _is_async(obj: object, name: str) -> bool:
    return inspect.iscoroutinefunction(getattr(obj, name, None))


def _once(data: Chunk) -> Source:
    chunks = [data]

    async def pull() -> Chunk:
        if not chunks:
            raise StopAsyncIteration
        return chunks.pop()

    return Source(pull, timed=True)


def _until_empty(read: Callable[[], Awaitable[Chunk]]) -> Callable[[], Awaitable[Chunk]]:
    async def pull() -> Chunk:
        chunk = await read()
        if not chunk:
            if chunk is None:
                raise TypeError("expected a blocking file, got one whose read() gives None")
            if not isinstance(chunk, bytes | bytearray | memoryview):
                raise TypeError(f"expected a binary file, got {type(chunk).__name__} from read()")
            raise StopAsyncIteration
        return chunk

    return pull


def _iterated(iterable: AsyncIterable[Any], *, given: object, timed: bool) -> Source:
    iterator: AsyncIterator[Any] = aiter(iterable)
    close = getattr(iterator, "aclose", None) if iterator is not given else None
    return Source(iterator.__anext__, timed=timed, close=close)


async def _read_file(file: Any) -> bytes:
    data: bytes = await to_thread.run_sync(file.read, READ_SIZE)
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
