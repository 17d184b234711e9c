"""One HTTP request and its answer, over ASGI: `Exchange` and `Answer`.

Knows: ASGI's messages, and how a refusal reaches a client that is still sending.
Must not know: multipart, routes, files, frameworks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import anyio
import attrs

from mpflow import Problem
from mpflow.problems import clean_headers

__all__ = ["Answer", "AsgiApp", "Exchange", "Linger", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

HURRIED_SECONDS: Final = 0.5
"""How long is lingered once the service stops, and behind a 408."""

IDLE_SECONDS: Final = 0.5
"""How long a client may pause that gets the last byte of its answer only when it has sent all."""

_MIB: Final = 1024 * 1024

# RFC 9110, 6.4.1: they have no content; 8.6: a 204 has no Content-Length.
_BODILESS: Final = frozenset({204, 304})

_NOSNIFF: Final = "x-content-type-options"

WANTED: Final = "mpflow.wanted"
"""Among ASGI's `extensions` where the server asks for the body only when the application does."""

# So do they, by themselves. hypercorn says 100 before it calls the application.
_LAZY: Final = ("uvicorn", "granian")

# In the scope of a request whose early answer somebody further out looks after.
_LINGERING: Final = "mpflow.lingering"

# RFC 9112, 3.2.2: absolute-form, of which only the path matters here.
_ABSOLUTE: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


@attrs.frozen
class Linger:
    """How much of a body that nobody wants is still read before the connection may be closed.

    Bytes and seconds, whichever comes first. A client that writes all of its body before it reads
    loses an early answer otherwise. A chunked body does not say how much of it is left: `size` and
    `seconds`. Where Content-Length says that no more than `known_size` is left, all of it is read,
    within `known_seconds`.
    """

    size: int = 16 * _MIB
    seconds: float = 2.0
    known_size: int = 64 * _MIB
    known_seconds: float = 10.0

    def bounds(self, left: int | None) -> tuple[int, float]:
        """How many bytes to read on, and for how many seconds, of which `left` are known of."""
        if left is not None and left <= self.known_size:
            # One more than there are: the end of the body is what counts.
            return left + 1, self.known_seconds
        return self.size, self.seconds


def _headers_of(headers: Mapping[str, str]) -> dict[str, str]:
    """What an answer has, of whatever integration: it is what its content type says."""
    own = {k: v for k, v in clean_headers(headers).items() if k.lower() != _NOSNIFF}
    return {**own, _NOSNIFF: "nosniff"}


@attrs.frozen
class Answer:
    """A status, a body, and headers on top of those that follow from the body.

    Of the headers, those that only the server can set are left out, and what would break the
    answer is made harmless. `X-Content-Type-Options: nosniff` is always among them.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=_headers_of)

    @classmethod
    def json(
        cls, status: int, document: object, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """An answer that is a JSON document in UTF-8, for people as well as for programs."""
        try:
            body = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode()
        except UnicodeEncodeError:
            # A header's bytes that are no UTF-8 are lone surrogates, which JSON can only escape.
            body = json.dumps(document, indent=2, allow_nan=False).encode()
        kind = {"content-type": "application/json"}
        return cls(status, body + b"\n", {**kind, **(headers or {})})

    @classmethod
    def problem(cls, problem: Problem) -> Answer:
        """An answer that says what went wrong (RFC 9457)."""
        kind = {"content-type": problem.content_type}
        return cls(problem.status, problem.body(), {**problem.headers, **kind})

    def start(self) -> dict[str, Any]:
        """ASGI's first message of the answer."""
        headers = [(k.lower().encode(), v.encode("latin-1")) for k, v in self.headers.items()]
        if self.status not in _BODILESS:
            headers.append((b"content-length", str(len(self.body)).encode()))
        return {"type": "http.response.start", "status": self.status, "headers": headers}

    def end(self) -> dict[str, Any]:
        """ASGI's last message of the answer."""
        body = b"" if self.status in _BODILESS else self.body
        return {"type": "http.response.body", "body": body}


def path_of(scope: Mapping[str, Any]) -> str:
    """The path of a request, decoded.

    RFC 9112, 3.2.2: "a server MUST accept the absolute-form in requests". Servers such as
    hypercorn put it into ASGI's `path` as it came.
    """
    path = str(scope["path"])
    absolute = _ABSOLUTE.match(path)
    # RFC 9110, 4.2.3: an empty path is the same as "/".
    return path if absolute is None else path[absolute.end() :] or "/"


