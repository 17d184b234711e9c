"""Litestar, under real servers."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest
from litestar import Litestar, Request, post
from litestar.di import NamedDependency, Provide
from litestar.exceptions import NotAuthorizedException
from litestar.types import ASGIApp, Receive, Scope, Send

from mpflow import Flow, NoRoute, Part, Rejected, Router
from mpflow.integrations.litestar import dispatch, flow, install, multipart
from mpflow.testing import PartSpec, body
from mpflow_handlers import Discard
from tests.integrations.contract import (
    PHOTO,
    Contract,
    Demo,
    Upload,
    client_of,
    form,
    problem,
    send,
    twice,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


AnyRequest = Request[Any, Any, Any]

ANYTHING = Router()
ANYTHING.add(Discard())


class TestLitestar(Contract):
    """By `dispatch` and `flow`."""

    def handlers(self, demo: Demo) -> list[Any]:
        @post("/typed", status_code=200)
        async def typed(request: AnyRequest) -> dict[str, object]:
            return (await dispatch(request, demo.router, into=Upload)).told()

        @post("/flow", status_code=200)
        async def in_steps(request: AnyRequest) -> dict[str, object]:
            async with flow(request, demo.router) as uploaded:
                upload = uploaded.results.into(Upload)
                demo.check(upload.title)
            return upload.told()

        return [typed, in_steps]

    def make_app(self, demo: Demo, *more: Any) -> Any:
        app = Litestar([*self.handlers(demo), *more], logging_config=None, openapi_config=None)
        install(app)
        return app

    async def test_a_body_that_was_read(self, demo: Demo) -> None:
        @post("/streamed")
        async def streamed(request: AnyRequest) -> dict[str, object]:
            assert b"".join([chunk async for chunk in request.stream()]) == form()
            return (await dispatch(request, demo.router, into=Upload)).told()

        @post("/twice")
        async def dispatched(request: AnyRequest) -> dict[str, object]:
            return await twice(dispatch, request, demo)

        app = self.make_app(demo, streamed, dispatched)
        await self.expect_read_before(app, demo, "/streamed", "/twice")

    async def test_a_body_that_a_middleware_kept(self, demo: Demo) -> None:
        """Litestar hands it on to the other requests of the same scope."""

        def keeping(app: ASGIApp) -> ASGIApp:
            async def keep(scope: Scope, receive: Receive, send: Send) -> None:
                if scope["path"] == "/rest":
                    with pytest.raises(NoRoute):
                        await dispatch(Request(scope, receive, send), Router())
                if scope["type"] == "http":
                    await Request(scope, receive, send).body()
                await app(scope, receive, send)

            return keep

        @post("/kept", middleware=[keeping], status_code=200)
        async def kept(request: AnyRequest) -> list[int]:
            return [len(await dispatch(request, ANYTHING)) for _ in range(3)]

        @post("/rest", middleware=[keeping])
        async def rest(request: AnyRequest) -> int:
            return len(await dispatch(request, ANYTHING))

        app = self.make_app(demo, kept, rest)
        async with client_of(app) as client:
            reply = await self.post(client, "/kept", form())
        assert (reply.status_code, reply.json()) == (200, [2, 2, 2])
        await self.expect_read_before(app, demo, "/rest")


class TestDependencies(TestLitestar):
    """By `multipart`."""

    def handlers(self, demo: Demo) -> list[Any]:
        upload = multipart(demo.router, into=Upload)

        @post("/typed", dependencies={"upload": upload}, status_code=200)
        async def typed(upload: NamedDependency[Upload]) -> dict[str, object]:
            return upload.told()

        @post("/flow", dependencies={"uploaded": multipart(demo.router)}, status_code=200)
        async def in_steps(uploaded: NamedDependency[Flow]) -> dict[str, object]:
            upload = uploaded.results.into(Upload)
            demo.check(upload.title)
            return upload.told()

        return [typed, in_steps]

    async def test_a_commit_that_fails_beside_another_dependency(self, demo: Demo) -> None:
        """Litestar leaves several generators in tasks of their own, and groups what they raise."""
        ended: list[str] = []

        async def session() -> AsyncGenerator[str]:
            yield "session"
            ended.append("session")

        async def user() -> str:
            return "ada"

        dependencies = {
            "uploaded": multipart(demo.router),
            "session": Provide(session),
            "user": Provide(user),
        }

        @post("/beside", dependencies=dependencies, status_code=200)
        async def beside(
            uploaded: NamedDependency[Flow],
            session: NamedDependency[str],
            user: NamedDependency[str],
        ) -> dict[str, object]:
            return {"session": session, "user": user, "parts": len(uploaded.results)}

        failing = body([("odd", "x"), PartSpec(PHOTO, name="photo", filename="a")])
        async with client_of(self.make_app(demo, beside)) as client:
            reply = await self.post(client, "/beside", form())
            assert reply.json() == {"session": "session", "user": "ada", "parts": 2}
            (name,) = demo.files()
            (demo.folder / name).unlink()
            reply = await self.post(client, "/beside", failing)
        assert (reply.status_code, problem(reply)["error"]) == (500, "CommitFailed")
        assert demo.files() == []
        assert ended == ["session", "session"]

    # Litestar does so with any generator, and trio says that it was left.
    @pytest.mark.filterwarnings("ignore:Async generator 'mpflow:ResourceWarning")
    async def test_another_dependency_that_fails(self, demo: Demo) -> None:
        """Litestar forgets the generators that it has begun; nothing may be left of the flow."""

        async def user(uploaded: NamedDependency[Flow]) -> str:
            raise NotAuthorizedException("who are you")

        dependencies = {"uploaded": multipart(demo.router), "user": Provide(user)}

        @post("/beside", dependencies=dependencies)
        async def beside(user: NamedDependency[str]) -> None:
            raise AssertionError("it was called")

        async with client_of(self.make_app(demo, beside)) as client:
            reply = await self.post(client, "/beside", form())
            assert reply.status_code == 401
            with anyio.fail_after(20):
                await demo.ended.wait()
        assert demo.files() == []
        gc.collect()

    async def test_a_flow_that_is_committed_by_hand(self, demo: Demo) -> None:
        @post("/by-hand", dependencies={"uploaded": multipart(demo.router)}, status_code=200)
        async def by_hand(uploaded: NamedDependency[Flow]) -> dict[str, bool]:
            await uploaded.commit()
            return {"exists": uploaded.results.into(Upload).photo.path.exists()}

        async with client_of(self.make_app(demo, by_hand)) as client:
            reply = await self.post(client, "/by-hand", form())
        assert reply.json() == {"exists": True}
        assert len(demo.files()) == 1

    async def test_what_is_given(self, demo: Demo) -> None:
        router = Router()

        @router.route(name="title", needs=["owner"])
        async def title(part: Part, owner: str) -> str:
            return f"{owner}: {await part.text()}"

        async def owner_of(request: AnyRequest) -> dict[str, object]:
            owner = request.headers.get("X-Owner")
            if owner is None:
                raise Rejected(403, "expected an owner, got none")
            return {"owner": owner}

        given: list[Any] = [{"owner": "ada"}, owner_of, lambda request: {"owner": "ada"}]
        handlers: list[Any] = []
        for number, it in enumerate(given):

            @post(f"/{number}", dependencies={"uploaded": multipart(router, given=it)})
            async def told(uploaded: NamedDependency[Flow]) -> str:
                return uploaded.results["title"]

            handlers.append(told)
        content = body([("title", "At sea")])
        async with client_of(self.make_app(demo, *handlers)) as client:
            for number in range(3):
                reply = await self.post(client, f"/{number}", content, **{"X-Owner": "ada"})
                assert reply.text == "ada: At sea"
            reply = await self.post(client, "/1", content)
        assert (reply.status_code, problem(reply)["status"]) == (403, 403)

    async def test_an_application_that_was_not_installed(self, demo: Demo) -> None:
        app = Litestar(self.handlers(demo), logging_config=None, openapi_config=None)
        app.debug = True  # to hear of it
        async with client_of(app) as client:
            reply = await self.post(client, "/typed", form())
        assert reply.status_code == 500
        assert "given to install()" in reply.text


@pytest.mark.parametrize("header", ["Content-Length", "Transfer-Encoding"])
async def test_the_limit_of_litestar(tmp_path: Path, header: str) -> None:
    """Its own answer would not say which limit it was."""
    demo = Demo(tmp_path)

    @post("/small", request_max_body_size=50_000)
    async def small(request: AnyRequest) -> None:
        await dispatch(request, demo.router)

    @post("/default")
    async def default(request: AnyRequest) -> None:
        await dispatch(request, ANYTHING)

    app = Litestar([small, default], logging_config=None)
    install(app)
    async with client_of(app) as client:
        value = str(len(form())) if header == "Content-Length" else "chunked"
        reply = await send(client, "/small", form(), {header: value})
        large = form(photo=bytes(10_000_000))
        value = str(len(large)) if header == "Content-Length" else "chunked"
        default_reply = await send(client, "/default", large, {header: value})
    assert (reply.status_code, problem(reply)["limit"]) == (413, "request_max_body_size")
    assert problem(reply)["detail"].startswith(
        "expected at most 50000 bytes of body (Litestar's request_max_body_size), got "
    )
    assert "at most 10000000 bytes" in problem(default_reply)["detail"]
    assert demo.started.is_set() == (header == "Transfer-Encoding")
    assert demo.files() == []


async def test_a_body_that_was_read(tmp_path: Path) -> None:
    demo = Demo(tmp_path)

    @post("/before", status_code=200)
    async def before(request: AnyRequest) -> dict[str, object]:
        """Litestar keeps it, so that it can still be dispatched."""
        await request.body()
        return (await dispatch(request, demo.router, into=Upload)).told()

    @post("/after")
    async def after(request: AnyRequest) -> None:
        await dispatch(request, ANYTHING)
        await request.body()

    app = Litestar([before, after], logging_config=None)
    install(app)
    async with client_of(app) as client:
        reply = await send(client, "/before", form(), {"Content-Length": str(len(form()))})
        assert reply.json()["size"] == len(PHOTO)
        reply = await send(client, "/after", form(), {"Content-Length": str(len(form()))})
        assert (reply.status_code, reply.json()["detail"]) == (500, "Internal Server Error")


async def test_a_body_that_a_middleware_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpflow.integrations.litestar.REPLAY_SECONDS", 0.1)
    demo = Demo(tmp_path)

    @post("/", status_code=200)
    async def upload(request: AnyRequest) -> dict[str, object]:
        return (await dispatch(request, demo.router, into=Upload)).told()

    def reading(app: Any) -> Any:
        async def read(scope: Any, receive: Any, send: Any) -> None:
            messages = [await receive()]
            while messages[-1]["more_body"]:
                messages.append(await receive())

            async def again() -> Any:
                return messages.pop(0)

            keeps = (b"x-keep", b"yes") in scope["headers"]
            await app(scope, again if keeps else receive, send)

        return read

    app = Litestar([upload], middleware=[reading], logging_config=None)
    install(app)
    length = str(len(form()))
    async with client_of(app) as client:
        headers = {"Content-Length": length, "X-Keep": "yes"}
        assert (await send(client, "/", form(), headers)).json()["size"] == len(PHOTO)
        reply = await send(client, "/", form(), {"Content-Length": length})
    assert (reply.status_code, problem(reply)["error"]) == (500, "RouteError")
