"""FastAPI, under real servers; and its dependency: what it gives, when, and what it documents.

Without `from __future__ import annotations`: FastAPI looks annotations up in the module, and those
here name what is local to a test.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import attrs
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Path, Response
from fastapi.responses import JSONResponse, StreamingResponse
from openapi_spec_validator import validate
from pydantic import BaseModel

from mpflow import CommitFailed, Flow, Part, Results, RouteError, Router
from mpflow.integrations.fastapi import Multipart, install
from mpflow.testing import body
from mpflow_handlers import Json, Text
from tests.cli.asgi import Client
from tests.integrations.contract import Contract, Demo, Upload

pytestmark = pytest.mark.anyio


class TestFastAPI(Contract):
    def make_app(self, demo: Demo) -> Any:
        app = FastAPI()
        install(app)

        @app.post("/typed")
        async def typed(upload: Annotated[Upload, Multipart(demo.router, into=Upload)]) -> Any:
            return upload.told()

        @app.post("/flow")
        async def in_steps(flow: Annotated[Flow, Multipart(demo.router)]) -> Any:
            upload = flow.results.into(Upload)
            demo.check(upload.title)
            return upload.told()

        return app


# -- what the dependency gives ----------------------------------------------------------------


class Store:
    """A handler in two phases, which notes what became of its parts."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.fails = False
        self.router = Router()
        self.router.add(self.store, name="note", key="note")

    @asynccontextmanager
    async def store(self, part: Part) -> AsyncGenerator[str]:
        text = await part.text()
        self.steps.append(f"read {text}")
        try:
            yield text
        except BaseException:
            self.steps.append(f"rolled back {text}")
            raise
        if self.fails:
            raise RuntimeError("the commit")
        self.steps.append(f"committed {text}")


@pytest.fixture
def store() -> Store:
    return Store()


@attrs.frozen
class Note:
    note: str


NOTE = body([("note", "a")])


def app_with(endpoint: Any, **options: Any) -> FastAPI:
    app = FastAPI()
    install(app)
    app.post("/", **options)(endpoint)
    return app


def asking(method: str = "POST", *, query: str = "", **options: Any) -> Client:
    client = Client(method, **options)
    client.silent = True  # Starlette listens for a disconnect while it streams
    client.scope |= {"query_string": query.encode(), "server": ("x", 80)}
    return client


async def post(app: Any, data: bytes = NOTE, path: str = "/", query: str = "") -> Client:
    client = asking(path=path, chunks=[data], query=query)
    await app(client.scope, client.receive, client.send)
    return client


async def test_a_flow(store: Store) -> None:
    async def endpoint(flow: Annotated[Flow, Multipart(store.router)]) -> str:
        assert store.steps == ["read a"]
        await flow.commit()
        assert store.steps == ["read a", "committed a"]
        return flow.results["note"]

    client = await post(app_with(endpoint))
    assert (client.status, client.body) == (200, b'"a"')


async def test_results(store: Store) -> None:
    async def endpoint(results: Annotated[Results, Multipart(store.router, into=Results)]) -> str:
        return results["note"]

    assert (await post(app_with(endpoint))).body == b'"a"'


async def test_a_default_in_place_of_an_annotation(store: Store) -> None:
    uploaded = Multipart(store.router, into=Note)

    def endpoint(note: Note = uploaded) -> str:  # in a thread
        assert store.steps == ["read a"]
        return note.note

    client = await post(app_with(endpoint))
    assert (client.status, client.body) == (200, b'"a"')
    assert store.steps == ["read a", "committed a"]


async def test_the_commit_comes_before_the_answer(store: Store) -> None:
    def chunks() -> Any:
        yield ", ".join(store.steps)

    async def endpoint(note: Annotated[Note, Multipart(store.router, into=Note)]) -> Response:
        return StreamingResponse(chunks())

    client = await post(app_with(endpoint))
    assert b"".join(m.get("body", b"") for m in client.sent[1:]) == b"read a, committed a"


