"""A router as an ASGI application, at paths in front of another one, and behind a middleware."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from mpflow import ClientDisconnected, Flow, Limits, Part, PartInfo, Rejected, Router
from mpflow.integrations.asgi import Answer, Exchange, Front, Lingering, Upload, answer_for
from mpflow.testing import body, content_type_of
from mpflow_handlers import Collect, Discard, Text
from tests.cli.asgi import Client

pytestmark = pytest.mark.anyio

FORM = body([{"name": "note", "data": "hi"}, {"name": "file", "filename": "a", "data": b"1234"}])
CHUNKS = [FORM[i : i + 20] for i in range(0, len(FORM), 20)]


class Store:
    """A handler in two phases, which notes what became of its parts."""

    def __init__(self, *, fails: Exception | None = None) -> None:
        self.fails = fails
        self.committed: list[bytes] = []
        self.rolled_back = 0

    def router(self, **options: Any) -> Router:
        router = Router(**options)
        router.add(Text(), name="note", key="note")

        @router.route(name="file", key="file")
        @asynccontextmanager
        async def store(part: Part) -> AsyncGenerator[bytes]:
            data = b""
            try:
                data = await part.read()
                yield data
            except BaseException:
                self.rolled_back += 1
                raise
            if self.fails is not None:
                raise self.fails
            self.committed.append(data)

        return router


async def ask(app: Any, client: Client) -> Client:
    await app(client.scope, client.receive, client.send)
    return client


def problem(client: Client) -> dict[str, Any]:
    assert client.headers["content-type"] == "application/problem+json"
    return json.loads(client.body)


async def test_what_another_upload_has_left_is_no_body() -> None:
    """The rest begins where a part does, so that it alone would be committed."""
    client = Client(chunks=[body([("first", "x")]).removesuffix(b"--boundary--\r\n"), FORM])
    store, router, failed = Store(), Router(), anyio.Event()

    @router.route()
    async def fail(part: Part) -> None:
        raise ConnectionError("the database blinked")

    async def receive() -> Any:
        if client.received:
            await failed.wait()
        return await client.receive()

    exchange = Exchange(client.scope, receive, client.send)
    answers = [await Upload(router).take(exchange)]
    failed.set()
    answers.append(await Upload(store.router()).take(exchange))
    assert [answer and answer.status for answer in answers] == [500, 500]
    assert store.committed == []


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_scope_that_is_used_again(is_kept: bool) -> None:
    """With a body that somebody kept, and hands out again; or with what is left of the first."""
    store, failing, clients = Store(), Store(), [Client(chunks=CHUNKS) for _ in range(3)]
    rest = Client(chunks=[*CHUNKS, *CHUNKS])

    def respond(flow: Flow) -> None:
        raise ConnectionError("the database blinked")

    statuses: list[int] = []
    uploads = [Upload(failing.router(), respond), Upload(store.router()), Upload(store.router())]
    for upload, client in zip(uploads, clients, strict=True):
        receive = client.receive if is_kept else rest.receive
        await upload(clients[0].scope, receive, client.send)
        statuses.append(client.sent[0]["status"])
    assert statuses == ([500, 204, 204] if is_kept else [500, 500, 500])
    assert store.committed == ([b"1234"] * 2 if is_kept else [])


# -- what is answered -------------------------------------------------------------------------


async def test_without_respond_the_answer_is_empty() -> None:
    store = Store()
    client = await ask(Upload(store.router()), Client(chunks=CHUNKS))
    assert (client.status, client.body, store.committed) == (204, b"", [b"1234"])
    assert "content-length" not in client.headers


async def test_respond_runs_before_the_commit() -> None:
    store = Store()

    async def respond(flow: Flow) -> object:
        assert store.committed == []
        return {"note": flow.results["note"], "größe": len(flow.results["file"])}

    client = await ask(Upload(store.router(), respond), Client(chunks=CHUNKS))
    assert (client.status, client.document) == (200, {"note": "hi", "größe": 4})
    assert store.committed == [b"1234"]


@pytest.mark.parametrize(
    ("told", "status", "text"),
    [
        (None, 204, b""),
        (Answer(201, b"x", {"Location": "/7"}), 201, b"x"),
        ([1], 200, b"[\n  1\n]\n"),
    ],
)
async def test_what_respond_may_give(told: object, status: int, text: bytes) -> None:
    client = await ask(Upload(Store().router(), lambda flow: told), Client(chunks=CHUNKS))
    assert (client.status, client.body) == (status, text)


@pytest.mark.parametrize("told", [object(), float("nan"), {"a": {1}}])
async def test_what_is_no_json_is_told_before_the_commit(
    told: object, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    client = await ask(Upload(store.router(), lambda flow: told), Client(chunks=CHUNKS))
    assert (client.status, store.committed, store.rolled_back) == (500, [], 1)
    assert "an upload failed" in caplog.text


async def test_respond_may_refuse() -> None:
    store = Store()

    def respond(flow: Flow) -> object:
        raise Rejected(409, "you have that", {"X-Own": "a\r\nb"})

    client = await ask(Upload(store.router(), respond), Client(chunks=CHUNKS))
    assert (client.status, problem(client)["detail"]) == (409, "you have that")
    assert client.headers["x-own"] == "a  b"
    assert (store.committed, store.rolled_back) == ([], 1)


async def test_a_commit_that_fails_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    store = Store(fails=ValueError("of /srv/acme"))
    with caplog.at_level(logging.ERROR, "mpflow.integrations"):
        client = await ask(Upload(store.router(), lambda flow: "fine"), Client(chunks=CHUNKS))
    assert (client.status, problem(client)["error"]) == (500, "CommitFailed")
    assert b"acme" not in client.body
    assert "of /srv/acme" in caplog.text


async def test_a_handler_that_fails_is_a_500_without_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = Router()

    @router.route()
    async def fails(part: Part) -> None:
        raise ValueError("of /srv/acme")

    client = await ask(Upload(router), Client(chunks=CHUNKS))
    assert (client.status, list(problem(client))) == (500, ["title", "status", "detail"])
    assert b"acme" not in client.body
    assert "of /srv/acme" in caplog.text


async def test_a_4xx_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    client = await ask(Upload(Router()), Client(chunks=CHUNKS))
    assert (client.status, problem(client)["part"]) == (422, {"path": [0], "name": "note"})
    assert caplog.records == []


# -- what is refused by the headers -----------------------------------------------------------


class Silent(Client):
    """Says nothing until the answer is there, and is asked for nothing before."""

    async def receive(self) -> dict[str, Any]:
        assert self.sent, "the body was asked for before the answer began"
        return await super().receive()


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods(method: str) -> None:
    client = await ask(Upload(Store().router()), Silent(method, chunks=CHUNKS))
    assert (client.status, client.headers["allow"]) == (405, "POST, PUT")


async def test_own_methods() -> None:
    app = Upload(Store().router(), methods=("patch",))
    assert (await ask(app, Client("PATCH", chunks=CHUNKS))).status == 204
    assert (await ask(app, Client("POST", chunks=CHUNKS))).headers["allow"] == "PATCH"


@pytest.mark.parametrize(
    ("content_type", "headers", "status"),
    [
        ("text/plain", {}, 415),
        ("multipart/form-data", {}, 400),
        (None, {"Content-Encoding": "gzip"}, 415),
        (None, {"Content-Length": "2000000"}, 413),
    ],
)
async def test_headers_are_refused_before_the_body_is_asked_for(
    content_type: str | None, headers: dict[str, str], status: int
) -> None:
    app = Upload(Store().router(limits=Limits(max_total_bytes="1 MiB")))
    client = Silent(chunks=CHUNKS, content_type=content_type, headers=headers)
    assert (await ask(app, client)).status == status


def _refuse(*args: object) -> Mapping[str, object]:
    raise Rejected(401, "who are you", {"WWW-Authenticate": "Bearer"})


async def _refuse_async(scope: Any) -> Mapping[str, object]:
    await anyio.lowlevel.checkpoint()
    return _refuse()


@pytest.mark.parametrize("given", [_refuse, _refuse_async])
async def test_given_may_refuse_before_the_body_is_asked_for(
    given: Callable[[Any], Mapping[str, object] | Awaitable[Mapping[str, object]]],
) -> None:
    client = await ask(Upload(Store().router(), given=given), Silent(chunks=CHUNKS))
    assert (client.status, client.headers["www-authenticate"]) == (401, "Bearer")


async def test_a_hook_may_refuse_before_the_body_is_asked_for() -> None:
    router = Store().router()
    router.before(_refuse)
    assert (await ask(Upload(router), Silent(chunks=CHUNKS))).status == 401


async def test_a_predicate_may_refuse() -> None:
    router = Router()

    def is_mine(info: PartInfo) -> bool:
        return _refuse() is None

    router.add(Discard(), is_mine)
    client = await ask(Upload(router), Client(chunks=CHUNKS))
    assert (client.status, client.messages) == (401, [])


async def _given_async(scope: Any) -> Mapping[str, object]:
    return {"user": scope["path"]}


@pytest.mark.parametrize(
    "given", [{"user": "/me"}, lambda scope: {"user": scope["path"]}, _given_async]
)
async def test_given(given: Any) -> None:
    router = Router()

    @router.route(key="who", needs=["user"], max_count=2)
    async def who(part: Part, user: str) -> str:
        return user

    app = Upload(router, lambda flow: flow.results.all("who"), given=given)
    assert (await ask(app, Client(path="/me", chunks=CHUNKS))).document == ["/me", "/me"]


async def test_given_that_fails_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    app = Upload(Store().router(), given=lambda scope: {}[scope["path"]])
    assert (await ask(app, Silent(chunks=CHUNKS))).status == 500
    assert "KeyError" in caplog.text


# -- clients that go away ---------------------------------------------------------------------


@pytest.mark.parametrize("count", range(len(CHUNKS) + 1))
async def test_a_disconnect_at_each_message(count: int, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is committed or answered, and nobody is asked again (`Client` fails then)."""
    store = Store()
    client = await ask(Upload(store.router()), Client(chunks=CHUNKS[:count], ends="gone"))
    assert (client.sent, store.committed, caplog.records) == ([], [], [])


