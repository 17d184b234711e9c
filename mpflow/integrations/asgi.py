"""ASGI: a router as an application, alone or in front of another one.

Knows: methods and paths, what `respond` may give, and which failures become which answers.
Must not know: any framework.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from mpflow import ClientDisconnected, EmptyBody, Flow, MultipartReader, Problem, Router
from mpflow.integrations.exchange import (
    Answer,
    AsgiApp,
    Exchange,
    Linger,
    Receive,
    Scope,
    Send,
    path_of,
)
from mpflow.integrations.requests import begun_by
from mpflow.problems import sole_error

__all__ = ["Answer", "AsgiApp", "Exchange", "Front", "Linger", "Lingering", "Upload", "answer_for"]

Respond: TypeAlias = Callable[[Flow], object]
Given: TypeAlias = Callable[[Scope], Mapping[str, object] | Awaitable[Mapping[str, object]]]

_log: Final = logging.getLogger("mpflow.integrations")


# A multipart without a byte is none: so says the reader where nobody knows as early as this.
_LOST: Final = Problem.of(
    EmptyBody(
        "expected a multipart body, and the server dropped it, as this request asks for another "
        "protocol ('Upgrade: h2c'): let the client speak HTTP/1.1 (in Java: "
        "HttpClient.Version.HTTP_1_1), or run uvicorn with --http h11"
    )
)


def answer_for(error: Exception) -> Answer | None:
    """The answer to a request that failed: problem details, or None where nobody would hear it.

    What is not the client's fault is logged (`mpflow.integrations`), since the answer has no word
    of it.
    """
    if isinstance(sole_error(error), ClientDisconnected):
        return None
    problem = Problem.of(error)
    if problem.status >= 500:
        _log.error("an upload failed: %s", error, exc_info=error)
    return Answer.problem(problem)


def _upper(methods: Iterable[str]) -> tuple[str, ...]:
    return tuple(method.upper() for method in methods)


@attrs.define(eq=False)
class Upload:
    """A router as an ASGI application: dispatches what is uploaded, and answers.

    `respond(flow)`, sync or async, is called when the body is whole and every handler has answered,
    and nothing is committed yet: what it gives becomes the answer once everything is. An `Answer`
    is sent as it is, None is a 204, and anything else is sent as JSON (200). Without it the answer
    is a 204.
    `given` are values that handlers may need beside those of other parts; or a function that makes
    them of ASGI's scope, sync or async. It runs before a byte of the body is read, and may raise
    `Rejected`. `methods` are those that upload; any other is a 405.

    A failure is answered with problem details (`Problem`), those by the headers alone before the
    body is asked for. To mount it somewhere, mount it: it looks at no path.
    """

    router: Router
    respond: Respond | None = None
    given: Mapping[str, object] | Given | None = attrs.field(default=None, kw_only=True)
    methods: tuple[str, ...] = attrs.field(default=("POST", "PUT"), kw_only=True, converter=_upper)
    linger: Linger = attrs.field(factory=Linger, kw_only=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted: a 403
        elif scope["type"] == "http":
            exchange = Exchange(scope, receive, send, linger=self.linger)
            answer = await self.take(exchange)
            if answer is not None:
                await exchange.answer(answer)
        else:
            raise ValueError(f"expected an ASGI scope of http, got {scope['type']!r}")

    async def take(self, exchange: Exchange) -> Answer | None:
        """Dispatch one request; the answer, None where nobody is there to hear it."""
        if exchange.method not in self.methods:
            allowed = ", ".join(self.methods)
            problem = Problem(405, f"expected one of {allowed}", {"Allow": allowed})
            return Answer.problem(problem)
        if exchange.is_lost:
            return Answer.problem(_LOST)
        try:
            given = self.given
            if callable(given):
                made = given(exchange.scope)
                given = await made if inspect.isawaitable(made) else made
            receive = begun_by(exchange.receive, exchange.scope)
            reader = MultipartReader.from_asgi(exchange.scope, receive, limits=self.router.limits)
            async with self.router.flow(reader, given=given) as flow:
                told = None if self.respond is None else self.respond(flow)
                # Made before the commit: what is no JSON fails while all can be rolled back.
                answer = _answer_of(await told if inspect.isawaitable(told) else told)
        except Exception as error:
            return answer_for(error)
        return answer


def _answer_of(told: object) -> Answer:
    if isinstance(told, Answer):
        return told
    return Answer(204) if told is None else Answer.json(200, told)


@attrs.define(eq=False)
class Front:
    """Applications at paths of their own, in front of one that gets everything else.

    A path is matched as it is, without what is mounted around. For frameworks whose own request
    bodies have no backpressure: `app.asgi_app = Front(app.asgi_app, {"/upload": Upload(router)})`.
    """

    app: AsgiApp
    paths: Mapping[str, AsgiApp]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http":
            path = path_of(scope)
            root = scope.get("root_path", "")
            if root and path.startswith(root + "/"):
                path = path[len(root) :]
            app = self.paths.get(path, app)
        await app(scope, receive, send)


@attrs.define(eq=False)
class Lingering:
    """An application whose early answers reach clients that are still sending.

    A middleware for any framework. An answer that an application gives before it has read the
    body, a 413 say, is lost on some servers to clients that write all of it before they read. So
    what still comes is read and thrown away within `linger` before such an answer ends. A multipart
    whose body the server has dropped is refused (400) before the application sees it.
    """

    app: AsgiApp
    linger: Linger = attrs.field(factory=Linger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            exchange = Exchange(scope, receive, send, linger=self.linger)
            receive, send = exchange.receive, exchange.send
            kind = exchange.header(b"content-type") or ""
            if exchange.is_lost and kind.lower().startswith("multipart/"):
                await exchange.answer(Answer.problem(_LOST))
                return
        await self.app(scope, receive, send)


async def _live(receive: Receive, send: Send) -> None:
    """ASGI's lifespan: there is nothing to start, and nothing to end."""
    while True:
        message: Any = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
