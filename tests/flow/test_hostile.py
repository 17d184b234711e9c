"""What a hostile reader of the flow found: each stays found.

Knows: cancellations past all scopes, exceptions that fail to be exceptions, contexts that refuse
to be compared, streams that outlive their handler. Must not know: how the flow guards itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    Branches,
    HandlerCancelled,
    MultipartError,
    MultipartReader,
    NoRoute,
    Part,
    Rejected,
    RolledBack,
    Router,
    TruncatedBody,
)
from mpflow.testing import Bytewise, Chunked, PartSpec, body, content_type_of, nested

pytestmark = pytest.mark.anyio
TYPE = content_type_of()
AB = body([("a", "1"), ("b", "2")])
asyncio_only = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)


def cancel_this_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


class TestNativeCancellation:
    """flow.md, rule 7: it is that part's failure, never a silent end."""

    @asyncio_only
    @pytest.mark.parametrize("handlers", [1, 16])
    async def test_of_a_handler_that_waits(self, handlers: int) -> None:
        router = Router(max_handlers=handlers)

        @router.route()
        async def handle(part: Part) -> str:
            if part.name == "a":
                cancel_this_task()
                await checkpoint()
            return await part.text()

        with pytest.raises(HandlerCancelled, match="'a'"):
            await router.dispatch(MultipartReader(AB, TYPE))

    @asyncio_only
    async def test_is_collected(self) -> None:
        router = Router(max_handlers=1)

        @router.route(on_error="collect")
        async def handle(part: Part) -> str:
            if part.name == "a":
                cancel_this_task()
                await checkpoint()
            return await part.text()

        results = await router.dispatch(MultipartReader(AB, TYPE))
        assert [type(item.error) for item in results] == [HandlerCancelled, type(None)]
        assert results["b"] == "2"

    @asyncio_only
    async def test_does_not_reach_the_next_part(self) -> None:
        router = Router(max_handlers=1)

        @router.route()
        async def handle(part: Part) -> str:
            if part.name == "a":
                cancel_this_task()  # and answers before it is delivered
                return "answered"
            await checkpoint()
            return await part.text()

        results = await router.dispatch(MultipartReader(AB, TYPE))
        assert [item.value for item in results] == ["answered", "2"]

    @asyncio_only
    async def test_that_a_handler_swallows_is_forgotten(self) -> None:
        router = Router(max_handlers=1)

        @router.route()
        async def handle(part: Part) -> str:
            if part.name == "a":
                cancel_this_task()
                try:
                    await checkpoint()
                except asyncio.CancelledError:
                    return "swallowed"
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
            raise AssertionError

        with pytest.raises(HandlerCancelled, match="'b'"):
            await router.dispatch(MultipartReader(AB, TYPE))

    @asyncio_only
    async def test_of_a_handler_at_its_yield(self) -> None:
        """Rule 17: what is raised at the yield is a fresh RolledBack, never Cancelled."""
        seen: list[BaseException] = []
        tasks: list[asyncio.Task[Any] | None] = []
        router = Router()

        @router.route()
        @asynccontextmanager
        async def handle(part: Part) -> AsyncGenerator[str, None]:
            tasks.append(asyncio.current_task())
            try:
                yield await part.text()
            except BaseException as error:
                seen.append(error)
                raise

        with pytest.raises(HandlerCancelled):  # noqa: PT012 - what leaves the block is tested
            async with router.flow(MultipartReader(AB, TYPE)):
                assert tasks[0] is not None
                tasks[0].cancel()
                for _ in range(5):
                    await checkpoint()
        assert [type(error) for error in seen] == [RolledBack, RolledBack]

    @asyncio_only
    async def test_of_an_idle_worker_hangs_nothing(self) -> None:
        router = Router(max_handlers=1)
        tasks: list[asyncio.Task[Any] | None] = []

        async def handle(part: Part) -> str:
            tasks.append(asyncio.current_task())
            return await part.text()

        def matches(info: Any) -> bool:
            if info.name == "b":
                assert tasks[0] is not None
                tasks[0].cancel()
            return True

        router.add(handle, matches)
        cut = AB.index(b"--boundary", 5) + 12

        async def source() -> AsyncIterator[bytes]:
            yield AB[:cut]
            for _ in range(10):
                await checkpoint()
            yield AB[cut:]

        with anyio.fail_after(10):
            results = await router.dispatch(MultipartReader(source(), TYPE))
        assert [item.value for item in results] == ["1", "2"]


async def test_a_read_that_outlives_its_handler_never_looks_whole() -> None:
    data = body([PartSpec(b"x" * 1000, name="f")])
    got: list[object] = []
    router = Router()

    async def read(part: Part) -> None:
        try:
            got.append(await part.read())
        except anyio.ClosedResourceError as error:
            got.append(type(error))

    async def source() -> AsyncIterator[bytes]:
        for start, end in ((0, 90), (90, 200), (200, None)):
            yield data[start:end]
            for _ in range(20):
                await checkpoint()

    async with anyio.create_task_group() as tasks:

        @router.route()
        async def handle(part: Part) -> str:
            tasks.start_soon(read, part)
            for _ in range(5):
                await checkpoint()
            return "early"

        results = await router.dispatch(MultipartReader(source(), TYPE))
    assert results["f"] == "early"
    assert got == [anyio.ClosedResourceError]


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Shameful(Exception):
    def __repr__(self) -> str:
        raise ZeroDivisionError


