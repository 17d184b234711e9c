"""`mpflow.testing`: whole routers, messages by Hypothesis, virtual time.

Knows: what a user's own tests would do with them. Must not know: how a flow runs.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import attrs
import pytest
from hypothesis import Phase, given, settings

from mpflow import (
    HandlerTimeout,
    LimitExceeded,
    Limits,
    MultipartReader,
    NoRoute,
    NotMultipart,
    Part,
    Results,
    Router,
    TruncatedBody,
)
from mpflow.testing import (
    Bytewise,
    Cut,
    Message,
    PartSpec,
    Slow,
    body,
    content_type_of,
    dispatch,
    messages,
    virtual_time,
)
from mpflow_handlers import Collect, Json, Nested

PARTS = [("title", "Sea"), PartSpec(b"1", name="ages", content_type="application/json")]


@attrs.frozen
class Form:
    title: bytes
    ages: int


def form_router(**options: Any) -> Router:
    router = Router(**options)
    router.add(Collect(), name="title")
    router.add(Json(), name="ages")
    return router


@pytest.mark.anyio
class TestDispatch:
    @pytest.mark.parametrize("chunks", [None, 1, 7, [1, 0, 5]], ids=str)
    async def test_parts(self, chunks: Any) -> None:
        results = await dispatch(form_router(), PARTS, chunks=chunks)
        assert isinstance(results, Results)
        assert (results["title"], results["ages"]) == (b"Sea", 1)

    @pytest.mark.parametrize("chunks", [None, 1])
    async def test_bytes_and_into(self, chunks: int | None) -> None:
        made = await dispatch(form_router(), body(PARTS), chunks=chunks, into=Form)
        assert made == Form(b"Sea", 1)
        # A tuple of parts is a message, too.
        assert await dispatch(form_router(), tuple(PARTS), into=Form) == made

    async def test_a_message(self) -> None:
        specs = (PartSpec("Sea", name="title"), PartSpec("1", name="ages"))
        message = Message(specs, boundary="other", subtype="mixed", sizes=(3, 1, 4))
        assert [len(chunk) async for chunk in message.source()][:3] == [3, 1, 4]
        assert message.content_type == "multipart/mixed; boundary=other"
        assert await dispatch(form_router(), message, into=Form) == Form(b"Sea", 1)
        assert await dispatch(form_router(), Message(specs), into=Form) == Form(b"Sea", 1)

    async def test_a_source_and_its_content_type(self) -> None:
        source = Bytewise(body(PARTS, boundary="x"))
        results = await dispatch(form_router(), source, content_type=content_type_of("x"))
        assert results["ages"] == 1
        with pytest.raises(NotMultipart):
            await dispatch(form_router(), PARTS, content_type="text/plain")
        with pytest.raises(TypeError, match="chunks for parts or bytes"):
            await dispatch(form_router(), Bytewise(b""), chunks=1)

    async def test_it_raises_what_the_router_raises(self) -> None:
        with pytest.raises(NoRoute):
            await dispatch(form_router(), [("unknown", "")])
        with pytest.raises(TruncatedBody):
            await dispatch(form_router(), Cut(body(PARTS), 100))
        with pytest.raises(LimitExceeded, match="max_parts"):
            await dispatch(form_router(), PARTS, limits=Limits(max_parts=1))

    async def test_given_values_and_commits(self) -> None:
        rows: list[str] = []
        router = Router()

        @router.route(name="title", needs="user")
        @asynccontextmanager
        async def insert(part: Part, user: str) -> AsyncIterator[str]:
            yield user
            rows.append(f"{user}: {await anyio.to_thread.run_sync(lambda: 'done')}")

        assert (await dispatch(router, [("title", "")], given={"user": "me"}))[insert] == "me"
        assert rows == ["me: done"]


# -- messages ---------------------------------------------------------------------------------


@pytest.mark.anyio
@given(message=messages(depth=2))
async def test_any_message_is_read_as_it_was_made(message: Message) -> None:
    reader = MultipartReader(message.source(), message.content_type, strict=True)
    found = [
        (part.name, part.filename, part.content_type, await part.read()) async for part in reader
    ]
    assert found == [
        (spec.name, spec.filename, spec.head.content_type, spec.data) for spec in message.parts
    ]
    assert b"".join([chunk async for chunk in message.source()]) == message.data


@pytest.mark.anyio
@given(message=messages())
async def test_any_message_goes_through_a_router(message: Message) -> None:
    router = Router()
    router.add(Nested(router), content_type="multipart/*")
    router.add(Collect())
    results = await dispatch(router, message)
    assert [item.part.name for item in results] == [spec.name for spec in message.parts]
    values = [None if isinstance(item.value, Results) else item.value for item in results]
    assert values == [None if spec.head.is_multipart else spec.data for spec in message.parts]


def test_messages_reach_what_is_hard() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=700, phases=[Phase.generate], derandomize=True, database=None)
    @given(message=messages())
    def look(message: Message) -> None:
        data = [spec.data for spec in message.parts]
        seen["nothing"] += not message.parts
        seen["many parts"] += len(message.parts) > 3
        seen["nested"] += any(spec.head.is_multipart for spec in message.parts)
        seen["almost a delimiter"] += any(one.endswith(b"\r\n--boundar") for one in data)
        seen["other scripts"] += any(not (spec.name or "a").isascii() for spec in message.parts)
        seen["mixed"] += message.subtype == "mixed"
        seen["form"] += message.subtype == "form-data" and bool(message.parts)
        seen["even chunks"] += len(set(message.sizes)) == 1
        seen["empty chunks"] += 0 in message.sizes
        seen["whole"] += not message.sizes

    look()
    assert min(seen.values()) > 2, seen


def test_messages_keep_to_their_bounds() -> None:
    @given(message=messages(max_parts=2, max_size=4, depth=0))
    def check(message: Message) -> None:
        assert len(message.parts) <= 2
        assert all(len(spec.data) <= 4 for spec in message.parts)
        assert not any(spec.head.is_multipart for spec in message.parts)

    check()


def test_messages_without_hypothesis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "mpflow.testing.drawn", raising=False)
    with pytest.raises(ImportError, match="install hypothesis"):
        messages()


# -- virtual time -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["asyncio", "trio"])
class TestVirtualTime:
    def test_an_hour_takes_no_time(self, name: str) -> None:
        async def test() -> None:
            start = anyio.current_time()
            router = Router(limits=Limits(idle_timeout=None))
            router.add(Collect())
            data = body([("a", "x" * 100)])
            assert len(await dispatch(router, Slow(data, 10, seconds=600))) == 1
            assert anyio.current_time() - start >= 600 * len(data) // 10

        with virtual_time(name) as (backend, options):
            assert backend == name
            anyio.run(test, backend=backend, backend_options=options)

    def test_a_timeout_of_a_route(self, name: str) -> None:
        async def slow(part: Part) -> None:
            await anyio.sleep_forever()

        router = Router()
        router.add(slow, timeout=300)

        async def test() -> None:
            with pytest.raises(HandlerTimeout):
                await dispatch(router, [("a", "")])
            assert anyio.current_time() == pytest.approx(300, abs=1)

        with virtual_time(name) as (backend, options):
            anyio.run(test, backend=backend, backend_options=options)

    def test_a_thread_holds_the_clock_and_all_is_put_back(self, name: str) -> None:
        doors = anyio.to_thread.run_sync, anyio.from_thread.run
        seen: Counter[str] = Counter()

        def work() -> None:
            threading.Event().wait(0.02)
            anyio.from_thread.run(anyio.sleep, 60)
            seen["work"] += 1

        async def test() -> None:
            start = anyio.current_time()
            await anyio.to_thread.run_sync(work)
            assert anyio.current_time() - start == pytest.approx(60, abs=0.1)

        with virtual_time(name) as (backend, options):
            anyio.run(test, backend=backend, backend_options=options)
        assert seen["work"] == 1
        assert (anyio.to_thread.run_sync, anyio.from_thread.run) == doors


def test_a_backend_that_has_no_virtual_clock() -> None:
    expected = pytest.raises(ValueError, match="'asyncio' or 'trio', got 'uvloop'")
    with expected, virtual_time("uvloop"):
        raise AssertionError("not reached")


def test_the_end_of_a_virtual_loop_waits_for_its_threads() -> None:
    """The minutes that asyncio gives them would pass at one jump."""
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        go.wait(30)
        done.set()

    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, work)
        threading.Timer(0.2, go.set).start()

    with virtual_time("asyncio") as (backend, options):
        anyio.run(main, backend=backend, backend_options=options)
    assert done.is_set()
