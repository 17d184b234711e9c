"""Messages: what HTTP libraries hand out, taken as headers and a source of bytes.

Knows: the shapes of requests and responses, and who has undone a content coding already.
Must not know: multipart, or any of those libraries by import.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NoReturn

import anyio
import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from mpflow.coded import uncoded
from mpflow.errors import (
    ClientDisconnected,
    InvalidContent,
    MalformedBody,
    MultipartError,
    UnsupportedCoding,
    excerpt,
)
from mpflow.sources import AsgiReceive, Chunk, Source, asgi_source, open_source
from mpflow.wire.codings import codings_of
from mpflow.wire.limits import Limits

__all__ = ["Message", "asgi_message", "open_message"]

_EXPECTED = (
    "expected a request or a response with headers and a streaming body (httpx, aiohttp, niquests, "
    "Starlette, FastAPI, Litestar, Falcon, BlackSheep), got "
)
_READ_SIZE: Final = 65536
# What is read behind a body that has all its parts, in bytes and in seconds, before it is closed.
_END_SIZE: Final = 65536
_END_PATIENCE: Final = 0.25
# What a client of the shape of httpx undoes for certain, with the standard library.
_COMMON_CODINGS: Final = frozenset({"gzip", "deflate"})
# What aiohttp undoes, one at a time, unless it was told not to.
_AIOHTTP_CODINGS: Final = frozenset({"gzip", "deflate", "br", "zstd"})
_ABSENT: Final = object()
_DEFAULT: Final = Limits()
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


def open_message(obj: object, *, limits: Limits = _DEFAULT) -> Message:
    """A request or a response, told by its shape.

    A response's content codings are undone, unless the client that has it did so; `limits` bound
    that. Raises `TypeError` for what has no headers or no body that streams, `UnsupportedCoding`
    for a request with a content coding, and for a response with one that is unknown or whose
    library is missing.
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
        _check_request(headers)
        return Message(headers, _request_source(given), length=_length(headers))
    codings = _Codings(headers, limits)
    source = _response_source(given, codings)
    # Whoever undoes them: what is wrong with a coding shows at its end at the latest.
    source.ends_checked = bool(codings.names)
    return Message(headers, source, int(status), None if codings.names else _length(headers))


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


class _Codings:
    """The content codings of a response, and how a source is read without them."""

    def __init__(self, headers: CIMultiDictProxy[str], limits: Limits) -> None:
        self.names = _codings(headers)
        self._limits = limits
        self._rows = tuple(
            coding for coding in codings_of(headers, transfer=False) if not coding.is_plain
        )

    def undo(self, source: Source) -> Source:
        """The source, its codings undone. Raises `UnsupportedCoding` for a missing library."""
        return uncoded(source, self._rows, self._limits) if self._rows else source

    def refuse(self) -> NoReturn:
        """Nobody can tell what the client has undone."""
        came = excerpt(", ".join(self.names))
        raise UnsupportedCoding(
            f"expected a response that is read as it comes, or one in gzip or deflate, got {came}"
        )


# -- bodies -----------------------------------------------------------------------------------


def _request_source(given: Any) -> Source:
    content = getattr(given, "content", None)
    if hasattr(content, "iter_any"):  # aiohttp
        return _guarded(open_source(content))
    stream = getattr(given, "stream", None)
    if _is_iterable(stream):  # Falcon
        return _guarded(open_source(stream))
    if callable(stream):  # Starlette, FastAPI, Litestar, BlackSheep
        if inspect.isasyncgenfunction(stream) and not inspect.signature(stream).parameters:
            # Not made before it is read: BlackSheep's warns if it never is.
            return _guarded(_late(stream))
        try:
            made: Any = stream()
        except TypeError as error:  # a client, which opens a stream of what it is told to
            raise TypeError(_EXPECTED + type(given).__name__) from error
        if _is_iterable(made):
            return _guarded(_made(made))
    raise TypeError(_EXPECTED + type(given).__name__)


def _is_iterable(obj: object) -> bool:
    return isinstance(obj, AsyncIterable)


def _response_source(given: Any, codings: _Codings) -> Source:
    if callable(getattr(given, "aiter_bytes", None)):  # httpx, httpx2
        return _httpx_source(given, codings)
    if inspect.iscoroutinefunction(getattr(given, "iter_content", None)):  # niquests
        # First: its `content` is a coroutine that somebody would have to await.
        if codings.names and inspect.iscoroutinefunction(getattr(given, "iter_raw", None)):
            return codings.undo(_awaited(lambda: given.iter_raw(_READ_SIZE)))
        return _awaited(lambda: given.iter_content(_READ_SIZE))
    content = getattr(given, "content", None)
    if hasattr(content, "iter_any"):
        return _aiohttp_source(content, codings)
    raise TypeError(_EXPECTED + type(given).__name__)


