"""HTTP for tests: servers over real sockets, on every backend.

Knows: sockets, the bytes of an HTTP/1.1 answer, hypercorn. Must not know: mpflow.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream
from hypercorn.config import Config
from trio.lowlevel import in_trio_run

__all__ = ["answering", "serving"]


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


@asynccontextmanager
async def serving(app: Any) -> AsyncGenerator[int]:
    """The port on which hypercorn serves an application, on the backend that runs."""
    serve = import_module(f"hypercorn.{'trio' if in_trio_run() else 'asyncio'}").serve
    stop = anyio.Event()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port: int = listener.getsockname()[1]
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]  # hypercorn closes it
    config.accesslog = config.errorlog = None
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: serve(app, config, shutdown_trigger=stop.wait))
        yield port
        stop.set()