async def test_a_disconnect_that_a_handler_meets_in_a_task_group() -> None:
    router = Router()

    @router.route()
    async def read(part: Part) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(part.read)

    client = await ask(Upload(router), Client(chunks=CHUNKS[:6], ends="gone"))
    assert client.sent == []


@pytest.mark.parametrize("depth", range(3))
async def test_nobody_hears_of_a_disconnect(depth: int) -> None:
    error: Exception = ClientDisconnected("gone")
    for _ in range(depth):
        error = ExceptionGroup("in a task group", [error])
    assert answer_for(error) is None


# -- a body that the server dropped -----------------------------------------------------------


class Dropped:
    """uvicorn with httptools behind a request that says `Upgrade: h2c`."""

    more_body = False
    body = b""

    def __init__(self, content_type: str) -> None:
        self.client = Client(content_type=content_type, headers={"Content-Length": "100"})

    async def receive(self) -> dict[str, Any]:
        assert self.client.sent, "too late to be heard"
        return await self.client.receive()

    async def ask(self, app: Any) -> Client:
        await app(self.client.scope, self.receive, self.client.send)
        return self.client


@pytest.mark.parametrize("make", [Upload, lambda router: Lingering(Upload(router))])
async def test_a_dropped_body_is_told_at_once(make: Any) -> None:
    client = await Dropped(content_type_of()).ask(make(Store().router()))
    told = problem(client)
    assert (told["status"], told["error"]) == (400, "EmptyBody")
    assert "HttpClient.Version.HTTP_1_1" in told["detail"]


