"""Messages: what HTTP libraries hand out, taken as headers and a source of bytes.

Knows: the shapes of requests and responses, and who has undone a content coding already.
Must not know: multipart, or any of those libraries by import.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from mpflow.errors import (
    ClientDisconnected,
    MalformedBody,
    MultipartError,
    UnsupportedCoding,
    excerpt,
)
from mpflow.sources import AsgiReceive, Chunk, Source, asgi_source, open_source

__all__ = ["Message", "asgi_message", "open_message"]

_EXPECTED = (
    "expected a request or a response with headers and a streaming body (httpx, aiohttp, niquests, "
    "Starlette, FastAPI, Litestar, Falcon, BlackSheep), got "
)
_READ_SIZE: Final = 65536
# What every client can undo without a package of its own.
_COMMON_CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})
# How gzip, zlib and zstd begin, and no multipart does.
_CODED: Final = (b"\x1f\x8b", b"x\x01", b"x\x9c", b"x\xda", b"\x28\xb5\x2f\xfd")


@attrs.frozen
class Message:
    """The headers and the body of a message, its content codings undone.

    `status` is that of a response, None for a request; `length` what Content-Length says of the
    body as it comes, None where nobody knows.
    """

    headers: CIMultiDictProxy[str]
    source: Source
    status: int | None = None
    length: int | None = None

    @property
    def content_type(self) -> str | None:
        """The content type, None where absent. Raises `MalformedBody` for two that differ."""
        types = self.headers.getall("Content-Type", [])
        if len(set(types)) > 1:
            raise MalformedBody(f"expected one Content-Type, got {len(types)} that differ")
        return types[0] if types else None


def asgi_message(scope: Mapping[str, Any], receive: AsgiReceive) -> Message:
    """The request of an ASGI application. Raises `UnsupportedCoding` for a Content-Encoding."""
    headers = _headers(scope["headers"])
    message = Message(headers, asgi_source(receive), length=_length(headers))
    _ = message.content_type  # refused first
    _check_request(headers)
    return message


def open_message(obj: object) -> Message:
    """A request or a response, told by its shape.

    A response's content coding is undone, by the client that has it. Raises `TypeError` for what
    has no headers or no body that streams, `UnsupportedCoding` for a request with a content
    coding and for a response whose coding its client leaves alone.
    """
    if isinstance(obj, Message):
        return obj
    given: Any = obj
    raw = getattr(given, "headers", None)
    if raw is None or isinstance(given, type):
        raise TypeError(_EXPECTED + type(obj).__name__)
    headers = _headers(raw)
    status = getattr(given, "status_code", getattr(given, "status", None))
    if not isinstance(status, int):
        source = _request_source(given)
        _check_request(headers)
        return Message(headers, source, length=_length(headers))
    codings = _codings(headers)
    source = _response_source(given, codings)
    return Message(headers, source, int(status), None if codings else _length(headers))


# -- headers ----------------------------------------------------------------------------------


def _headers(raw: Any) -> CIMultiDictProxy[str]:
    """Headers of any shape: a mapping, one with several values a name, pairs of str or bytes."""
    items: Any = getattr(raw, "multi_items", getattr(raw, "items", None))
    pairs: Any = items() if callable(items) else raw
    return CIMultiDictProxy(CIMultiDict([(_text(name), _text(value)) for name, value in pairs]))


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _length(headers: CIMultiDictProxy[str]) -> int | None:
    text = headers.get("Content-Length", "").strip()
    if not (text.isascii() and text.isdigit()):
        return None
    # No message has 10**19 bytes or more; int() refuses thousands of digits.
    return int(text.lstrip("0")[:20] or "0")


def _codings(headers: CIMultiDictProxy[str]) -> list[str]:
    values = ",".join(headers.getall("Content-Encoding", [])).split(",")
    return [c for c in (value.strip().lower() for value in values) if c not in ("", "identity")]


def _check_request(headers: CIMultiDictProxy[str]) -> None:
    for coding in _codings(headers):
        raise UnsupportedCoding(f"expected a request without content coding, got {excerpt(coding)}")


# -- bodies -----------------------------------------------------------------------------------


def _request_source(given: Any) -> Source:
    content = getattr(given, "content", None)
    if hasattr(content, "iter_any"):  # aiohttp
        return _guarded(open_source(content))
    stream = getattr(given, "stream", None)
    if _is_iterable(stream):  # Falcon
        return _guarded(open_source(stream))
    if callable(stream):
        try:
            made: Any = stream()  # Starlette, FastAPI, Litestar, BlackSheep
        except TypeError as error:  # a client, which opens a stream of what it is told to
            raise TypeError(_EXPECTED + type(given).__name__) from error
        if _is_iterable(made):
            return _guarded(_made(made))
    raise TypeError(_EXPECTED + type(given).__name__)


def _is_iterable(obj: object) -> bool:
    return isinstance(obj, AsyncIterable)


def _response_source(given: Any, codings: list[str]) -> Source:
    if callable(getattr(given, "aiter_bytes", None)):  # httpx, httpx2
        # What a client's own package would have to undo, it passes on as it is without it.
        _check_response([coding for coding in codings if coding not in _COMMON_CODINGS])
        return _httpx_source(given)
    if inspect.iscoroutinefunction(getattr(given, "iter_content", None)):  # niquests
        # First: its `content` is a coroutine that somebody would have to await.
        return _awaited(lambda: given.iter_content(_READ_SIZE))
    content = getattr(given, "content", None)
    if hasattr(content, "iter_any"):  # aiohttp
        return _undone(open_source(content), codings) if codings else open_source(content)
    raise TypeError(_EXPECTED + type(given).__name__)


def _check_response(codings: list[str]) -> None:
    for coding in codings:
        raise UnsupportedCoding(
            f"expected a response whose content coding the client undoes, got {excerpt(coding)}"
        )


def _httpx_source(given: Any) -> Source:
    """The body of a response of httpx, also of one that was read before."""
    source = _made(given.aiter_bytes())

    async def close() -> None:
        if str(getattr(given, "num_bytes_downloaded", "")) == given.headers.get("Content-Length"):
            # All is here. Its generators stand in each other, and trio warns of each that is
            # left without having come to its end.
            with suppress(StopAsyncIteration, MultipartError):
                while True:
                    await anext(source)
        await source.aclose()

    return Source(source.__anext__, timed=False, close=close)


def _undone(source: Source, codings: list[str]) -> Source:
    """A body whose coding the client should have undone: how it begins tells if it has not.

    aiohttp undoes codings unless its session was made with `auto_decompress=False`, which a
    response does not tell.
    """
    first = True

    async def pull() -> Chunk:
        nonlocal first
        chunk = await anext(source)
        if first and bytes(chunk[:4]).startswith(_CODED):
            _check_response(codings)
        first = False
        return chunk

    return Source(pull, timed=source.timed, close=source.aclose)


def _made(iterable: AsyncIterable[Any]) -> Source:
    """A source of an iterable that was made here, and so is closed here."""
    iterator: Any = aiter(iterable)
    return Source(iterator.__anext__, timed=False, close=getattr(iterator, "aclose", None))


def _awaited(start: Callable[[], Awaitable[AsyncIterable[Chunk]]]) -> Source:
    """An iterable that has to be awaited first."""
    found: list[AsyncIterator[Chunk]] = []

    async def pull() -> Chunk:
        if not found:
            found.append(aiter(await start()))
        return await anext(found[0])

    async def close() -> None:
        for iterator in found:
            aclose = getattr(iterator, "aclose", None)
            if aclose is not None:
                await aclose()

    return Source(pull, timed=False, close=close)


def _guarded(source: Source) -> Source:
    """Says `ClientDisconnected` where a framework says so in its own words."""

    async def pull() -> Chunk:
        try:
            return await anext(source)
        except Exception as error:
            if _is_disconnect(error):
                raise ClientDisconnected(
                    "the client went away before the body was whole"
                ) from error
            raise

    return Source(pull, timed=source.timed, close=source.aclose)


def _is_disconnect(error: Exception) -> bool:
    if isinstance(error, ConnectionError):  # aiohttp
        return True
    # Starlette's ClientDisconnect, BlackSheep's MessageAborted; Litestar's has a message only.
    name = type(error).__name__
    return name in ("ClientDisconnect", "MessageAborted") or "client disconnected" in str(error)
