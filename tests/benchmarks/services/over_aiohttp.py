"""A service of aiohttp's own server that stores uploads.

Knows: how its reader is used. Must not know: the client, what is good.
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import BodyPartReader, web

from tests.benchmarks.services.seen import Gauge, Seen

__all__ = ["application"]


def application(folder: Path, gauge: Gauge, chunk: int | None) -> web.Application:
    """`POST /` stores in chunks of so many bytes, by default aiohttp's own; see `over_asgi`."""
    size = BodyPartReader.chunk_size if chunk is None else chunk

    async def upload(request: web.Request) -> web.Response:
        seen = Seen(folder)
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            with seen.file() as file:
                while data := await part.read_chunk(size):
                    seen.note()
                    file.write(data)
        return web.json_response(seen.told())

    async def begin(request: web.Request) -> web.Response:
        return web.json_response(gauge.begin())

    async def end(request: web.Request) -> web.Response:
        return web.json_response(gauge.end())

    app = web.Application()
    app.router.add_post("/", upload)
    app.router.add_get("/begin", begin)
    app.router.add_get("/end", end)
    return app
