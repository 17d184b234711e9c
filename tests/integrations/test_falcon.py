"""Falcon's ASGI applications, under real servers."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from falcon.asgi import App, Request, Response
from trio.lowlevel import in_trio_run

from mpflow import Part, Rejected, RouteError, Router
from mpflow.integrations.falcon import dispatch, flow, install
from tests.integrations.contract import (
    MOST,
    Contract,
    Demo,
    Upload,
    client_of,
    form,
    problem,
    twice,
)

pytestmark = pytest.mark.anyio


class TestFalcon(Contract):
    def make_bare(self, demo: Demo) -> App[Any, Any]:
        class Typed:
            async def on_post(self, req: Request, resp: Response) -> None:
                upload = await dispatch(req, demo.router, into=Upload)
                resp.media = upload.told()

        class InSteps:
            async def on_post(self, req: Request, resp: Response) -> None:
                resp.text = "what is said before the commit"
                async with flow(req, demo.router) as uploaded:
                    upload = uploaded.results.into(Upload)
                    demo.check(upload.title)
                resp.text = None
                resp.media = upload.told()

        app = App()
        app.add_route("/typed", Typed())
        app.add_route("/flow", InSteps())
        return app

    def served(self, app: App[Any, Any]) -> Any:
        return install(app)

    def make_app(self, demo: Demo) -> Any:
        return self.served(self.make_bare(demo))

    async def test_a_body_that_was_read(self, demo: Demo) -> None:
        class Read:
            async def on_post(self, req: Request, resp: Response) -> None:
                await req.stream.read()
                await dispatch(req, demo.router)

        class Media:
            async def on_post(self, req: Request, resp: Response) -> None:
                async for part in await req.get_media():
                    assert part.name in ("title", "photo")
                await dispatch(req, demo.router)

        class Twice:
            async def on_post(self, req: Request, resp: Response) -> None:
                resp.media = await twice(dispatch, req, demo)

        app = self.make_bare(demo)
        app.add_route("/read", Read())
        app.add_route("/media", Media())
        app.add_route("/twice", Twice())
        # On trio, Falcon's own form leaves generators behind.
        media = [] if in_trio_run() else ["/media"]
        await self.expect_read_before(self.served(app), demo, "/read", "/twice", *media)

    async def test_a_body_that_was_begun(self, demo: Demo) -> None:
        class Read:
            async def on_post(self, req: Request, resp: Response) -> None:
                await req.stream.read(10)
                await dispatch(req, demo.router)

        app = self.make_bare(demo)
        app.add_route("/read", Read())
        await self.expect_read_before(install(app), demo, "/read")

    async def test_who_reads_the_body_after_a_flow_is_told(self, demo: Demo) -> None:
        class Late:
            async def on_post(self, req: Request, resp: Response) -> None:
                await dispatch(req, demo.router)
                await req.stream.exhaust()
                resp.media = [len(await req.stream.read()), req.stream.eof]

        app = self.make_bare(demo)
        app.add_route("/late", Late())
        async with client_of(self.served(app)) as client:
            with anyio.fail_after(20):
                reply = await self.post(client, "/late", form())
        assert (reply.status_code, reply.json()) == (200, [0, True])

    async def test_who_exhausts_what_a_flow_has_left(self, demo: Demo) -> None:
        """As Falcon wants it of everybody who has read a part of a body."""
        failing = Router()

        @failing.route()
        async def refuse(part: Part) -> None:
            raise Rejected(413, "no")

        class Late:
            async def on_post(self, req: Request, resp: Response) -> None:
                try:
                    await dispatch(req, failing)
                except Rejected as error:
                    resp.status = error.status
                await req.stream.exhaust()
                assert await req.stream.read() == b""
                with pytest.raises(RouteError, match="was read already"):
                    await dispatch(req, demo.router)

        app = self.make_bare(demo)
        app.add_route("/late", Late())
        async with client_of(self.served(app)) as client:
            with anyio.fail_after(20):
                reply = await self.post(client, "/late", form(photo=bytes(MOST // 2)))
        assert reply.status_code == 413, reply.text

    async def test_headers_of_a_refusal(self, demo: Demo) -> None:
        class Refuse:
            async def on_post(self, req: Request, resp: Response) -> None:
                resp.media = {"half": "an answer"}
                resp.set_header("X-Mine", "first")
                raise Rejected(409, "no", {"X-Mine": "second", "Set-Cookie": "a=b"})

        app = self.make_bare(demo)
        app.add_route("/refuse", Refuse())
        async with client_of(install(app)) as client:
            reply = await client.post("/refuse")
        assert (reply.status_code, problem(reply)["detail"]) == (409, "no")
        assert (reply.headers["X-Mine"], reply.headers["Set-Cookie"]) == ("second", "a=b")


class Dropped:
    """uvicorn with httptools behind a request that says `Upgrade: h2c`."""

    more_body = False
    body = b""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        assert self.sent, "too late to be heard"
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


async def test_a_dropped_body_is_told_before_falcon_looks_at_it() -> None:
    client = Dropped()
    headers = [(b"content-type", b"multipart/mixed; boundary=b"), (b"content-length", b"100")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    await install(App())(scope, client.receive, client.send)
    assert client.sent[0]["status"] == 400
    assert b"EmptyBody" in client.sent[1]["body"]


class TestNotInstalled(TestFalcon):
    """Without `install`, the application itself answers; its stream ends well at a disconnect."""

    disconnect = "TruncatedBody"

    def served(self, app: App[Any, Any]) -> Any:
        install(app)
        return app

    async def test_nothing_is_asked_for_that_is_refused(self, demo: Demo) -> None:
        """Falcon asks for the body before it looks at anything."""

    async def test_an_early_answer_to_a_client_that_writes_first(self, demo: Demo) -> None:
        """Nobody lingers: such a client may hear nothing of it."""
