"""aiohttp's server."""

from __future__ import annotations

import errno
import logging

import anyio
import pytest
from aiohttp import web

from mpflow.integrations.aiohttp import dispatch, expect_later, flow, install
from mpflow.testing import content_type_of
from tests.integrations.contract import (
    Contract,
    Demo,
    Upload,
    client_of,
    form,
    problem,
    serving,
    twice,
)

pytestmark = pytest.mark.anyio


class TestAiohttp(Contract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    def make_app(self, demo: Demo) -> web.Application:
        async def typed(request: web.Request) -> web.Response:
            return web.json_response((await dispatch(request, demo.router, into=Upload)).told())

        async def in_steps(request: web.Request) -> web.Response:
            async with flow(request, demo.router) as uploaded:
                upload = uploaded.results.into(Upload)
                demo.check(upload.title)
            return web.json_response(upload.told())

        async def read(request: web.Request) -> web.Response:
            await request.read()
            return web.json_response((await dispatch(request, demo.router, into=Upload)).told())

        async def begun(request: web.Request) -> web.Response:
            await request.content.readany()
            return web.json_response((await dispatch(request, demo.router, into=Upload)).told())

        async def again(request: web.Request) -> web.Response:
            return web.json_response(await twice(dispatch, request, demo))

        async def fail(request: web.Request) -> web.Response:
            raise OSError(int(request.query["errno"]), "the secret of the disk")

        app = web.Application()
        app.router.add_get("/fail", fail)
        install(app)
        app.router.add_post("/typed", typed, expect_handler=expect_later)
        app.router.add_post("/flow", in_steps)
        app.router.add_post("/read", read)
        app.router.add_post("/begun", begun)
        app.router.add_post("/twice", again)
        return app

    async def test_a_body_that_was_read(self, demo: Demo) -> None:
        await self.expect_read_before(self.make_app(demo), demo, "/read", "/begun", "/twice")

    async def test_a_full_disk(self, demo: Demo) -> None:
        async with client_of(self.make_app(demo)) as client:
            reply = await client.get("/fail", params={"errno": errno.ENOSPC})
            assert (reply.status_code, problem(reply)["status"]) == (507, 507)
            other = await client.get("/fail", params={"errno": errno.ENOENT})
            assert (other.status_code, other.headers["content-type"][:10]) == (500, "text/plain")

    async def test_http_1_0_has_nothing_to_expect(self, demo: Demo) -> None:
        """RFC 9110, 10.1.1: such a client knows no 100, and would take it for the answer."""
        data = form()
        head = (
            f"POST /typed HTTP/1.0\r\nContent-Length: {len(data)}\r\n"
            f"Content-Type: {content_type_of()}\r\nExpect: 100-continue\r\n\r\n"
        )
        async with serving(self.make_app(demo)) as url:
            port = int(url.rpartition(":")[2])
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(head.encode() + data)
                with anyio.fail_after(20):
                    answer = await stream.receive()
        assert answer.startswith(b"HTTP/1.0 200 "), answer

    @pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
    async def test_who_goes_away_is_no_fault(
        self, demo: Demo, framing: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "aiohttp")
        async with serving(self.make_app(demo)) as url:
            port = int(url.rpartition(":")[2])
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await self.begin(stream, "/typed", framing)
                with anyio.fail_after(20):
                    await demo.started.wait()
            with anyio.fail_after(20):
                await demo.ended.wait()
        (line,) = (record for record in caplog.records if record.name.startswith("aiohttp"))
        assert (line.name, line.levelname) == ("aiohttp.access", "INFO")
        assert '"POST /typed HTTP/1.1" 400' in line.getMessage()
