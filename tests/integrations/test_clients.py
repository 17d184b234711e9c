"""httpx and aiohttp, both ways: who reads slowly slows the sender down, not the memory up."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio.to_thread
import httpx
import pytest

from mpflow import (
    ClientDisconnected,
    FormData,
    Limits,
    MultipartReader,
    MultipartWriter,
    Router,
)
from mpflow.integrations.asgi import Upload
from mpflow.integrations.exchange import Answer, Exchange
from mpflow.testing import Chunked, Failing
from mpflow_handlers import Discard
from tests.http import serving

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
SIZE = 64 * MIB
MOST = 16 * MIB
"""What sockets, the server and the client may hold together."""
ROUNDS = 50
BACKENDS = [("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})]


class Service:
    """Reads an upload once it is told to, and says how large the parts were."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.gate = anyio.Event()
        self.ended = anyio.Event()
        self.headers: Mapping[str, str] = {}
        self.error: Exception | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "no lifespan"
        reader = MultipartReader.from_asgi(scope, receive)
        self.headers = reader.headers or {}
        self.asked.set()
        await self.gate.wait()
        sizes: dict[str | None, int] = {}
        try:
            async for part in reader:
                sizes[part.name] = 0
                async for chunk in part:
                    sizes[part.name] += len(chunk)
            await Exchange(scope, receive, send).answer(Answer(200, json.dumps(sizes).encode()))
        except ClientDisconnected as error:
            self.error = error
        self.ended.set()


class Counted:
    """A form that counts what its client takes."""

    def __init__(self, form: FormData) -> None:
        self.headers = form.headers
        self.sent = 0
        self._chunks = aiter(form)

    def __aiter__(self) -> Counted:
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._chunks)
        self.sent += len(chunk)
        return chunk


Form = FormData | Counted


async def with_httpx(url: str, form: Form) -> dict[str, int]:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        reply = await client.post(url, content=form, headers=form.headers)
    return reply.json()


async def with_aiohttp(url: str, form: Form) -> dict[str, int]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=form, headers=form.headers) as reply,
    ):
        return json.loads(await reply.read())


Post = Callable[[str, Form], Awaitable[dict[str, int]]]


def on_its_loops(test: Callable[..., Awaitable[None]]) -> Any:
    """Both clients, each on what it runs on."""
    cases = [(backend, with_httpx) for backend in BACKENDS]
    cases += [(backend, with_aiohttp) for backend in BACKENDS[:2]]
    parameters = [pytest.param(b, p, id=f"{p.__name__}-{i}") for i, (b, p) in enumerate(cases)]
    return pytest.mark.parametrize(("anyio_backend", "post"), parameters)(test)


@asynccontextmanager
async def posting(service: Service, post: Post, form: Form) -> AsyncGenerator[list[Any]]:
    """An upload under way, and where its answer goes."""
    answers: list[Any] = []

    async def run(url: str) -> None:
        answers.append(await post(url, form))

    async with serving(service) as port, anyio.create_task_group() as group:
        group.start_soon(run, f"http://127.0.0.1:{port}/")
        await service.asked.wait()
        yield answers


async def settled(count: Callable[[], int]) -> int:
    """What `count` says once it has begun to change, and no longer does."""
    threads = anyio.to_thread.current_default_thread_limiter()
    last, same = 0, 0
    while same < ROUNDS:
        await anyio.wait_all_tasks_blocked()
        is_still = 0 < count() == last and not threads.borrowed_tokens
        same = same + 1 if is_still else 0
        last = count()
    return last


@on_its_loops
async def test_a_service_that_reads_late_holds_the_upload_back(post: Post) -> None:
    source = Chunked(bytes(SIZE))
    form = FormData({"title": "x"})
    form.add("file", source, filename="f")
    service = Service()
    async with posting(service, post, form) as answers:
        assert 0 < await settled(lambda: source.pulled) < MOST
        service.gate.set()
    assert "Content-Length" not in service.headers
    assert answers == [{"title": 1, "file": SIZE}]


@on_its_loops
async def test_a_file_has_its_length_and_is_held_back_too(post: Post, tmp_path: Path) -> None:
    path = tmp_path / "f"
    with path.open("wb") as file:
        file.truncate(SIZE)
    form = FormData({"title": "x"})
    form.add("file", path)
    counted = Counted(form)
    service = Service()
    async with posting(service, post, counted) as answers:
        assert 0 < await settled(lambda: counted.sent) < MOST
        service.gate.set()
    assert service.headers["Content-Length"] == str(form.size)
    assert answers == [{"title": 1, "file": SIZE}]


@on_its_loops
async def test_a_source_that_fails_leaves_no_whole_body_behind(post: Post) -> None:
    """The last chunk never comes: a body that was cut is not taken for a whole one."""
    form = FormData({"title": "x"})
    form.add("file", Failing(bytes(MIB), at=MIB // 2, error=OSError("the disk is gone")))
    service = Service()
    service.gate.set()
    failures: list[Exception] = []

    async def attempt(url: str, form: Form) -> dict[str, int]:
        try:
            return await post(url, form)
        except Exception as error:
            failures.append(error)
            return {}

    async with posting(service, attempt, form) as answers:
        with anyio.fail_after(30):
            await service.ended.wait()
    assert isinstance(service.error, ClientDisconnected)
    assert answers == [{}]
    assert "the disk is gone" in told(failures[0])


def told(error: BaseException) -> str:
    """All that is said in an exception, in what it holds and in what caused it."""
    inner = [*getattr(error, "exceptions", ()), error.__cause__]
    return " ".join([str(error), *(told(it) for it in inner if it is not None)])


@on_its_loops
@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")  # it leaves them
async def test_an_early_answer_is_heard_while_the_client_sends(post: Post) -> None:
    """As far as the service lingers; past that, httpx may only see that the connection is gone."""
    router = Router(limits=Limits(max_total_bytes=MIB))
    router.add(Discard())
    service = Upload(router)
    async with serving(service) as port:
        for size in (2 * MIB, 12 * MIB):
            form = FormData()
            form.add("file", Chunked(bytes(size)), filename="f")
            answer: Any = await post(f"http://127.0.0.1:{port}/", form)
            assert (answer["status"], answer["limit"]) == (413, "max_total_bytes")
    gc.collect()


async def test_a_response_that_is_read_late_holds_the_service_back(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with path.open("wb") as file:
        file.truncate(SIZE)
    sent = 0

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        assert scope["type"] == "http", "no lifespan"
        root = MultipartWriter("mixed")
        root.append("first")
        root.append(path)
        headers = [(k.lower().encode(), v.encode()) for k, v in root.headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for chunk in root:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            sent += len(chunk)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with (
        serving(answer) as port,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
        client.stream("GET", f"http://127.0.0.1:{port}/") as response,
        MultipartReader.from_message(response) as reader,
    ):
        first = await anext(reader)
        assert await first.text() == "first"
        assert await settled(lambda: sent) < MOST
        size = 0
        async for chunk in await anext(reader):
            size += len(chunk)
        assert size == SIZE
        with pytest.raises(StopAsyncIteration):
            await anext(reader)