async def test_a_dropped_body_that_is_none_of_ours() -> None:
    app = Lingering(Starlette(routes=[Route("/", _refuse_unread, methods=["POST"])]))
    assert (await Dropped("Multipart/Mixed; boundary=b").ask(app)).status == 400
    assert (await Dropped("text/plain").ask(app)).status == 413


# -- other kinds of scopes --------------------------------------------------------------------


async def test_lifespan() -> None:
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await Upload(Router())({"type": "lifespan"}, receive, send)
    assert (events, sent) == ([], ["lifespan.startup.complete", "lifespan.shutdown.complete"])


async def test_websockets_are_refused() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await Upload(Router())({"type": "websocket", "path": "/"}, Client().receive, send)
    assert sent == [{"type": "websocket.close"}]


async def test_other_protocols_are_an_error() -> None:
    client = Client()
    with pytest.raises(ValueError, match="expected an ASGI scope of http, got 'smtp'"):
        await Upload(Router())({"type": "smtp"}, client.receive, client.send)


# -- mounted, and in front --------------------------------------------------------------------


async def test_mounted_under_a_prefix() -> None:
    store = Store()
    app = Starlette(routes=[Mount("/api/upload", app=Upload(store.router()))])
    assert (await ask(app, Client(path="/api/upload/", chunks=CHUNKS))).status == 204
    assert store.committed == [b"1234"]
    assert (await ask(app, Client(path="/other", chunks=CHUNKS))).status == 404


