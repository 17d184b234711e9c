"""Litestar: a dependency that gives what is uploaded, `flow` and `dispatch`, problems as answers.

Knows: Litestar's requests, dependencies and exception handlers, and its limit of a body's size.
Must not know: multipart, or how an early answer reaches a client (`exchange.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, cast

import anyio
from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.types import Empty, HTTPReceiveMessage

from mpflow import LimitExceeded, MultipartError, MultipartReader, RouteError, Router
from mpflow.integrations.asgi import Lingering, answer_for
from mpflow.integrations.exchange import Linger, Receive, Scope, has_ended, source_of
from mpflow.integrations.hosting import Hosting, hosted
from mpflow.integrations.requests import READ_BEFORE, REPLAY_SECONDS, Requests, begin, begun_by

__all__ = ["dispatch", "flow", "install", "multipart"]

AnyRequest: TypeAlias = Request[Any, Any, Any]
Given: TypeAlias = Callable[[AnyRequest], Mapping[str, object] | Awaitable[Mapping[str, object]]]


class _Bounded:
    """A request's `receive`, within Litestar's `request_max_body_size`."""

    def __init__(self, request: AnyRequest) -> None:
        self._request = request
        self._scope = cast("Scope", request.scope)
        self._receive = begun_by(cast("Receive", request.receive), self._scope, self._begin)
        self._most = request.route_handler.resolve_request_max_body_size()
        self._received = 0
        self._check(request.content_length or 0)

    async def __call__(self) -> dict[str, Any]:
        message: HTTPReceiveMessage | None = None
        # Where a middleware has read it all and kept nothing, some servers never say a word.
        with anyio.move_on_after(REPLAY_SECONDS if has_ended(self._scope) else None):
            message = cast("HTTPReceiveMessage", await self._receive())
        if message is None:
            raise RouteError(READ_BEFORE)
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._check(self._received)
        return cast("dict[str, Any]", message)

    def _begin(self) -> None:
        self._request.is_connected = False  # who reads it now would wait for what never comes

    def _check(self, size: int) -> None:
        if self._most is not None and size > self._most:
            raise LimitExceeded(
                "request_max_body_size",
                self._most,
                message=f"expected at most {self._most} bytes of body "
                f"(Litestar's request_max_body_size), got {size} or more",
            )


def _reader(request: AnyRequest, router: Router) -> MultipartReader:
    scope = cast("dict[str, Any]", request.scope)
    # Litestar keeps what was read as a whole, by this request or an earlier one of the same scope.
    if getattr(request, "_body", Empty) is not Empty:
        begin(scope, source_of(cast("Receive", request.receive)), is_kept=True)
        return MultipartReader.from_message(request, limits=router.limits)
    if not request.is_connected:
        raise RouteError(READ_BEFORE)
    return MultipartReader.from_asgi(scope, _Bounded(request), limits=router.limits)


_requests: Final = Requests(_reader)
flow: Final = _requests.flow
dispatch: Final = _requests.dispatch


def multipart(
    router: Router,
    *,
    into: type[Any] | None = None,
    given: Mapping[str, object] | Given | None = None,
) -> Provide:
    """A dependency that is what the request uploads: the `Flow`, or an instance of `into`.

    The handler runs when the body is whole and every handler of a part has answered, and nothing
    is committed yet. Once it has returned, everything is, before the response goes out; if the
    commit fails, or the handler, all is rolled back, and the failure is the answer. `given` are
    values that handlers of parts may need; or a function that makes them of the request, sync or
    async. It runs before a byte of the body is read, and may raise `Rejected`. The application
    must have been given to `install`, else `RouteError`.
    """

    async def provide(request: AnyRequest) -> AsyncGenerator[Any, None]:
        made = given(request) if callable(given) else given
        values = await made if inspect.isawaitable(made) else made
        entered = await hosted(
            request.scope, lambda: flow(request, router, into=into, given=values)
        )
        try:
            yield entered.flow if into is None else entered.flow.results.into(into)
        except Exception as error:
            await entered.leave(error)
        else:
            await entered.leave(None)
        # Whatever else ends it ends the request, and so rolls back.

    return Provide(provide)


def install(app: Litestar, *, linger: Linger | None = None) -> None:
    """Have an application answer every `MultipartError` with problem details.

    Early answers, also those of guards and of other routes, reach clients that are still sending;
    and `multipart` works in it. Call it before the application serves.
    """
    handlers: Any = cast("Any", app).exception_handlers
    handlers[MultipartError] = _answer
    # So Litestar tells that several dependencies failed in their cleanup.
    handlers.setdefault(ExceptionGroup, _answer)
    inner = Lingering(cast("Any", app.asgi_handler), linger or Linger())
    app.asgi_handler = cast("Any", Hosting(inner))


def _answer(request: AnyRequest, error: Exception) -> Response[bytes]:
    answer = answer_for(error)
    if answer is None:
        return Response(b"", status_code=400)  # nobody hears it
    headers = dict(answer.headers)
    kind = headers.pop("content-type")
    return Response(answer.body, status_code=answer.status, headers=headers, media_type=kind)
