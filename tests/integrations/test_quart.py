"""Quart and Quart-Trio: a router in front of them, since their own bodies have no backpressure."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Quart
from quart_trio import QuartTrio
from trio.lowlevel import in_trio_run

from mpflow import Flow
from mpflow.integrations.asgi import Front
from mpflow.integrations.asgi import Upload as Uploads
from tests.integrations.contract import Contract, Demo, Upload, client_of

pytestmark = pytest.mark.anyio


class TestQuart(Contract):
    def make_app(self, demo: Demo) -> Any:
        async def respond(flow: Flow) -> dict[str, object]:
            return flow.results.into(Upload).told()

        async def checked(flow: Flow) -> dict[str, object]:
            upload = flow.results.into(Upload)
            demo.check(upload.title)
            return upload.told()

        app: Any = (QuartTrio if in_trio_run() else Quart)("demo")

        @app.get("/")
        async def page() -> str:
            return "a page of Quart's"

        uploads = {"/typed": Uploads(demo.router, respond), "/flow": Uploads(demo.router, checked)}
        app.asgi_app = Front(app.asgi_app, uploads)
        return app

    async def test_the_pages_beside(self, demo: Demo) -> None:
        async with client_of(self.make_app(demo)) as client:
            assert (await client.get("/")).text == "a page of Quart's"
            assert (await client.get("/typed")).status_code == 405
            assert (await client.post("/other")).status_code == 404
