"""What it takes to send a part by httpx: the library itself, addresses, and bodies.

Knows: httpx, imported where it is needed. Must not know: parts, routes, answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import anyio
from anyio.abc import ByteReceiveStream
from multidict import CIMultiDict

from mpflow import RouteError, ServiceFailed
from mpflow.errors import excerpt

if TYPE_CHECKING:
    import ssl

__all__ = ["Received", "Sent", "check_url", "encoded", "library", "once", "shown", "trusted"]


def library() -> Any:
    """httpx; `RouteError` where it is not installed."""
    try:
        import httpx
    except ImportError as error:
        raise RouteError("expected httpx for Forward: install multipart-flow[forward]") from error
    return httpx


@cache
def trusted() -> ssl.SSLContext:
    """Whom httpx trusts by default. The first time it reads files."""
    context: ssl.SSLContext = library().create_ssl_context()
    return context


def check_url(url: object) -> str:
    """The URL if a part can be sent there; else `RouteError`."""
    httpx = library()
    if not isinstance(url, str):
        raise RouteError(f"expected a URL as a str, got {url!r:.60}")
    try:
        found = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise RouteError(f"expected a URL, got {excerpt(url)}: {error}") from error
    if found.scheme not in ("http", "https") or not found.host:
        raise RouteError(f"expected a URL of http or https with a host, got {excerpt(url)}")
    return url


def shown(url: str) -> str:
    """A URL as errors name it: without what may be a secret."""
    return excerpt(
        str(library().URL(url).copy_with(userinfo=b"", query=None, fragment=None)), limit=100
    )


def encoded(headers: CIMultiDict[str]) -> list[tuple[bytes, bytes]]:
    """The headers as bytes: httpx would take ASCII only, and a client's may have more."""
    # What was no UTF-8 goes on as the bytes that came.
    return [(k.encode(), v.encode("utf-8", "surrogateescape")) for k, v in headers.items()]


class Sent:
    """The body of a request: `begun` once some of it was taken, `whole` once all of it was."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = aiter(chunks)
        self.begun = self.whole = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self.begun = True
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            self.whole = True
            raise


class Received:
    """A part without its headers: a form would send all of them."""

    def __init__(self, stream: ByteReceiveStream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._stream.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


@cache
def once() -> Callable[[AsyncIterable[bytes]], Any]:
    """What makes the body of a request, which is sent once, of chunks.

    httpx would do by itself, but by a generator that nobody closes, and as often as it likes.
    """

    class Once(library().AsyncByteStream):  # type: ignore[misc] # httpx is imported late
        def __init__(self, chunks: AsyncIterable[bytes]) -> None:
            self._chunks = chunks
            self._sent = False

        def __aiter__(self) -> AsyncIterator[bytes]:
            if self._sent:  # a client that tries again must not send what is left of it
                raise ServiceFailed(
                    "expected a service that takes the part at once, "
                    "got a client that sends it again"
                )
            self._sent = True
            return aiter(self._chunks)

    return Once