async def test_a_commit_that_fails_is_the_answer(store: Store) -> None:
    store.fails = True

    async def endpoint(note: Annotated[Note, Multipart(store.router, into=Note)]) -> str:
        return "well"

    client = await post(app_with(endpoint))
    assert client.status == 500
    assert client.headers["content-type"] == "application/problem+json"
    assert CommitFailed.__name__.encode() in client.body


@pytest.mark.parametrize(("error", "status"), [
    (HTTPException(409, "taken"), 409),
    (RuntimeError("secret"), 500),
])  # fmt: skip
async def test_an_endpoint_that_raises_rolls_back(
    store: Store, error: Exception, status: int
) -> None:
    async def endpoint(note: Annotated[Note, Multipart(store.router, into=Note)]) -> str:
        raise error

    client = asking(chunks=[NOTE])
    app = app_with(endpoint)
    if status == 500:
        with pytest.raises(RuntimeError):  # for the server to log
            await app(client.scope, client.receive, client.send)
    else:
        await app(client.scope, client.receive, client.send)
    assert client.status == status
    assert store.steps == ["read a", "rolled back a"]


async def test_a_parameter_that_is_wrong_rolls_back(store: Store) -> None:
    async def endpoint(page: int, note: Annotated[Note, Multipart(store.router, into=Note)]) -> str:
        raise AssertionError("it is not called")

    assert (await post(app_with(endpoint), query="page=x")).status == 422
    assert store.steps == ["read a", "rolled back a"]


async def test_an_answer_that_says_no_commits(store: Store) -> None:
    """As everywhere in FastAPI: only what is raised is a failure. `abort` decides otherwise."""

    async def endpoint(abort: bool, flow: Annotated[Flow, Multipart(store.router)]) -> JSONResponse:
        if abort:
            await flow.abort()
        return JSONResponse("taken", 409)

    app = app_with(endpoint)
    assert (await post(app, query="abort=0")).status == 409
    assert store.steps == ["read a", "committed a"]
    store.steps.clear()
    assert (await post(app, query="abort=1")).status == 409
    assert store.steps == ["read a", "rolled back a"]


async def test_a_dependency_of_a_dependency(store: Store) -> None:
    """Two that depend on one upload get the same."""
    Uploaded = Annotated[Note, Multipart(store.router, into=Note)]

    def length(note: Uploaded) -> int:
        return len(note.note)

    async def endpoint(
        size: Annotated[int, Depends(length, scope="function")], note: Uploaded
    ) -> dict[str, Any]:
        return {note.note: size}

    client = await post(app_with(endpoint))
    assert (client.status, client.body) == (200, b'{"a":1}')
    assert store.steps == ["read a", "committed a"]


async def test_an_override_for_tests(store: Store) -> None:
    uploaded: Any = Multipart(store.router, into=Note)

    async def endpoint(note: Annotated[Note, uploaded]) -> str:
        return note.note

    app = app_with(endpoint)
    app.dependency_overrides[uploaded.dependency] = lambda: Note("made up")
    assert (await post(app)).body == b'"made up"'
    assert store.steps == []


# -- given ------------------------------------------------------------------------------------


def signed() -> Router:
    router = Router()

    @router.route(name="note", needs=["user", "tenant"])
    async def note(part: Part, user: str, tenant: str) -> str:
        return f"{await part.text()} by {user} of {tenant}"

    return router


async def user(token: str) -> str:
    if token != "good":
        raise HTTPException(401, "who are you")
    return "ann"


def both(user: Annotated[str, Depends(user)]) -> dict[str, object]:
    return {"user": user, "tenant": "x"}


