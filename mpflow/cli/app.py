"""`App`: the upload service as an ASGI application.

Knows: methods, paths, statuses; what the client is told of each failure.
Must not know: sockets, signals, the server; what becomes of a part (`inbox.py`, `routed.py`).
"""

from __future__ import annotations

import errno
import logging
from typing import Any, Final, Protocol

import anyio
import attrs

from mpflow import (
    ClientDisconnected,
    CommitFailed,
    Limits,
    MultipartError,
    MultipartReader,
    Rejected,
)
from mpflow.cli.page import load_page
from mpflow.cli.told import for_clients, tell_cause
from mpflow.integrations.exchange import Answer, Exchange, Receive, Scope, Send

__all__ = ["App", "Service", "refuse"]

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_log: Final = logging.getLogger("mpflow.serve")


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

    The answer to an upload is JSON: what became of each part, or `error`, one line, and `status`.
    """

    inbox: Service
    _page: Answer = attrs.field(factory=load_page, init=False)
    _uploads: set[anyio.CancelScope] = attrs.field(factory=set[anyio.CancelScope], init=False)
    _exchanges: set[Exchange] = attrs.field(factory=set[Exchange], init=False)
    _stopped: bool = attrs.field(default=False, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(Exchange(scope, receive, send))
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await send({"type": "websocket.close"})  # before it is accepted: a 403

    def stop(self) -> None:
        """Roll back every upload under way, and refuse those that come."""
        self._stopped = True
        for upload in self._uploads:
            upload.cancel()
        for exchange in self._exchanges:
            exchange.hurry()

    async def _serve(self, exchange: Exchange) -> None:
        self._exchanges.add(exchange)
        if self._stopped:
            exchange.hurry()
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
            return _error(404, "expected the path /, where uploads go")
        if exchange.method in ("GET", "HEAD"):
            return self._page
        if exchange.method not in ("POST", "PUT"):
            allowed = "GET, HEAD, POST, PUT"
            return _error(405, f"expected one of {allowed}", headers={"Allow": allowed})
        if exchange.header(b"sec-fetch-site") in ("cross-site", "same-site"):
            # What a browser says of another site's page: it could fill the disk in passing.
            return _error(403, "expected an upload from this service's own page, or no browser")
        if self._stopped:
            return _stopping()
        with anyio.CancelScope() as upload:
            self._uploads.add(upload)
            try:
                return await self._take(exchange)
            finally:
                self._uploads.discard(upload)
        return _stopping()

    async def _take(self, exchange: Exchange) -> Answer | None:
        try:
            reader = MultipartReader.from_asgi(
                exchange.scope, exchange.receive, limits=self.inbox.limits
            )
            return Answer.json(200, await self.inbox.take(reader))
        except ClientDisconnected:
            return None
        except Exception as error:
            return refuse(error)


def refuse(error: Exception) -> Answer:
    """What the client is told of a failure; what is not its fault is logged."""
    told: dict[str, Any] = {}
    headers: dict[str, str] = {}
    status, line = 500, for_clients(error)
    if isinstance(error, MultipartError):
        status, told = error.status, _details(error)
    if isinstance(error, Rejected):
        headers = error.headers
    # A full disk shows when a part is written, or when it is committed.
    cause = error.__cause__ if isinstance(error, CommitFailed) else error
    if isinstance(cause, OSError):
        reason = cause.strerror or type(cause).__name__
        line = f"{line}: {reason}" if cause is not error else f"the upload was not stored: {reason}"
        status = 507 if cause.errno in _FULL else 500
    if status >= 500:
        unforeseen = not isinstance(cause, MultipartError | OSError)
        _log.error("%s", tell_cause(error), exc_info=error if unforeseen else None)
    return _error(status, line, told, headers=headers)


def _details(error: MultipartError) -> dict[str, Any]:
    """Where it happened, and which limit was passed, for programs."""
    told: dict[str, Any] = {}
    if error.part is not None:
        told["part"] = {k: v for k, v in attrs.asdict(error.part).items() if v is not None}
    if error.offset is not None:
        told["offset"] = error.offset
    limit = getattr(error, "limit", None)
    if limit is not None:
        told["limit"] = limit
    return told


def _error(
    status: int,
    line: str,
    details: dict[str, Any] | None = None,
    *,
    headers: dict[str, str] | None = None,
) -> Answer:
    return Answer.json(status, {"error": line, "status": status, **(details or {})}, headers)


def _stopping() -> Answer:
    return _error(503, "the service is stopping; what was under way was rolled back")


async def _live(receive: Receive, send: Send) -> None:
    """ASGI's lifespan: there is nothing to start, and nothing to end."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
