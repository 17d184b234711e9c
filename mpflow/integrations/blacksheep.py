"""BlackSheep: `flow` and `dispatch` in a request handler, problems as answers.

Knows: BlackSheep's requests, responses and exception handlers.
Must not know: multipart, or how an early answer reaches a client (`exchange.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, cast

import attrs
from blacksheep import Application, Content, Request, Response
from blacksheep.contents import ASGIContent

from mpflow import MultipartError, MultipartReader, RouteError, Router
from mpflow.integrations.asgi import Lingering, answer_for
from mpflow.integrations.exchange import AsgiApp, Linger, source_of
from mpflow.integrations.requests import READ_BEFORE, Requests, unread

__all__ = ["dispatch", "flow", "install"]


@attrs.frozen(eq=False)
class _Unread:
    """A request as a reader sees it, whose body nobody must have taken away."""

    request: Request

    @property
    def headers(self) -> object:
        return self.request.headers

    async def stream(self) -> AsyncGenerator[bytes, None]:
        request: Any = self.request
        # Not `request.stream`, which leaves this one open where it is closed itself.
        content: Any = request.content
        stream = request.stream if content is None else content.stream
        source = request if content is None else content
        if isinstance(content, ASGIContent):
            receive = cast("Any", content).receive
            source = source_of(receive)
            request.content = _Begun(receive)
        async with aclosing(unread(request.scope, source, stream)) as chunks:
            async for chunk in chunks:
                if chunk:  # None where there is no body
                    yield chunk


class _Begun(ASGIContent):
    """The content of a request whose body a flow reads: who reads it as well waits for nothing.

    Its stream is as it was: so BlackSheep looks whether the client has gone.
    """

    async def read(self) -> bytes:
        raise RouteError(READ_BEFORE)


def _reader(request: Request, router: Router) -> MultipartReader:
    content: Any = request.content
    if content is not None and content.body is not None:
        raise RouteError(READ_BEFORE)
    return MultipartReader.from_message(_Unread(request), limits=router.limits)


_requests: Final = Requests(_reader)
flow: Final = _requests.flow
dispatch: Final = _requests.dispatch


def install(app: Application, *, linger: Linger | None = None) -> AsgiApp:
    """Have an application answer every `MultipartError` with problem details.

    Gives the application to serve, which stands in front of `app` and lets early answers reach
    clients that are still sending. `app` itself, where it is served, answers the same without.
    """
    cast("Any", app).exceptions_handlers[MultipartError] = _answer
    return Lingering(app, linger or Linger())


async def _answer(app: Application, request: Request, error: Exception) -> Response:
    answer = answer_for(error)
    if answer is None:
        return Response(400)  # nobody hears it
    kind = answer.headers["content-type"].encode("ascii")
    headers = [
        (name.encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in answer.headers.items()
        if name != "content-type"
    ]
    return Response(answer.status, headers, Content(kind, answer.body))
