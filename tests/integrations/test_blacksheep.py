"""BlackSheep, under real servers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest
from blacksheep import Application, Request, Response, Router, StreamedContent, json
from trio.lowlevel import in_trio_run

from mpflow import RouteError
from mpflow.integrations.blacksheep import dispatch, flow, install
from tests.integrations.contract import Contract, Demo, Upload, client_of, form, twice

pytestmark = pytest.mark.anyio


class TestBlackSheep(Contract):
    def make_bare(self, demo: Demo) -> Application:
        app = Application(router=Router())

        @app.router.post("/typed")
        async def typed(request: Request) -> Response:
            return json((await dispatch(request, demo.router, into=Upload)).told())

        @app.router.post("/flow")
        async def in_steps(request: Request) -> Response:
            async with flow(request, demo.router) as uploaded:
                upload = uploaded.results.into(Upload)
                demo.check(upload.title)
            return json(upload.told())

        return app

    def make_app(self, demo: Demo) -> Any:
        return install(self.make_bare(demo))

    async def test_a_body_that_was_read(self, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server may say nothing to who reads on; it must not be waited for."""
        monkeypatch.setattr("mpflow.integrations.requests.REPLAY_SECONDS", 0.1)
        app = self.make_bare(demo)

        @app.router.post("/read")
        async def read(request: Request) -> Response:
            await request.read()
            return json((await dispatch(request, demo.router, into=Upload)).told())

        @app.router.post("/streamed")
        async def streamed(request: Request) -> Response:
            async for _ in request.stream():
                pass
            return json((await dispatch(request, demo.router, into=Upload)).told())

        @app.router.post("/twice")
        async def dispatched(request: Request) -> Response:
            return json(await twice(dispatch, request, demo))

        await self.expect_read_before(install(app), demo, "/read", "/streamed", "/twice")

    async def test_a_content_that_is_put_back(self, demo: Demo) -> None:
        app = self.make_bare(demo)

        @app.router.post("/kept")
        async def kept(request: Request) -> Response:
            data = await request.read()

            async def pieces() -> AsyncGenerator[bytes]:
                yield data

            for _ in range(2):
                request.content = StreamedContent(b"", pieces)
                with pytest.raises(ConnectionError):
                    async with flow(request, demo.router):
                        raise ConnectionError("the database blinked")
                with pytest.raises(RouteError, match="was read already"):
                    await dispatch(request, demo.router)
            request.content = StreamedContent(b"", pieces)
            return json((await dispatch(request, demo.router, into=Upload)).told())

        async with client_of(install(app)) as client:
            reply = await self.post(client, "/kept", form())
        assert (reply.status_code, reply.json()["title"]) == (200, "At sea")

    async def test_who_reads_the_body_after_a_flow_is_told(self, demo: Demo) -> None:
        app = self.make_bare(demo)

        @app.router.post("/late")
        async def late(request: Request) -> Response:
            await dispatch(request, demo.router)
            with pytest.raises(RouteError, match="was read already"):
                await request.read()
            return json(not in_trio_run() and await request.is_disconnected())  # asyncio only

        async with client_of(install(app)) as client:
            with anyio.fail_after(20):
                reply = await self.post(client, "/late", form())
        assert (reply.status_code, reply.json()) == (200, False)
