"""One service a framework, whose handler waits until it is told to go on.

Knows: how each framework takes an upload. Must not know: who uploads, or what is measured.

`FRAMEWORK` in the environment names it, `app` is it. aiohttp's is made by `of_aiohttp`.
"""

from __future__ import annotations

import os
from typing import Any, Final

import anyio
import blacksheep
import falcon.asgi
from aiohttp import web
from anyio.lowlevel import checkpoint
from litestar import Litestar, post
from litestar.di import NamedDependency
from quart import Quart
from quart_trio import QuartTrio

from mpflow import Flow, Part, Router
from mpflow.integrations import aiohttp as with_aiohttp
from mpflow.integrations import blacksheep as with_blacksheep
from mpflow.integrations import falcon as with_falcon
from mpflow.integrations import litestar as with_litestar
from mpflow.integrations.asgi import Answer, Exchange, Front, Upload
from mpflow.integrations.exchange import AsgiApp, Receive, Scope, Send

ROUTER: Final = Router()
gate = anyio.Event()


@ROUTER.route(name="file")
async def slowly(part: Part) -> int:
    """Takes nothing but the first chunk before it is told to."""
    size = 0
    async for chunk in part:
        await gate.wait()
        size += len(chunk)
        await checkpoint()
    return size


def turn(path: str) -> None:
    global gate
    if path == "/go":
        gate.set()
    else:
        gate = anyio.Event()


async def control(scope: Scope, receive: Receive, send: Send) -> None:
    """At `/go` and `/stop`."""
    turn(scope["path"])
    await Exchange(scope, receive, send).answer(Answer(204))


def of_litestar() -> Any:
    dependencies = {"uploaded": with_litestar.multipart(ROUTER)}

    @post("/upload", dependencies=dependencies, request_max_body_size=None)
    async def upload(uploaded: NamedDependency[Flow]) -> dict[str, int]:
        return {"size": uploaded.results["file"]}

    app = Litestar([upload])
    with_litestar.install(app)
    return app


def of_falcon() -> AsgiApp:
    class Uploads:
        async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
            resp.media = {"size": (await with_falcon.dispatch(req, ROUTER))["file"]}

    app = falcon.asgi.App()
    app.add_route("/upload", Uploads())
    return with_falcon.install(app)


def of_blacksheep() -> AsgiApp:
    app = blacksheep.Application(router=blacksheep.Router())

    @app.router.post("/upload")
    async def upload(request: blacksheep.Request) -> blacksheep.Response:
        results = await with_blacksheep.dispatch(request, ROUTER)
        return blacksheep.json({"size": results["file"]})

    return with_blacksheep.install(app)


async def respond(flow: Flow) -> dict[str, int]:
    return {"size": flow.results["file"]}


def of_quart(kind: type[Quart] = Quart) -> Any:
    app: Any = kind("uploads")
    app.asgi_app = Front(app.asgi_app, {"/upload": Upload(ROUTER, respond)})
    return app


def of_aiohttp() -> web.Application:
    async def upload(request: web.Request) -> web.Response:
        return web.json_response({"size": (await with_aiohttp.dispatch(request, ROUTER))["file"]})

    async def control(request: web.Request) -> web.Response:
        turn(request.path)
        return web.Response(status=204)

    app = web.Application()
    with_aiohttp.install(app)
    app.router.add_post("/upload", upload)
    app.router.add_get("/go", control)
    app.router.add_get("/stop", control)
    return app


FRAMEWORKS: Final = {
    "litestar": of_litestar,
    "falcon": of_falcon,
    "blacksheep": of_blacksheep,
    "quart": of_quart,
    "quart_trio": lambda: of_quart(QuartTrio),
}

if "FRAMEWORK" in os.environ:
    app = Front(FRAMEWORKS[os.environ["FRAMEWORK"]](), {"/go": control, "/stop": control})
