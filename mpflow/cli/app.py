"""`App`: the upload service as an ASGI application.

Knows: methods, paths, statuses; who may upload, and until when; when an answer is JSON, or a page.
Must not know: sockets, signals, the server; what becomes of a part (`inbox.py`, `routed.py`).
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final, Protocol

import anyio
import attrs

from mpflow import Limits, MultipartReader, Problem
from mpflow.cli.access import Access, is_basic
from mpflow.cli.page import Page, prefers_html
from mpflow.integrations.asgi import answer_for
from mpflow.integrations.exchange import Answer, Exchange, Receive, Scope, Send

__all__ = ["App", "Service"]

SIGN_IN: Final = b"token"
"""The query of the page that only those get who show the token: so a browser asks for it."""


class Service(Protocol):
    """What becomes of an upload: of `Inbox`, or of a router that somebody wrote (`Routed`)."""

    @property
    def limits(self) -> Limits | None:
        """What bounds a message; None: the defaults."""
        ...

    async def take(self, reader: MultipartReader) -> dict[str, Any]:
        """Read a whole message and store it, or nothing of it; the answer, for JSON."""
        ...


@attrs.define(eq=False)
class App:
    """`GET /` gives the page with the form, `POST /` and `PUT /` take a multipart.

    The answer to an upload is JSON: what became of each part, or problem details; or a page, if the
    client would rather have HTML. With `access` uploads need its token.
    """

    service: Service
    access: Access | None = None
    _page: Page = attrs.field(init=False)
    _uploads: set[anyio.CancelScope] = attrs.field(factory=set[anyio.CancelScope], init=False)
    _exchanges: set[Exchange] = attrs.field(factory=set[Exchange], init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _ended: anyio.Event | None = attrs.field(default=None, init=False)  # one more upload has

    def __attrs_post_init__(self) -> None:
        limits = self.service.limits or Limits()
        self._page = Page(limits.max_total_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await send({"type": "websocket.close"})  # before it is accepted: a 403

    # -- the end ------------------------------------------------------------------------------

    @property
    def uploads(self) -> int:
        """How many uploads are under way."""
        return len(self._uploads)

    def refuse(self) -> None:
        """Take no new uploads; those under way go on."""
        self._stopping = True

    async def wait_idle(self) -> None:
        """Wait until no upload is under way."""
        while self._uploads:
            self._ended = anyio.Event()
            await self._ended.wait()

    def stop(self) -> None:
        """Roll back every upload under way, and refuse those that come."""
        self.refuse()
        for upload in self._uploads:
            upload.cancel()
        for exchange in self._exchanges:
            exchange.hurry()

    # -- a request ----------------------------------------------------------------------------

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: MutableMapping[str, Any]) -> None:
            # HTTP/2 has no such header.
            is_one = scope.get("http_version", "1.1") <= "1.1"
            starts = message["type"] == "http.response.start"
            if starts and is_one and self._closes(exchange, message["status"]):
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        exchange = Exchange(scope, receive, send_on)
        self._exchanges.add(exchange)
        try:
            answer = await self._respond(exchange)
            if answer is not None:
                await exchange.answer(answer)
        finally:
            self._exchanges.discard(exchange)

    async def _respond(self, exchange: Exchange) -> Answer | None:
        """The answer; None where nobody is there to hear it."""
        if exchange.path != "/":
            if exchange.path == "/favicon.ico":
                return Answer(204)
            return self._problem(exchange, Problem(404, "expected the path /, where uploads go"))
        if exchange.method in ("GET", "HEAD"):
            return self._get(exchange)
        refusal = self._judge(exchange)
        if refusal is not None:
            return self._problem(exchange, refusal)
        with anyio.CancelScope() as upload:
            self._uploads.add(upload)
            try:
                return await self._take(exchange)
            finally:
                self._uploads.discard(upload)
                if self._ended is not None:
                    self._ended.set()
        return self._problem(exchange, _STOPPING)

    def _get(self, exchange: Exchange) -> Answer:
        allowed = self._allows(exchange)
        if not allowed and exchange.scope.get("query_string") == SIGN_IN:
            return self._problem(exchange, self._unauthorized(exchange))
        return self._page.form(needs_token=not allowed)

    def _judge(self, exchange: Exchange) -> Problem | None:
        """Why an upload is refused before a byte of it is read; None if it is not."""
        if exchange.method not in ("POST", "PUT"):
            allowed = "GET, HEAD, POST, PUT"
            return Problem(405, f"expected one of {allowed}", {"Allow": allowed})
        if _is_from_elsewhere(exchange):
            # It could fill the disk in passing.
            detail = "expected an upload from this service's own page, or no browser"
            return Problem(403, detail)
        if not self._allows(exchange):
            return self._unauthorized(exchange)
        return _STOPPING if self._stopping else None

    def _allows(self, exchange: Exchange) -> bool:
        return self.access is None or self.access.allows(exchange.header(b"authorization"))

    def _unauthorized(self, exchange: Exchange) -> Problem:
        assert self.access is not None
        shown = exchange.header(b"authorization")
        came = "none" if shown is None else "another one"
        challenge = {"WWW-Authenticate": self.access.challenge(shown)}
        return Problem(401, f"expected the token of this service, got {came}", challenge)

    async def _take(self, exchange: Exchange) -> Answer | None:
        try:
            reader = MultipartReader.from_asgi(
                exchange.scope, exchange.receive, limits=self.service.limits
            )
            document = await self.service.take(reader)
        except Exception as error:
            # It logs what it must, and knows whether anybody is there to hear it.
            if answer_for(error) is None:
                return None
            return self._problem(exchange, Problem.of(error))
        if _prefers_html(exchange):
            return self._page.stored(document, needs_token=self._needs_token(exchange))
        return Answer.json(200, document)

    # -- answers ------------------------------------------------------------------------------

    def _problem(self, exchange: Exchange, problem: Problem) -> Answer:
        if _prefers_html(exchange):
            return self._page.problem(problem, needs_token=self._needs_token(exchange))
        return Answer.problem(problem)

    def _needs_token(self, exchange: Exchange) -> bool:
        """Whether the page's own script has to show the token: with `Basic` the browser does."""
        shown = exchange.header(b"authorization")
        return self.access is not None and not (is_basic(shown) and self._allows(exchange))

    def _closes(self, exchange: Exchange, status: int) -> bool:
        """Whether the connection is of no more use after an answer."""
        # RFC 9110, 10.1.1: who refuses a body that it was asked about "SHOULD indicate whether it
        # intends to close the connection".
        refused = status >= 400 and exchange.header(b"expect") is not None
        return self._stopping or refused


_STOPPING: Final = Problem(503, "the service is stopping; what was under way was rolled back")


def _prefers_html(exchange: Exchange) -> bool:
    return prefers_html(exchange.header(b"accept") or "*/*")


def _is_from_elsewhere(exchange: Exchange) -> bool:
    """Whether a browser says that another site's page has sent this."""
    site = exchange.header(b"sec-fetch-site")
    if site is not None:
        return site in ("cross-site", "same-site")
    # To other hosts than this one browsers say it over TLS alone. The token that they send by
    # themselves would be anybody's then.
    origin = exchange.header(b"origin")
    if origin is None or not is_basic(exchange.header(b"authorization")):
        return False
    # RFC 6454, 6.2: a scheme, "://" and what Host has. It is compared, not parsed: a client
    # may send anything.
    return origin.partition("://")[2] != exchange.header(b"host")


async def _live(receive: Receive, send: Send) -> None:
    """ASGI's lifespan: there is nothing to start, and nothing to end."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