async def test_front() -> None:
    store = Store()

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"hello {request.url.path}")

    app = Front(Starlette(routes=[Route("/{rest:path}", hello)]), {"/up": Upload(store.router())})
    client = await ask(app, Client("GET", "/other"))
    assert client.body == b"hello /other"
    assert (await ask(app, Client("GET", "/up/"))).body == b"hello /up/"
    assert (await ask(app, Client(path="/up", chunks=CHUNKS))).status == 204
    mounted = Client(path="/api/up", chunks=CHUNKS)
    mounted.scope["root_path"] = "/api"
    assert (await ask(app, mounted)).status == 204
    # RFC 9112, 3.2.2: as hypercorn hands it on
    assert (await ask(app, Client(path="http://x/up", chunks=CHUNKS))).status == 204
    assert store.committed == [b"1234"] * 3


async def test_front_hands_on_all_but_http() -> None:
    seen: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    app = Front(inner, {"/up": Upload(Router())})
    for kind in ("lifespan", "websocket"):
        await app({"type": kind, "path": "/up"}, Client().receive, Client().send)
    assert seen == ["lifespan", "websocket"]


# -- early answers of others ------------------------------------------------------------------


async def _refuse_unread(request: Request) -> PlainTextResponse:
    return PlainTextResponse("too large", 413)


async def _stream_unread(request: Request) -> StreamingResponse:
    async def pieces() -> AsyncGenerator[str]:
        for piece in ("too ", "large"):
            await anyio.lowlevel.checkpoint()
            yield piece

    return StreamingResponse(pieces(), 413)


class Whole(Client):
    """hypercorn's way: whoever waits after the last message waits until the answer has ended.

    Only one of those is told of the disconnect then.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.over = anyio.Event()
        self.told = False
        self.waiting = 0
        self.most_waiting = 0

    async def receive(self) -> dict[str, Any]:
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            if self.messages:
                return await super().receive()
            await self.over.wait()
            if self.told:
                await anyio.sleep_forever()
            self.told = True
            return {"type": "http.disconnect"}
        finally:
            self.waiting -= 1

    async def send(self, message: dict[str, Any]) -> None:
        await super().send(message)
        if self.finished:
            self.over.set()


@pytest.mark.parametrize("endpoint", [_refuse_unread, _stream_unread])
@pytest.mark.parametrize("version", ["2.0", "2.4"])
@pytest.mark.parametrize("base", [True, False])
async def test_lingering_around_a_foreign_application(
    endpoint: Any, version: str, base: bool
) -> None:
    """Starlette listens for a disconnect while it streams, up to version 2.3 of ASGI."""

    async def pass_on(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    middleware = [Middleware(BaseHTTPMiddleware, dispatch=pass_on)] if base else []
    starlette = Starlette(routes=[Route("/", endpoint, methods=["POST"])], middleware=middleware)
    client = Whole(chunks=[bytes(65536)] * 50)
    client.scope["asgi"] = {"version": "3.0", "spec_version": version}
    with anyio.fail_after(1.5):  # less than what an end that nobody told of would take
        await ask(Lingering(starlette), client)
    assert (client.status, client.sent[-1]["body"]) == (413, b"")
    assert b"".join(m.get("body", b"") for m in client.sent[1:]) == b"too large"
    assert client.messages == []
    assert client.most_waiting == 1


async def test_lingering_delays_no_request_without_a_body() -> None:
    app = Lingering(Starlette(routes=[Route("/", _refuse_unread)]))
    client = Client("GET", ends="silent")
    with anyio.fail_after(1):
        await ask(app, client)
    assert (client.status, client.body) == (413, b"too large")


async def test_lingering_once_is_enough() -> None:
    """An `Upload` behind it lingers no second time, over what its bounds left."""
    app = Lingering(Upload(Store().router(limits=Limits(max_total_bytes=100_000))))
    client = await ask(app, Client(chunks=[bytes(65536)] * 1000))
    size = app.linger.size
    assert client.status == 413
    assert size <= client.received < 1.5 * size


async def test_lingering_hands_on_all_but_http() -> None:
    seen: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    for kind in ("lifespan", "websocket"):
        await Lingering(inner)({"type": kind}, Client().receive, Client().send)
    assert seen == ["lifespan", "websocket"]


async def test_lingering_takes_nothing_from_an_application_that_reads() -> None:
    async def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await request.body())

    app = Lingering(Starlette(routes=[Route("/", echo, methods=["POST"])]))
    client = await ask(app, Client(chunks=CHUNKS))
    assert client.body == FORM


async def test_ten_thousand_parts() -> None:
    router = Router(limits=Limits(max_parts=10_000, max_total_header_bytes="1 MiB"))
    router.add(Collect(), name="n", key="n")
    data = body([{"name": "n", "data": str(i)} for i in range(10_000)])
    app = Upload(router, lambda flow: len(flow.results.all("n")))
    client = Client(chunks=[data], content_type=content_type_of())
    assert (await ask(app, client)).document == 10_000
