"""Rule 7 of a flow: cancellations that nobody asked for, and exceptions that pass.

Knows: asyncio's futures, KeyboardInterrupt. Must not know: how the flow is built.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import CommitFailed, HandlerCancelled, Part, Router
from tests.flow.support import Chunks, Diary, cut, form, read, reader
from tests.support import only_trio

pytestmark = pytest.mark.anyio

BODY = form(("a", b"1"), ("b", b"22"), ("c", b"333"))
LONG = form(("a", b"1" * 200_000), ("b", b"22"), ("c", b"3" * 200_000))


class TestForeignCancellation:
    """Rule 7: a cancellation that nobody asked for is that part's failure."""

    @pytest.fixture(params=["asyncio", "uvloop"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> object:
        return "asyncio", {"use_uvloop": request.param == "uvloop"}

    async def test_a_cancelled_future_fails_its_part(self) -> None:
        router = Router()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()

        @router.route(name="b")
        async def handle(part: Part) -> None:
            await future

        router.add(read)
        with pytest.raises(HandlerCancelled) as info:
            await router.dispatch(reader(BODY))
        assert isinstance(info.value.__cause__, asyncio.CancelledError)
        assert info.value.part is not None
        assert info.value.part.name == "b"

    async def test_a_cancelled_future_in_a_commit(self) -> None:
        """It is not out of time."""

        async def step(what: str, name: str) -> None:
            if (what, name) == ("commit", "b"):
                future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                future.cancel()
                await future

        diary = Diary(step)
        router = Router()
        router.add(diary)
        with pytest.raises(CommitFailed) as info:
            await router.dispatch(reader(BODY))
        cause = info.value.__cause__
        assert isinstance(cause, HandlerCancelled)
        assert "was cancelled from within its commit" in str(cause)
        assert diary.committed == ["a"]
        assert diary.rolled_back == ["b", "c"]

    async def test_it_can_be_collected_and_the_worker_goes_on(self) -> None:
        router = Router(max_handlers=1)

        @router.route(name="b", on_error="collect")
        async def handle(part: Part) -> None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.cancel)
            await future

        router.add(read)
        results = await router.dispatch(reader(BODY))
        assert [type(h.error) for h in results] == [type(None), HandlerCancelled, type(None)]
        assert results["c"] == b"333"

    async def test_in_a_two_phase_handler(self) -> None:
        diary = Diary()
        router = Router()
        router.add(diary, name="a")

        @router.route()
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[None]:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
            yield

        with pytest.raises(HandlerCancelled):
            await router.dispatch(reader(BODY))
        assert diary.rolled_back == ["a"]

    async def test_a_parked_handler(self) -> None:
        """What cancels a handler from within while it waits shows at the end of the block."""
        router = Router()
        diary = Diary()
        tasks: list[asyncio.Task[object] | None] = []

        @router.route(name="a")
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[None]:
            tasks.append(asyncio.current_task())
            yield

        router.add(diary)
        with pytest.raises(HandlerCancelled):  # noqa: PT012 - what leaves the block is tested
            async with router.flow(reader(BODY)):
                assert tasks[0] is not None
                tasks[0].cancel()
                await checkpoint()
        assert diary.committed == []
        assert sorted(diary.rolled_back) == ["b", "c"]

    async def test_a_cancellation_of_the_caller_passes(self) -> None:
        diary = Diary()
        router = Router()
        started = asyncio.Event()
        router.add(diary, name="a")

        @router.route()
        async def handle(part: Part) -> None:
            started.set()
            await anyio.sleep_forever()

        task = asyncio.create_task(router.dispatch(reader(BODY)))
        await started.wait()
        await checkpoint()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert diary.rolled_back == ["a"]

    @pytest.mark.parametrize("two_phases", [False, True])
    @pytest.mark.parametrize("passes", range(1, 16))
    async def test_tasks_that_are_cancelled_before_they_begin(
        self, passes: int, *, two_phases: bool
    ) -> None:
        """Who cancels all tasks that there are may cancel some of which no line has run."""
        diary = Diary()
        router = Router()
        router.add(diary if two_phases else read)
        here = asyncio.all_tasks()
        task = asyncio.create_task(router.dispatch(reader(LONG, size=65536)))
        for _ in range(passes):
            await asyncio.sleep(0)
        others = asyncio.all_tasks() - here - {task}
        for other in others:
            other.cancel()
        ended, _ = await asyncio.wait({task}, timeout=5)
        assert ended
        try:
            results = task.result()
        except CommitFailed:
            assert diary.committed
        except (HandlerCancelled, asyncio.CancelledError):
            assert others
            assert diary.committed == []
        else:
            assert len(results) == 3
        diary.check()
        assert asyncio.all_tasks() == here


Backend: TypeAlias = tuple[str, dict[str, object]]
FATAL = pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])


@FATAL
@pytest.mark.parametrize("where", ["one phase", "two phases", "commit", "source"])
def test_fatal_exceptions_pass_unwrapped(
    where: str, fatal: type[BaseException], anyio_backend: Backend
) -> None:
    """Rule 7: they end the flow, roll back what waits, and reach the caller as they are."""
    raise_in(where, fatal, anyio_backend)


@only_trio  # asyncio itself raises it out of the loop, past every task
@FATAL
def test_fatal_exceptions_of_a_task_group_pass_unwrapped(
    fatal: type[BaseException], anyio_backend: Backend
) -> None:
    raise_in("task group", fatal, anyio_backend)


def raise_in(where: str, fatal: type[BaseException], anyio_backend: Backend) -> None:
    """Raise it there in a flow of its own, and look what came of it."""
    diary = Diary()
    error = fatal()

    async def dispatch() -> None:
        async def fail() -> None:
            await checkpoint()
            raise error

        async def handle(part: Part) -> None:
            if where == "one phase":
                await fail()
            elif where == "task group":
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(fail)

        @asynccontextmanager
        async def hold(part: Part) -> AsyncIterator[None]:
            if where == "two phases":
                await fail()
            yield
            if where == "commit":
                await fail()

        async def before() -> None:
            if where == "source" and source.given > 100:
                await fail()

        source = Chunks(cut(BODY, 50), before)
        router = Router()
        router.add(hold if where in ("two phases", "commit") else handle, name="b")
        router.add(diary)
        with pytest.raises(fatal) as info:
            await router.dispatch(reader(source))
        assert info.value is error

    name, options = anyio_backend
    anyio.run(dispatch, backend=name, backend_options=options)
    diary.check()
    assert diary.committed == (["a"] if where == "commit" else [])
