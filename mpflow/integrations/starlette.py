"""Starlette, and so FastAPI: `flow` and `dispatch` of a request, problems as answers.

Knows: Starlette's requests, responses and exception handlers.
Must not know: multipart, or how an early answer reaches a client (`exchange.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Final

import attrs
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mpflow import MultipartError, MultipartReader, Problem, RouteError, Router
from mpflow.integrations.asgi import Lingering, answer_for
from mpflow.integrations.exchange import Answer, Linger, source_of
from mpflow.integrations.requests import READ_BEFORE, Requests, unread

__all__ = ["dispatch", "flow", "install"]


@attrs.frozen(eq=False)
class _Unread:
    """A request as a reader sees it, whose body nobody must have taken away.

    It reads by the request's own `stream`, so that whoever reads the request afterwards is told
    that its body is gone, and does not wait for it.
    """

    request: Request

    @property
    def headers(self) -> Mapping[str, str]:
        return self.request.headers

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The chunks of the body. `RouteError` where there would be none, ever."""
        request = self.request
        is_kept = hasattr(request, "_body")
        source = source_of(request.receive)
        body = unread(request.scope, source, request.stream, is_kept=is_kept)
        async with aclosing(body) as chunks:
            async for chunk in chunks:
                yield chunk


def _reader(request: Request, router: Router) -> MultipartReader:
    if getattr(request, "_stream_consumed", False) and not hasattr(request, "_body"):
        raise RouteError(READ_BEFORE)
    return MultipartReader.from_message(_Unread(request), limits=router.limits)


_requests: Final = Requests(_reader)
flow: Final = _requests.flow
dispatch: Final = _requests.dispatch


def install(app: Starlette, *, linger: Linger | None = None) -> None:
    """Have an application answer every `MultipartError` with problem details.

    And a full disk, which is a 507. Any other failure of a handler is the application's own: its
    exception handlers see it as it was raised, else it is a 500. Early answers reach clients that
    are still sending, whoever gives them. Call it before the application serves; handlers that the
    application has for these errors stay.
    """
    if app.middleware_stack is not None:
        raise RouteError("expected an application that does not serve yet")
    app.exception_handlers.setdefault(MultipartError, _answer)
    app.exception_handlers.setdefault(OSError, _answer_full)
    build = app.build_middleware_stack

    def build_lingering() -> ASGIApp:
        # In front of all: also what Starlette itself answers to an unforeseen failure is early.
        return Lingering(build(), linger or Linger())

    setattr(app, "build_middleware_stack", build_lingering)  # noqa: B010 - a method, for mypy


async def _answer(request: Request, error: Exception) -> Response:
    answer = answer_for(error)
    return _Answered(answer or Answer(400))  # None: nobody hears it


async def _answer_full(request: Request, error: Exception) -> Response:
    if Problem.of(error).status != 507:
        raise error
    return await _answer(request, error)


class _Answered(Response):
    """An `Answer` as a response of Starlette's."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body, answer.status)
        self.raw_headers: list[tuple[bytes, bytes]] = answer.start()["headers"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # ASGI lets a server raise OSError from `send` once the client is gone.
        with suppress(OSError):
            await super().__call__(scope, receive, send)
