"""Starlette, under real servers; and what may have become of a body before a flow reads it."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from mpflow import InvalidContent, MultipartError, Part, RouteError, Router
from mpflow.integrations.asgi import Upload as UploadApp
from mpflow.integrations.starlette import dispatch, flow, install
from mpflow.testing import body
from mpflow_handlers import Text
from tests.cli.asgi import Client
from tests.clock import virtual_time
from tests.integrations.contract import Contract, Demo, Upload

pytestmark = pytest.mark.anyio

FORM = body([("title", "At sea")])


def endpoints(demo: Demo) -> list[Any]:
    async def typed(request: Request) -> Response:
        upload = await dispatch(request, demo.router, into=Upload)
        return JSONResponse(upload.told())

    async def in_steps(request: Request) -> Response:
        async with flow(request, demo.router) as uploaded:
            upload = uploaded.results.into(Upload)
            demo.check(upload.title)
        return JSONResponse(upload.told())

    return [
        Route("/typed", typed, methods=["POST"]),
        Route("/flow", in_steps, methods=["POST"]),
    ]


class TestStarlette(Contract):
    def make_app(self, demo: Demo) -> Any:
        app = Starlette(routes=endpoints(demo))
        install(app)
        return app


class Passing(BaseHTTPMiddleware):
    """A middleware as most are written: it looks at requests and answers."""

    async def dispatch(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        response.headers["X-Passed"] = "yes"
        return response


class TestBehindAMiddleware(Contract):
    """`BaseHTTPMiddleware` hands the body on by a `receive` of its own, and waits for an answer."""

    def make_app(self, demo: Demo) -> Any:
        app = Starlette(routes=endpoints(demo), middleware=[Middleware(Passing)])
        install(app)
        return app


# -- bodies that somebody has read ------------------------------------------------------------


def titles() -> Router:
    router = Router()
    router.add(Text(), name="title")
    return router


ROUTER = titles()


async def title(request: Request) -> Response:
    results = await dispatch(request, ROUTER)
    return PlainTextResponse(results["title"])


def app_of(endpoint: Any = title, **options: Any) -> Starlette:
    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])], **options)
    install(app)
    return app


async def post(app: Any, data: bytes = FORM, path: str = "/", **options: Any) -> Client:
    client = Client(path=path, chunks=[data[i : i + 50] for i in range(0, len(data), 50)])
    for name, value in options.items():
        setattr(client, name, value)
    client.silent = True  # to receive on after the end waits for ever, as hypercorn does
    await app(client.scope, client.receive, client.send)
    return client


def told(client: Client) -> Any:
    return next((r for r in client.sent if r["type"] == "http.response.body"), {}).get("body")


async def test_a_body_that_was_kept_is_there() -> None:
    async def signed(request: Request) -> Response:
        assert await request.body() == FORM  # to check a signature, say
        return await title(request)

    client = await post(app_of(signed))
    assert (client.status, client.body) == (200, b"At sea")


@pytest.mark.parametrize("how", ["stream", "flow"])
async def test_a_body_that_was_read_is_told(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async def twice(request: Request) -> Response:
        if how == "stream":
            assert b"".join([chunk async for chunk in request.stream()]) == FORM
        else:
            await dispatch(request, ROUTER)
        with pytest.raises(RouteError, match="the body of this request was read already"):
            flow(request, ROUTER)
        return await title(request)

    client = await post(app_of(twice))
    assert client.status == 500
    assert "was read already" in caplog.text
    assert b"was read already" not in client.body


BLINKING = Router()


@BLINKING.route()
async def blink(part: Part) -> None:
    raise ConnectionError("the database blinked")


class Late(Client):
    """A client whose first part comes at once, and the rest after a flow has failed."""

    def __init__(self) -> None:
        first = body([("first", "x")]).removesuffix(b"--boundary--\r\n")
        super().__init__(chunks=[first, FORM])
        self.failed = anyio.Event()

    async def receive(self) -> dict[str, Any]:
        if self.received:
            await self.failed.wait()
        return await super().receive()

    async def fail(self, request: Request) -> None:
        with pytest.raises(ConnectionError):
            await dispatch(request, BLINKING)
        self.failed.set()


class Trying(BaseHTTPMiddleware):
    """A middleware that dispatches the body itself, which fails, and hands the request on."""

    def __init__(self, app: Any, client: Late) -> None:
        super().__init__(app)
        self.client = client

    async def dispatch(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        await self.client.fail(request)
        return await call_next(request)


@pytest.mark.parametrize("where", ["endpoint", "read", "middleware"])
async def test_what_a_flow_has_left_is_no_body(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It begins with a whole part, so that the rest alone would be committed."""
    client = Late()

    async def endpoint(request: Request) -> Response:
        if where != "middleware":
            await client.fail(request)
        if where == "read":
            assert await request.body() == FORM
        return await title(request)

    middleware = [Middleware(Trying, client=client)] if where == "middleware" else []
    await app_of(endpoint, middleware=middleware)(client.scope, client.receive, client.send)
    assert client.status == 500
    assert "was read already" in caplog.text


async def test_a_body_that_was_kept_is_there_for_every_flow() -> None:
    async def endpoint(request: Request) -> Response:
        await request.body()
        with pytest.raises(ConnectionError):
            await dispatch(request, BLINKING)
        return await title(request)

    assert (await post(app_of(endpoint))).body == b"At sea"


