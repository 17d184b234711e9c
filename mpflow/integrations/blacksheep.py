"""BlackSheep: `flow` and `dispatch` in a request handler, problems as answers.

Knows: BlackSheep's requests, responses and exception handlers.
Must not know: multipart, or how an early answer reaches a client (`exchange.py`).
"""

from __future__ import annotations

from typing import Any, Final, cast

from blacksheep import Application, Content, Request, Response

from mpflow import MultipartError, MultipartReader, RouteError, Router
from mpflow.integrations.asgi import Lingering, answer_for
from mpflow.integrations.exchange import AsgiApp, Linger
from mpflow.integrations.requests import Requests

__all__ = ["dispatch", "flow", "install"]


def _reader(request: Request, router: Router) -> MultipartReader:
    content: Any = request.content
    if content is not None and content.body is not None:
        # To read on would wait for a message that some servers never send.
        raise RouteError("expected a request whose body nobody has read, got one read as a whole")
    return MultipartReader.from_message(request, limits=router.limits)


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