def _httpx_source(given: Any, codings: _Codings) -> Source:
    """The body of a response of httpx, also of one that was read before.

    Its own decoders inflate a chunk at once, however much it becomes, and leave out what they do
    not know: so the codings are undone here, where nobody has read the body yet.
    """
    common = set(codings.names) <= _COMMON_CODINGS
    is_read = bool(getattr(given, "is_stream_consumed", False))
    can_be_raw = callable(getattr(given, "aiter_raw", None))
    if codings.names and can_be_raw and not is_read:
        return codings.undo(_closed_late(given, given.aiter_raw()))
    source = _closed_late(given, given.aiter_bytes())
    if common:
        return source
    if not can_be_raw or len(codings.names) > 1:
        codings.refuse()
    # It knows the coding or not; what it did not undo has the size that it came with.
    is_undone = len(given.content) != given.num_bytes_downloaded
    return source if is_undone else codings.undo(source)


def _closed_late(given: Any, iterable: AsyncIterable[Any]) -> Source:
    source = _made(iterable)

    async def close() -> None:
        try:
            if str(getattr(given, "num_bytes_downloaded", "")) == given.headers.get(
                "Content-Length"
            ):
                # All is here. Its generators stand in each other, and trio warns of each that is
                # left without having come to its end.
                with suppress(StopAsyncIteration, MultipartError):
                    while True:
                        await anext(source)
            elif not closed_late.wanted and _is_of_network(given):
                await _end(source)
        finally:
            await source.aclose()

    closed_late = Source(source.__anext__, timed=False, close=close)
    return closed_late


def _is_of_network(given: Any) -> bool:
    """Whether the client's own transport reads it: that one holds no scope over a `yield`."""
    extensions = getattr(given, "extensions", None)
    length_is_open = "Content-Length" not in given.headers
    return length_is_open and isinstance(extensions, Mapping) and "network_stream" in extensions


async def _end(source: Source) -> None:
    """Read on behind the close delimiter, for a little: of a chunked body but the last chunk is
    left, mostly, and a client uses no connection again whose response has not come to its end."""
    left = _END_SIZE
    with suppress(Exception), anyio.move_on_after(_END_PATIENCE):
        while left > 0:
            left -= len(await anext(source))


def _aiohttp_source(content: Any, codings: _Codings) -> Source:
    """The body of a response of aiohttp.

    It undoes one coding that it knows, unless the session or the request said
    `auto_decompress=False`, of which the response has no word. Its stream counts the bytes that
    it was given in a coding; where it does not yet, how the body begins tells. What it undoes it
    does not hold to its end, and has no word of that either: a body whose last bytes are missing,
    its checksum, say, passes if the multipart in it is whole.
    """
    source = open_source(content)
    if not codings.names:
        return source
    known = len(codings.names) == 1 and codings.names[0] in _AIOHTTP_CODINGS
    if not known:
        return codings.undo(source)
    counted = getattr(content, "total_compressed_bytes", _ABSENT)
    if counted is _ABSENT:
        return _sniffed(_judged(source, codings), codings)
    return codings.undo(source) if counted is None else _judged(source, codings)


def _judged(source: Source, codings: _Codings) -> Source:
    """A body whose coding aiohttp undoes: what is wrong with it is said as it is elsewhere."""

    async def pull() -> Chunk:
        try:
            return await anext(source)
        except Exception as error:
            if _is_of_coding(error):
                raise InvalidContent(
                    f"expected a body in {codings.names[0]}, got none, in the Content-Encoding of "
                    "the response"
                ) from error
            raise

    return Source(pull, timed=source.timed, close=source.aclose)


def _is_of_coding(error: BaseException | None) -> bool:
    """Whether it is a `ClientPayloadError` for wrong bytes: not for a connection that was lost."""
    while error is not None and type(error).__name__ != "ContentEncodingError":
        error = error.__cause__
    return error is not None


def _sniffed(source: Source, codings: _Codings) -> Source:
    """A body whose coding the client should have undone: how it begins tells if it has not."""
    found: list[Source] = []
    ahead: list[Chunk] = []

    async def first() -> Chunk:
        return ahead.pop() if ahead else await anext(source)

    async def pull() -> Chunk:
        if not found:
            ahead.append(await anext(source))
            begun = Source(first, timed=source.timed)
            is_coded = bytes(ahead[0][:4]).startswith(_CODED)
            found.append(codings.undo(begun) if is_coded else begun)
        return await anext(found[0])

    return Source(pull, timed=source.timed, close=source.aclose)


def _made(iterable: AsyncIterable[Any]) -> Source:
    """A source of an iterable that was made here, and so is closed here."""
    iterator: Any = aiter(iterable)
    return Source(iterator.__anext__, timed=False, close=getattr(iterator, "aclose", None))


def _late(make: Callable[[], AsyncIterable[Chunk]]) -> Source:
    """An iterable that is made when it is read."""

    async def start() -> AsyncIterable[Chunk]:
        return make()

    return _awaited(start)


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
