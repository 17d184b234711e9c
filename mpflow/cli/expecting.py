"""A client that waits to be asked for its body: hypercorn asks it when the application does.

Knows: how hypercorn serves HTTP/1.1. Must not know: what is served.

RFC 9110, 10.1.1: a server that was sent `Expect: 100-continue` answers 100 once it wants the body,
or with the final status. hypercorn says 100 to all of them before it has called the application,
so that a refused client would send gigabytes that nobody wants.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import anyio

from mpflow.integrations.exchange import WANTED, AsgiApp, Receive, Scope, Send

__all__ = ["asks_lazily", "serve_lazily"]


def _wanted(scope: Scope) -> anyio.Event:
    """Set once a request's body is wanted, or will not be."""
    extensions: dict[str, Any] = scope.setdefault("extensions", {})
    event: anyio.Event = extensions.setdefault(WANTED, anyio.Event())
    return event


def _has_body(request: Any) -> bool:
    """Whether bytes follow a request of h11's (RFC 9112, 6.3)."""
    headers: dict[bytes, bytes] = dict(request.headers)
    return b"transfer-encoding" in headers or int(headers.get(b"content-length", b"0")) > 0


def asks_lazily(app: AsgiApp) -> AsgiApp:
    """The application, which tells the server when it asks for a body."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        wanted = _wanted(scope)

        async def ask() -> Any:
            wanted.set()
            return await receive()

        async def answer(message: Any) -> None:
            await send(message)
            wanted.set()  # there is nothing to ask for any more, if it was the answer's start

        try:
            await app(scope, ask, answer)
        finally:
            wanted.set()

    setattr(run, "asks_lazily", True)  # noqa: B010 - a function has no such name for type checkers
    return run


def serve_lazily() -> None:
    """Have hypercorn, in this process, wait with its 100 for an application that `asks_lazily`.

    hypercorn has no setting for it, and no way in but its own class.
    """
    protocol: Any = import_module("hypercorn.protocol")
    eager: Any = protocol.H11Protocol
    if getattr(eager, "is_lazy", False):
        return

    class Lazy(eager):  # type: ignore[misc, unused-ignore]  # hypercorn may be missing
        is_lazy = True

        async def _create_stream(self, request: Any) -> None:
            await eager._create_stream(self, request)
            asks = getattr(getattr(self.app, "app", None), "asks_lazily", False)
            waits = self.connection.they_are_waiting_for_100_continue
            # Without a body nobody will ask for it, and hypercorn has to see that the request is
            # over before the answer is: else it takes the connection for one to be closed.
            if asks and waits and _has_body(request):
                await _wanted(self.stream.scope).wait()

    protocol.H11Protocol = Lazy
