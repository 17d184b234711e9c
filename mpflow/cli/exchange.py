"""One HTTP request and its answer, over ASGI: `Exchange` and `Answer`.

Knows: ASGI's messages, and how a refusal reaches a client that is still sending.
Must not know: multipart, routes, files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

import anyio
import attrs

__all__ = ["Answer", "Exchange", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LINGER_BYTES: Final = 16 * 1024 * 1024
LINGER_SECONDS: Final = 2.0
"""How much of a body that nobody wants is still read before the connection may be closed.

Whichever comes first. A chunked body does not say how much of it is left, and a client that
writes all of it before it reads loses the answer to one that is longer.
"""

LINGER_KNOWN_BYTES: Final = 64 * 1024 * 1024
LINGER_KNOWN_SECONDS: Final = 10.0
"""The same where Content-Length says that no more than this is left: all of it."""

HURRIED_SECONDS: Final = 0.5
"""The same once the service stops."""

# RFC 9112, 3.2.2: absolute-form, of which only the path matters here.
_ABSOLUTE: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


@attrs.frozen
class Answer:
    """A status, a body, and headers on top of those that follow from the body."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])

    @classmethod
    def json(
        cls, status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Answer:
        """An answer that is a JSON document in UTF-8, for people as well as for programs."""
        try:
            body = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode()
        except UnicodeEncodeError:
            # A header's bytes that are no UTF-8 are lone surrogates, which JSON can only escape.
            body = json.dumps(document, indent=2, allow_nan=False).encode()
        kind = {"content-type": "application/json"}
        return cls(status, body + b"\n", {**kind, **(headers or {})})

    def start(self) -> dict[str, Any]:
        """ASGI's first message of the answer."""
        headers = [(k.lower().encode("latin-1"), v.encode("latin-1", "replace"))
                   for k, v in self.headers.items()]  # fmt: skip
        headers.append((b"x-content-type-options", b"nosniff"))
        if self.status != 204:  # RFC 9110, 8.6: a 204 has no Content-Length
            headers.append((b"content-length", str(len(self.body)).encode()))
        return {"type": "http.response.start", "status": self.status, "headers": headers}


class Exchange:
    """A request under way. All that reads its body does so through `receive`."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._received = 0
        self._ended = False  # there is nothing more to receive
        self._hurried = False
        self._waiting: anyio.CancelScope | None = None  # for what still comes
        self.gone: bool = False
        """Whether the client has gone away."""

    @property
    def method(self) -> str:
        """The request's method, in upper case."""
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        """The request's path, decoded.

        RFC 9112, 3.2.2: "a server MUST accept the absolute-form in requests". Servers such as
        hypercorn put it into ASGI's `path` as it came.
        """
        path = str(self.scope["path"])
        absolute = _ABSOLUTE.match(path)
        # RFC 9110, 4.2.3: an empty path is the same as "/".
        return path if absolute is None else path[absolute.end() :] or "/"

    def header(self, name: bytes) -> str | None:
        """The value of the first header `name` (in lower case), or None."""
        return next((v.decode("latin-1") for k, v in self.scope["headers"] if k == name), None)

    async def receive(self) -> MutableMapping[str, Any]:
        """ASGI's `receive`, with an eye on what has come."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
        else:
            self._ended = self.gone = True
        return message

    def hurry(self) -> None:
        """Wait no longer than a moment for what still comes."""
        self._hurried = True
        if self._waiting is not None:
            soon = anyio.current_time() + HURRIED_SECONDS
            self._waiting.deadline = min(self._waiting.deadline, soon)

    async def answer(self, answer: Answer) -> None:
        """Send an answer, unless the client is gone.

        A client that writes all of its body before it reads would lose an early answer to a
        closed connection. So the answer begins at once, for those who look, and what still comes
        is thrown away within bounds before it ends. It is read until the very end of the answer:
        a server such as hypercorn waits for room in its queue even to close the request.
        """
        if self.gone:
            return
        enough = anyio.Event()
        size, seconds = self._linger()
        if self._hurried:
            seconds = HURRIED_SECONDS
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._discard, size, enough)
            # ASGI lets a server raise OSError from `send` once the client is gone.
            with suppress(OSError):
                await self._send_all(answer, enough, seconds)
            tasks.cancel_scope.cancel()

    async def _send_all(self, answer: Answer, enough: anyio.Event, seconds: float) -> None:
        await self._send(answer.start())
        body = {"type": "http.response.body"}
        if not self._ended:
            await self._send({**body, "body": answer.body, "more_body": True})
            with anyio.move_on_after(seconds) as self._waiting:
                await enough.wait()
            await self._send({**body, "body": b"", "more_body": False})
        else:
            await self._send({**body, "body": answer.body, "more_body": False})

    async def _discard(self, size: int, enough: anyio.Event) -> None:
        most = self._received + size
        while not self._ended:  # never again after a disconnect: hypercorn would wait for ever
            await self.receive()
            if self._received >= most:
                enough.set()
        enough.set()

    def _linger(self) -> tuple[int, float]:
        """How many bytes, and for how many seconds, to read on."""
        length = self.header(b"content-length") or ""
        if length.isascii() and length.isdigit() and len(length) < 19:
            left = int(length) - self._received
            if left <= LINGER_KNOWN_BYTES:
                # One more than there are: the end of the body is what counts.
                return left + 1, LINGER_KNOWN_SECONDS
        return LINGER_BYTES, LINGER_SECONDS
