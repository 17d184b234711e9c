"""Falcon, its ASGI applications: `flow` and `dispatch` in a responder, problems as answers.

Knows: Falcon's requests, responses and error handlers.
Must not know: multipart, or how an early answer reaches a client (`exchange.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, MutableMapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final, cast

import attrs
from falcon.asgi import App, BoundedStream, Request, Response

from mpflow import MultipartError, MultipartReader, RouteError, Router
from mpflow.integrations.asgi import Lingering, answer_for
from mpflow.integrations.exchange import AsgiApp, Linger, Receive, Scope, Send, source_of
from mpflow.integrations.requests import READ_BEFORE, Requests, begin, begun_by

__all__ = ["dispatch", "flow", "install"]

_RECEIVE: Final = "mpflow.receive"


@attrs.frozen(eq=False)
class _Streamed:
    """A request as a reader sees it, whose body comes by Falcon's own stream."""

    request: Request

    @property
    def headers(self) -> Mapping[str, str]:
        return self.request.headers

    async def stream(self) -> AsyncGenerator[bytes, None]:
        begin(self.request.scope, _source(self.request))
        pieces = cast("AsyncGenerator[bytes, None]", aiter(self.request.stream))
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece


def _source(request: Request) -> object:
    """What the body comes from."""
    receive: Receive | None = request.scope.get(_RECEIVE)
    return request.stream if receive is None else source_of(receive)


def _reader(request: Request, router: Router) -> MultipartReader:
    receive: Receive | None = request.scope.get(_RECEIVE)
    stream = request.stream
    # A stream that has its first bytes from Falcon counts them as read.
    if stream.tell() and (receive is not None or stream.eof):
        raise RouteError(READ_BEFORE)
    if receive is None or stream.eof:
        # The application was not installed: then a client that goes away is one whose body is
        # cut, since the stream ends as if all were well.
        return MultipartReader.from_message(_Streamed(request), limits=router.limits)
    receive = begun_by(receive, request.scope, partial(_end, stream))
    return MultipartReader.from_asgi(request.scope, receive, limits=router.limits)


def _end(stream: BoundedStream) -> None:
    """Let a stream be over, so that who reads it as well does not wait for what never comes.

    Not closed: `exhaust` would fail, which Falcon has everybody call who has read a part of it.
    """
    cast("Any", stream)._bytes_remaining = 0


_requests: Final = Requests(_reader)
flow: Final = _requests.flow
dispatch: Final = _requests.dispatch


def install(app: App[Any, Any], *, linger: Linger | None = None) -> AsgiApp:
    """Have an application answer every `MultipartError` with problem details.

    Gives the application to serve, which stands in front of `app`: it lets early answers reach
    clients that are still sending, and has Falcon look at the headers before it asks for a byte
    of the body. `app` itself, where it is served, answers the same without these two.
    """
    app.add_error_handler(MultipartError, _answer)
    return Lingering(_Served(cast("AsgiApp", app)), linger or Linger())


async def _answer(
    request: Request, response: Response, error: MultipartError, params: dict[str, Any]
) -> None:
    answer = answer_for(error)
    if answer is None:
        response.status = error.status  # nobody hears it
        return
    response.status = answer.status
    # What the responder has said before it failed would go before it.
    response.text = response.media = response.stream = response.sse = None
    response.data = answer.body
    for name, value in answer.headers.items():
        # Falcon sets no cookie by its header, and appends where others are replaced.
        put = response.append_header if name.lower() == "set-cookie" else response.set_header
        put(name, value)


@attrs.define(eq=False)
class _Served:
    """An application that is not asked for its first message before somebody reads.

    Falcon awaits the first message before it looks at the headers, and so has a server ask for
    the body of an `Expect: 100-continue`. An empty one comes first instead.
    """

    app: AsgiApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = False

        async def receive_late() -> MutableMapping[str, Any]:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": True}
            return await receive()

        await self.app({**scope, _RECEIVE: receive}, receive_late, send)