class Trials:
    """A middleware that keeps a body, as it comes or before, and tries the application twice."""

    def __init__(self, app: Any, how: str) -> None:
        self.app = app
        self.how = how

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        kept = [await receive()] if self.how == "kept" else []
        while kept and kept[-1].get("more_body"):
            kept.append(await receive())

        async def attempt() -> None:
            left = iter([] if self.how == "passed on" else kept)

            async def replay() -> Any:
                message = next(left, None)
                if message is None:
                    message = await receive()
                    kept.append(message)
                return message

            await self.app(scope, replay, send)

        try:
            await attempt()
        except ConnectionError:
            await attempt()


@pytest.mark.parametrize("how", ["kept", "kept as it comes", "passed on"])
async def test_a_middleware_that_tries_again(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """What it has kept is whole; what it merely passes on is a rest."""
    client, tries, texts = Late(), 0, Router()
    texts.add(Text())

    async def endpoint(request: Request) -> Response:
        nonlocal tries
        tries += 1
        if tries == 1:
            try:
                await dispatch(request, BLINKING)
            finally:
                client.failed.set()
        return PlainTextResponse(str(len(await dispatch(request, texts))))

    if how == "kept":
        client.failed.set()
    app = app_of(endpoint, middleware=[Middleware(Trials, how=how)])
    await app(client.scope, client.receive, client.send)
    if how == "passed on":
        assert client.status == 500
        assert "was read already" in caplog.text
    else:
        assert (client.status, client.body) == (200, b"2")


async def test_a_request_that_was_made_again_of_what_was_kept() -> None:
    async def endpoint(request: Request) -> Response:
        data = await request.body()

        async def replay() -> Any:
            return {"type": "http.request", "body": data, "more_body": False}

        with pytest.raises(ConnectionError):
            await dispatch(Request(request.scope, replay), BLINKING)
        with pytest.raises(RouteError, match="was read already"):
            await dispatch(Request(request.scope, replay), ROUTER)

        async def replay_again() -> Any:
            return await replay()

        return await title(Request(request.scope, replay_again))

    assert (await post(app_of(endpoint))).body == b"At sea"


async def test_who_reads_the_body_after_a_flow_is_told() -> None:
    async def late(request: Request) -> Response:
        await dispatch(request, ROUTER)
        with pytest.raises(RuntimeError, match="Stream consumed"):
            await request.body()
        return PlainTextResponse("told")

    assert (await post(app_of(late))).body == b"told"


class Reading:
    """A middleware that reads the body and keeps none of it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "http" and (await receive()).get("more_body"):
            pass
        await self.app(scope, receive, send)


@virtual_time
async def test_a_body_that_a_middleware_has_read_does_not_hang(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = await post(app_of(middleware=[Middleware(Reading)]))
    assert client.status == 500
    assert "was read already" in caplog.text


class Keeping(BaseHTTPMiddleware):
    """A middleware that reads the body; what comes after it gets it again."""

    async def dispatch(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        assert await request.body() == FORM
        return await call_next(request)


async def test_a_body_that_a_middleware_has_kept_is_there() -> None:
    client = await post(app_of(middleware=[Middleware(Keeping)]))
    assert (client.status, client.body) == (200, b"At sea")


# -- what is answered -------------------------------------------------------------------------


def failing(error: Exception) -> Starlette:
    router = Router()

    @router.route(name="title")
    async def fail(part: Part) -> None:
        await part.drain()
        raise error

    async def endpoint(request: Request) -> Response:
        await dispatch(request, router)
        raise AssertionError("it fails")

    return app_of(endpoint)


async def test_a_full_disk() -> None:
    client = await post(failing(OSError(errno.ENOSPC, "/secret is full")))
    assert client.status == 507
    assert client.headers["content-type"] == "application/problem+json"
    assert b"secret" not in client.body


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "secret"), KeyError("secret")])
async def test_any_other_failure_is_the_applications(error: Exception) -> None:
    """Starlette answers, and raises it once more for the server to log."""
    client = Client(chunks=[FORM])
    with pytest.raises(type(error)):
        await failing(error)(client.scope, client.receive, client.send)
    assert (client.status, client.body) == (500, b"Internal Server Error")


async def test_a_handler_of_the_applications_own_stays() -> None:
    async def own(request: Request, error: Exception) -> Response:
        return PlainTextResponse(type(error).__name__, 418)

    app = Starlette(
        routes=[Route("/", title, methods=["POST"])], exception_handlers={MultipartError: own}
    )
    install(app)
    client = await post(app, body([("other", "x")]))
    assert (client.status, client.body) == (418, b"NoRoute")


async def test_install_comes_before_serving() -> None:
    app = app_of()
    await post(app)
    with pytest.raises(RouteError, match="does not serve yet"):
        install(app)


async def test_a_failure_without_a_body_of_its_own_lingers() -> None:
    """Also what Starlette answers by itself waits for a client that is still sending."""
    app = failing(KeyError("x"))
    data = body([("title", "x"), ("more", "y" * 10_000)])
    client = Client(chunks=[data[i : i + 100] for i in range(0, len(data), 100)])
    with pytest.raises(KeyError):
        await app(client.scope, client.receive, client.send)
    assert client.status == 500
    assert client.messages == []


async def test_who_has_gone_is_told_nothing() -> None:
    client = Client(chunks=[FORM[:60]], ends="gone")

    async def send(message: Any) -> None:
        raise OSError("the client has gone")

    await app_of()(client.scope, client.receive, send)
    assert client.messages == []


async def test_a_router_is_mounted_as_an_application(tmp_path: Path) -> None:
    app = Starlette(routes=[Mount("/raw", app=UploadApp(ROUTER))])
    assert (await post(app, path="/raw/")).status == 204
    client = await post(app, body([("other", "x")]), path="/raw/")
    assert client.status == 422


async def test_what_a_handler_says_is_told() -> None:
    client = await post(failing(InvalidContent("expected a title in verse")))
    assert client.status == 422
    assert b"in verse" in client.body