@pytest.mark.parametrize("given", [both, {"user": Depends(user), "tenant": "x"}])
async def test_values_that_other_dependencies_give(given: Any) -> None:
    async def endpoint(note: Annotated[Note, Multipart(signed(), into=Note, given=given)]) -> str:
        return note.note

    app = app_with(endpoint)
    assert (await post(app, query="token=good")).body == b'"a by ann of x"'
    refused = asking(chunks=[NOTE], headers={"Content-Length": str(len(NOTE))}, query="token=bad")
    seen: list[int] = []

    async def send(message: Any) -> None:
        seen.append(refused.received)
        await refused.send(message)

    await app(refused.scope, refused.receive, send)
    assert (refused.status, seen[0]) == (401, 0)  # before a byte is read
    assert (await post(app)).status == 422  # no token


def test_given_that_is_nothing_of_use() -> None:
    with pytest.raises(RouteError, match="expected given as a mapping or a dependency"):
        Multipart(signed(), given=3)  # type: ignore[call-overload]


# -- a body that is not the multipart's alone -------------------------------------------------


async def test_another_parameter_of_the_body(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async def endpoint(
        x: Annotated[bytes, Body()], note: Annotated[Note, Multipart(store.router, into=Note)]
    ) -> str:
        raise AssertionError("it is not called")

    client = await post(app_with(endpoint))
    assert client.status == 500
    assert "expected an endpoint whose only body is the multipart" in caplog.text


async def test_two_multiparts(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async def endpoint(
        one: Annotated[Flow, Multipart(store.router)], two: Annotated[Flow, Multipart(store.router)]
    ) -> str:
        raise AssertionError("it is not called")

    assert (await post(app_with(endpoint))).status == 500
    assert "was read already" in caplog.text
    assert store.steps == ["read a", "rolled back a"]


# -- the document -----------------------------------------------------------------------------


class Meta(BaseModel):
    title: str
    inner: "list[Meta]" = []


@attrs.frozen
class Album:
    meta: Meta
    tags: list[str]


def albums() -> Router:
    router = Router()
    router.add(Json(Meta), name="meta")
    router.add(Text(), name="tag", key="tags")
    return router


Albums = Annotated[Album, Multipart(albums(), into=Album)]


async def test_the_document_has_the_request_body() -> None:
    app = FastAPI()
    install(app)

    @app.post("/albums")
    async def upload(album: Albums) -> Meta:
        return album.meta

    before = app.openapi()
    assert app.openapi() is before
    api = APIRouter(prefix="/{version}")

    @api.put("/albums")
    @api.get("/albums")
    async def again(version: Annotated[int, Path()], album: Albums) -> None: ...

    @api.post("/own", openapi_extra={"requestBody": {"content": {"text/plain": {}}}})
    async def own(version: int, album: Albums) -> None: ...

    @api.post("/other", include_in_schema=False)
    async def hidden(album: Albums) -> None: ...

    app.include_router(api, dependencies=[Depends(lambda: None)])
    app.openapi_schema = None
    document = app.openapi()
    validate(document)
    paths = document["paths"]
    asked = paths["/albums"]["post"]["requestBody"]
    form = asked["content"]["multipart/form-data"]
    assert asked["required"] is True
    assert form["schema"]["required"] == ["meta"]
    assert form["schema"]["properties"] == {
        "meta": {"$ref": "#/components/schemas/Meta"},
        "tag": {"type": "array", "items": {"type": "string"}},
    }
    assert form["encoding"] == {"meta": {"contentType": "application/json"}}
    assert paths["/{version}/albums"]["put"]["requestBody"] == asked
    assert "requestBody" not in paths["/{version}/albums"]["get"]
    assert paths["/{version}/own"]["post"]["requestBody"] == {"content": {"text/plain": {}}}
    # That of the answer and that of the part are one class.
    assert {"Meta", "HTTPValidationError"} <= document["components"]["schemas"].keys()


async def test_the_document_is_served() -> None:
    async def endpoint(album: Albums) -> None: ...

    app = app_with(endpoint)
    client = asking("GET", path="/openapi.json")
    await app(client.scope, client.receive, client.send)
    validate(client.document)
    assert "requestBody" in client.document["paths"]["/"]["post"]