class TestOddExceptions:
    async def test_one_that_takes_no_note(self) -> None:
        router = Router()

        @router.route()
        async def handle(part: Part) -> None:
            raise Frozen(1)

        with pytest.raises(Frozen) as caught:
            await router.dispatch(MultipartReader(AB, TYPE))
        assert caught.value.code == 1

    async def test_one_that_cannot_be_shown(self) -> None:
        rolled_back: list[str] = []
        router = Router()

        @router.route(name="a")
        @asynccontextmanager
        async def hold(part: Part) -> AsyncGenerator[None, None]:
            try:
                yield
            except RolledBack:
                rolled_back.append("a")
                raise

        @router.route()
        async def handle(part: Part) -> None:
            raise Shameful

        data = body([("a", "1"), ("b", "2"), ("c", "3")])
        with pytest.raises(Shameful):
            await router.dispatch(MultipartReader(data, TYPE))
        assert rolled_back == ["a"]


class TestContexts:
    """flow.md, rule 5: no handler sees another's variables, whatever they are."""

    async def test_values_that_refuse_to_be_compared(self) -> None:
        class Odd:
            def __eq__(self, other: object) -> bool:
                raise ValueError

            __hash__ = None  # type: ignore[assignment]

        variable = contextvars.ContextVar("variable", default=Odd())  # noqa: B039 - never mutated
        variable.set(Odd())
        router = Router(max_handlers=1)

        @router.route()
        async def handle(part: Part) -> None:
            variable.set(Odd())

        assert len(await router.dispatch(MultipartReader(AB, TYPE))) == 2

    async def test_values_that_are_equal_and_not_the_same(self) -> None:
        variable: contextvars.ContextVar[list[str]] = contextvars.ContextVar("variable")
        variable.set([])
        outer, mine = variable.get(), list[str]()
        router = Router(max_handlers=1)

        @router.route()
        async def handle(part: Part) -> bool:
            same = variable.get() is outer
            variable.set(mine)
            return same

        results = await router.dispatch(MultipartReader(AB, TYPE))
        assert [item.value for item in results] == [True, True]


class TestBranchesAlone:
    async def test_a_wire_error_beats_what_a_child_makes_of_it(self) -> None:
        async def react(part: Part) -> bytes:
            try:
                return await part.read()
            except MultipartError:
                raise ValueError("reaction") from None

        async def read(part: Part) -> bytes:
            return await part.read()

        data = body([PartSpec(b"z" * 1000, name="f")])[:-200]
        reader = MultipartReader(Chunked(data, 100), TYPE)
        part = await reader.next_part()
        assert part is not None
        with pytest.raises(TruncatedBody):
            async with Branches(part, [(react, "abort"), (read, "abort")]):
                raise AssertionError


class TestCollect:
    """flow.md, rule 14."""

    async def test_what_an_inner_router_misses(self) -> None:
        inner = Router()

        @inner.route(name="needed", required=True)
        async def needed(part: Part) -> str:
            return await part.text()

        router = Router()

        @router.route(on_error="collect")
        @asynccontextmanager
        async def inside(part: Part) -> AsyncGenerator[Any, None]:
            async with inner.flow(part.multipart()) as flow:
                yield flow.results

        data = body([nested([])])
        results = await router.dispatch(MultipartReader(data, TYPE))
        assert "required parts did not come" in str(results.errors[0])

    @pytest.mark.parametrize("verdict", [Rejected(403, "no"), NoRoute("none")])
    async def test_no_verdict_in_a_group(self, verdict: Exception) -> None:
        router = Router()

        @router.route(on_error="collect")
        async def handle(part: Part) -> None:
            raise ExceptionGroup("of the handler's own", [verdict])

        with pytest.raises(ExceptionGroup):
            await router.dispatch(MultipartReader(AB, TYPE))


class TestLateFailures:
    """flow.md, rule 18: they show at the block's end."""

    @staticmethod
    def failing() -> Router:
        router = Router()

        @router.route()
        @asynccontextmanager
        async def handle(part: Part) -> AsyncGenerator[None, None]:
            async def fail() -> None:
                for _ in range(3):
                    await checkpoint()
                raise OSError("late")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail)
                yield

        return router

    async def test_though_the_flow_was_aborted(self) -> None:
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - what leaves the block is tested
            async with self.failing().flow(MultipartReader(AB, TYPE)) as flow:
                for _ in range(20):
                    await checkpoint()
                await flow.abort()
        assert caught.group_contains(OSError)

    async def test_as_a_note_where_the_block_fails_itself(self) -> None:
        with pytest.raises(KeyError, match="mine") as caught:  # noqa: PT012 - what leaves the block is tested
            async with self.failing().flow(MultipartReader(AB, TYPE)):
                for _ in range(20):
                    await checkpoint()
                raise KeyError("mine")
        assert any("part 0" in note for note in caught.value.__notes__)


class TestMemory:
    async def test_tiny_chunks_weigh_what_they_are(self) -> None:
        """flow.md, rule 26: tiny messages are coalesced."""
        size = 60_000
        data = body([PartSpec(b"x" * size, name="f")])
        tracemalloc.start()
        try:
            reader = MultipartReader(Bytewise(data), TYPE)
            part = await reader.next_part()
            assert part is not None
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            assert len(await part.read()) == size
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        assert peak < 5 * size

    async def test_few_nested_flows_run_at_once(self) -> None:
        """The descriptors and the memory of each are bounded, and so is their number."""
        running = most = 0
        inner, router = Router(max_handlers=2), Router()

        @inner.route()
        async def handle(part: Part) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            for _ in range(5):
                await checkpoint()
            running -= 1

        @router.route()
        @asynccontextmanager
        async def inside(part: Part) -> AsyncGenerator[None, None]:
            async with inner.flow(part.multipart()):
                yield

        data = body([nested([("a", "1"), ("b", "2"), ("c", "3")]) for _ in range(50)])
        await router.dispatch(MultipartReader(data, TYPE))
        assert 2 <= most <= 2 * (16 + 4)  # those that have slots, and those that need none
