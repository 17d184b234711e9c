"""A client of an ASGI application, without a server.

Knows: ASGI's messages. Must not know: the application.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import anyio

from mpflow.testing import content_type_of


class Client:
    """One request. `chunks` is its body; `ends` says what comes after them.

    "whole": the end of the body; "gone": a disconnect; "silent": nothing, for ever. To receive
    on after the end fails: hypercorn would wait for ever.
    """

    def __init__(
        self,
        method: str = "POST",
        path: str = "/",
        *,
        chunks: Iterable[bytes] = (),
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
        ends: str = "whole",
    ) -> None:
        kind = content_type_of() if content_type is None else content_type
        fields = {"Content-Type": kind, **(headers or {})}
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(k.lower().encode(), v.encode()) for k, v in fields.items()],
        }
        self.messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
        ]
        if ends == "whole":
            self.messages.append({"type": "http.request"})
        elif ends == "gone":
            self.messages.append({"type": "http.disconnect"})
        self.silent = ends == "silent"
        self.sent: list[dict[str, Any]] = []
        self.received = 0

    async def receive(self) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        if not self.messages and self.silent:
            await anyio.Event().wait()
        assert self.messages, "received on after the end"
        message = self.messages.pop(0)
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: dict[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        assert not self.finished, "sent on after the end"
        assert (message["type"] == "http.response.start") == (not self.sent)
        self.sent.append(message)

    @property
    def finished(self) -> bool:
        return len(self.sent) > 1 and not self.sent[-1].get("more_body", False)

    @property
    def status(self) -> int:
        assert self.finished
        return self.sent[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        body = b"".join(message.get("body", b"") for message in self.sent[1:])
        assert len(body) == int(self.headers.get("content-length", 0))
        return body

    @property
    def document(self) -> dict[str, Any]:
        kind = "json" if self.status < 400 else "problem+json"
        assert self.headers["content-type"] == f"application/{kind}"
        return json.loads(self.body)
