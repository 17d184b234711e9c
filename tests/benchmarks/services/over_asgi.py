"""Services that store uploads, as ASGI applications: the bare stream, mpflow's ways, Starlette's.

Knows: how each of them takes an upload. Must not know: the server, the client, what is good.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TypeAlias

from mpflow import Limits, MultipartReader, Part, Router
from mpflow_handlers import Save
from tests.benchmarks.services.seen import Gauge, Seen

__all__ = ["WAYS", "App", "application"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Store: TypeAlias = Callable[[Scope, Receive, Seen], Awaitable[None]]

LIMITS = Limits(max_part_bytes="8 GiB", max_total_bytes="8 GiB")


async def raw(scope: Scope, receive: Receive, seen: Seen) -> None:
    """The floor: the stream as it comes, parsed by nobody."""
    with seen.file() as file:
        more = True
        while more:
            message = await receive()
            if data := message.get("body", b""):
                seen.note()
                file.write(data)
            more = message.get("more_body", False)


async def reader(scope: Scope, receive: Receive, seen: Seen) -> None:
    """`MultipartReader`, in the request's own task."""
    async for part in MultipartReader.from_asgi(scope, receive, limits=LIMITS):
        with seen.file() as file:
            async for data in part:
                seen.note()
                file.write(data)


async def dispatch(scope: Scope, receive: Receive, seen: Seen) -> None:
    """`Router.dispatch` to one handler, which writes what it gets."""
    router = Router(limits=LIMITS)

    @router.route(name="file")
    async def store(part: Part) -> None:
        with seen.file() as file:
            async for data in part:
                seen.note()
                file.write(data)

    await router.dispatch(MultipartReader.from_asgi(scope, receive))


async def save(scope: Scope, receive: Receive, seen: Seen) -> None:
    """`Save`, which writes in worker threads, syncs, and publishes the file at the end."""
    router = Router(limits=LIMITS)
    router.add(Save(seen.folder), name="file")
    await router.dispatch(MultipartReader.from_asgi(scope, receive))


async def starlette(scope: Scope, receive: Receive, seen: Seen) -> None:
    """`form()`: its own temporary file is where the upload is stored; nobody copies it."""
    from starlette.datastructures import UploadFile
    from starlette.requests import Request

    async with Request(scope, receive).form() as form:
        upload = form["file"]
        assert isinstance(upload, UploadFile)
        if await upload.read(64 * 1024):
            seen.note()
        assert upload.size is not None
        # It has no name in the folder: so one stands for it, which takes no room.
        with seen.file() as file:
            file.truncate(upload.size)


WAYS: Mapping[str, Store] = {
    "raw": raw, "reader": reader, "dispatch": dispatch, "save": save, "starlette": starlette,
}  # fmt: skip


def application(way: str, folder: Path, gauge: Gauge) -> App:
    """`POST /` stores; `GET /begin` and `GET /end` are those of the gauge."""
    store = WAYS[way]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen = Seen(folder)
        if scope["type"] != "http":
            raise ValueError(f"expected a scope of http, got {scope['type']!r}")
        if scope["method"] == "POST":
            await store(scope, receive, seen)
            told = seen.told()
        else:
            told = gauge.begin() if scope["path"] == "/begin" else gauge.end()
        body = json.dumps(told).encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
