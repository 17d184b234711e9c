"""HTTP for tests: a server that gives one answer, over real sockets, on every backend.

Knows: sockets and the bytes of an HTTP/1.1 answer. Must not know: mpflow.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketAttribute, SocketStream

__all__ = ["answering"]


@asynccontextmanager
async def answering(
    body: bytes, headers: Mapping[str, str], *, status: int = 200, cut: int | None = None
) -> AsyncGenerator[str]:
    """The address of a server that answers each request so; `cut` ends the body too early."""
    head = f"HTTP/1.1 {status} Answer\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"

    async def answer(stream: SocketStream) -> None:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive()
            await stream.send(head.encode() + body[:cut])

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{port}/"
        group.cancel_scope.cancel()
