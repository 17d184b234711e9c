"""One service a framework under ASGI, at `/` and its name; and aiohttp's.

Knows: how each framework takes an upload. Must not know: who uploads, or what is in it.

`app` is all of those, `of_aiohttp` makes the application of aiohttp.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import blacksheep
import falcon.asgi
from aiohttp import web
from fastapi import FastAPI
from litestar import Litestar, post
from litestar.di import NamedDependency
from quart import Quart
from quart_trio import QuartTrio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mpflow import Flow, Results
from mpflow.integrations import aiohttp as with_aiohttp
from mpflow.integrations import blacksheep as with_blacksheep
from mpflow.integrations import falcon as with_falcon
from mpflow.integrations import fastapi as with_fastapi
from mpflow.integrations import litestar as with_litestar
from mpflow.integrations import starlette as with_starlette
from mpflow.integrations.asgi import Answer, Exchange, Front, Upload
from mpflow.integrations.exchange import AsgiApp, Receive, Scope, Send
from tests.clients.matrix.telling import PAGE, ROUTER, told

__all__ = ["app", "of_aiohttp"]


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    await Exchange(scope, receive, send).answer(Answer(200, PAGE, {"content-type": "text/html"}))


def of_asgi() -> AsgiApp:
    return Upload(ROUTER, lambda flow: told(flow.results))


def of_starlette() -> Any:
    async def upload(request: Request) -> JSONResponse:
        return JSONResponse(told(await with_starlette.dispatch(request, ROUTER)))

    app = Starlette(routes=[Route("/starlette", upload, methods=["POST"])])
    with_starlette.install(app)
    return app


def of_fastapi() -> Any:
    app = FastAPI()
    with_fastapi.install(app)

    @app.post("/fastapi")
    async def upload(
        results: Annotated[Results, with_fastapi.Multipart(ROUTER, into=Results)],
    ) -> Any:
        return told(results)

    return app


def of_litestar() -> Any:
    dependencies = {"uploaded": with_litestar.multipart(ROUTER)}

    @post("/litestar", dependencies=dependencies)
    async def upload(uploaded: NamedDependency[Flow]) -> dict[str, Any]:
        return told(uploaded.results)

    app = Litestar([upload])
    with_litestar.install(app)
    return app


def of_falcon() -> AsgiApp:
    class Uploads:
        async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
            resp.media = told(await with_falcon.dispatch(req, ROUTER))

    app = falcon.asgi.App()
    app.add_route("/falcon", Uploads())
    return with_falcon.install(app)


def of_blacksheep() -> AsgiApp:
    app = blacksheep.Application(router=blacksheep.Router())

    @app.router.post("/blacksheep")
    async def upload(request: blacksheep.Request) -> blacksheep.Response:
        return blacksheep.json(told(await with_blacksheep.dispatch(request, ROUTER)))

    return with_blacksheep.install(app)


def of_quart(kind: type[Quart], path: str) -> Any:
    app: Any = kind("uploads")
    app.asgi_app = Front(app.asgi_app, {path: of_asgi()})
    return app


def of_aiohttp() -> web.Application:
    async def show(request: web.Request) -> web.Response:
        return web.Response(body=PAGE, content_type="text/html")

    async def upload(request: web.Request) -> web.Response:
        return web.json_response(told(await with_aiohttp.dispatch(request, ROUTER)))

    app = web.Application()
    with_aiohttp.install(app)
    app.router.add_get("/", show)
    app.router.add_post("/aiohttp", upload)
    return app


def _all() -> AsgiApp:
    # BlackSheep alone has to be started: what is behind a `Front` hears of the lifespan.
    paths: Final[dict[str, AsgiApp]] = {
        "/": page,
        "/asgi": of_asgi(),
        "/starlette": of_starlette(),
        "/fastapi": of_fastapi(),
        "/litestar": of_litestar(),
        "/falcon": of_falcon(),
        "/quart": of_quart(Quart, "/quart"),
        "/quart_trio": of_quart(QuartTrio, "/quart_trio"),
    }
    return Front(of_blacksheep(), paths)


app: Final = _all()