def has_ended(scope: Mapping[str, Any]) -> bool:
    """Whether the server has given out all of the request's body; False where nobody has looked."""
    outermost = scope.get(_LINGERING)
    return isinstance(outermost, Exchange) and outermost.ended


def received_of(scope: Mapping[str, Any]) -> int:
    """How many bytes of the body the server has given out; 0 where nobody has looked."""
    outermost = scope.get(_LINGERING)
    return outermost.received if isinstance(outermost, Exchange) else 0


def source_of(receive: Receive) -> Receive:
    """The `receive` that stands behind exchanges."""
    while isinstance(exchange := getattr(receive, "__self__", None), Exchange):
        receive = exchange.source
    return receive


class Exchange:
    """A request under way. All that reads its body does so through `receive`.

    An answer that comes before the end of the body reaches a client that is still sending: see
    `send`. After a disconnect nobody is asked for more: some servers would never answer. Where one
    of these is made inside another, of the same request, the outer one lingers.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, linger: Linger | None = None
    ) -> None:
        self.scope: Scope = scope
        self._receive = receive
        self._send = send
        self._linger = linger or Linger()
        self._is_inner = bool(scope.get(_LINGERING))
        scope.setdefault(_LINGERING, self)
        self._turn = anyio.Lock(fast_acquire=True)
        self._received = 0
        self._ended = not self._has_body()  # there is nothing more to receive
        is_lazy = WANTED in (scope.get("extensions") or ())
        # Whether the client may have been told to go on: by the server, or because we wanted more.
        self._has_asked = not (is_lazy or _module_of(receive).startswith(_LAZY))
        self._has_started = False
        self._enough: tuple[int, anyio.Event] | None = None  # bytes, and what tells of them
        # Over HTTP/1, granian takes the request for done once as many bytes of the answer are out
        # as its Content-Length says, and closes the connection to a client that is still sending.
        is_single = str(scope.get("http_version", "1.1")).startswith("1")
        self._keeps = is_single and _module_of(receive).startswith("granian")
        self._kept = b""
        self._last: MutableMapping[str, Any] = {"type": "http.disconnect"}
        self._hurried = False
        self._waiting: anyio.CancelScope | None = None  # for what still comes
        self.gone: bool = False
        """Whether the client has gone away."""

    @property
    def ended(self) -> bool:
        """Whether nothing more of the body is to come."""
        return self._ended

    @property
    def received(self) -> int:
        """How many bytes of the body have come."""
        return self._received

    @property
    def source(self) -> Receive:
        """The `receive` that it was given."""
        return self._receive

    @property
    def method(self) -> str:
        """The request's method, in upper case."""
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        """The request's path, decoded, without scheme and host."""
        return path_of(self.scope)

    @property
    def is_lost(self) -> bool:
        """Whether the server has dropped the body, though Content-Length speaks of one.

        uvicorn with httptools does so where a request says `Upgrade: h2c`, as Java's HttpClient
        does. What the client goes on to send it then takes for a bad request, and answers that:
        there is no time to ask for the body first.
        """
        cycle: Any = getattr(self._receive, "__self__", None)
        is_over = getattr(cycle, "more_body", True) is False and not getattr(cycle, "body", True)
        return is_over and self._left() not in (None, 0)

    def header(self, name: bytes) -> str | None:
        """The value of the first header `name` (in lower case), or None."""
        return next((v.decode("latin-1") for k, v in self.scope["headers"] if k == name), None)

    def _has_body(self) -> bool:
        if self.scope.get("method") not in ("GET", "HEAD", "OPTIONS", "DELETE"):
            return True
        return any(name in (b"content-length", b"transfer-encoding")
                   for name, _ in self.scope.get("headers", ()))  # fmt: skip

    async def receive(self) -> MutableMapping[str, Any]:
        """ASGI's `receive`, with an eye on what has come. The disconnect is told again."""
        # One at a time: of two who wait, hypercorn tells only one that the client has gone.
        async with self._turn:
            if self.gone:
                return self._last
            self._has_asked = self._has_asked or not self._has_started
            message = await self._receive()
            if message["type"] == "http.request":
                self._received += len(message.get("body", b""))
                self._ended = not message.get("more_body", False)
            else:
                self._ended = self.gone = True
                self._last = message
            self._tell()
            return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """ASGI's `send`; the end of an early answer waits, within bounds, for the client.

        A client that writes all of its body before it reads would lose an early answer to a closed
        connection. So the answer goes out at once, for those who look, and what still comes is
        thrown away before it ends. The answer's start goes first: a server that was not asked for
        the body of an `Expect: 100-continue` does not ask for it then. And it is read until the
        very end: one such as hypercorn waits for room in its queue even to close the request.
        """
        if message.get("status") == HTTPStatus.REQUEST_TIMEOUT:
            self.hurry()  # who was silent for too long is not waited for once more
        if self._is_inner or message["type"] != "http.response.body":
            await self._send(message)
            self._has_started = self._has_started or message["type"] == "http.response.start"
            return
        message = self._keep_back(message)
        if self._ended or message.get("more_body"):
            await self._send(message)
            return
        size, seconds = self._linger.bounds(self._left())
        enough = anyio.Event()
        self._enough = self._received + size, enough
        # Kept, and raised as they are: a task group would put them into a group.
        failures: list[Exception] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._discard, failures)
            try:
                await self._send({**message, "more_body": True})
                with anyio.move_on_after(HURRIED_SECONDS if self._hurried else seconds) as waiting:
                    self._waiting = waiting
                    while not enough.is_set() and await self._wait(enough):
                        pass
                await self._send(
                    {"type": "http.response.body", "body": self._kept, "more_body": False}
                )
            except Exception as error:
                failures.insert(0, error)
            tasks.cancel_scope.cancel()
        if failures:
            raise failures[0]

    def _keep_back(self, message: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The message without the last byte of the answer so far, where that has to wait."""
        if not self._keeps:
            return message
        body = self._kept + message.get("body", b"")
        if self._ended or self._is_asking():
            self._kept = b""  # nobody is still sending
        else:
            self._kept = body[-1:]
        return {**message, "body": body[: len(body) - len(self._kept)]}

    async def _wait(self, enough: anyio.Event) -> bool:
        """Wait for the rest of the body; False where a client pauses that waits itself.

        One that has asked and was refused sends nothing more, unless it has just stopped waiting.
        """
        if not (self._kept or self._is_asking()):
            await enough.wait()
            return True
        before = self._received
        with anyio.move_on_after(IDLE_SECONDS):
            await enough.wait()
        return self._received > before

    def _is_asking(self) -> bool:
        """Whether the client sends its body only once it is asked, and was not (RFC 9110, 10.1.1).

        Not after it has begun: no client waits "for an indefinite period".
        """
        if self._has_asked or self._received:
            return False
        return (self.header(b"expect") or "").lower() == "100-continue"

    def hurry(self) -> None:
        """Wait no longer than a moment for what still comes."""
        self._hurried = True
        if self._waiting is not None:
            soon = anyio.current_time() + HURRIED_SECONDS
            self._waiting.deadline = min(self._waiting.deadline, soon)

    async def answer(self, answer: Answer) -> None:
        """Send an answer, unless the client is gone."""
        if self.gone:
            return
        # ASGI lets a server raise OSError from `send` once the client is gone.
        with suppress(OSError):
            await self.send(answer.start())
            await self.send(answer.end())

    async def _discard(self, failures: list[Exception]) -> None:
        try:
            while not self._ended:
                await self.receive()
        except Exception as error:
            failures.append(error)
            self._ended = True
            self._tell()

    def _tell(self) -> None:
        """Wake who waits for the rest of the body, if that has come, or as much as is wanted."""
        if self._enough is not None:
            most, enough = self._enough
            if self._ended or self._received >= most:
                enough.set()

    def _left(self) -> int | None:
        """How many bytes are still to come, where Content-Length says it."""
        length = self.header(b"content-length") or ""
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            return None
        return int(length) - self._received


def _module_of(receive: Receive) -> str:
    """Whose method it is; empty where it is a function."""
    owner: object = getattr(receive, "__self__", None)
    return "" if owner is None else type(owner).__module__
