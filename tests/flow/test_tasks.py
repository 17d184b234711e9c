"""Rules 1 to 6 of a flow: its tasks, its scopes, and their context variables.

Knows: both backends and their ways to cancel. Must not know: how the flow is built.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from mpflow import HandlerTimeout, Limits, Part, Router
from mpflow.flow.record import Record
from tests.flow.support import Chunks, Diary, cut, form, notes, read, reader

pytestmark = pytest.mark.anyio

BODY = form(("a", b"1"), ("b", b"22"), ("c", b"333"))


def task_id() -> int:
    return anyio.get_current_task().id


class TestTasks:
    async def test_the_pump_runs_in_the_callers_task(self) -> None:
        """Rule 1."""
        seen: list[int] = []

        class Source(Chunks):
            async def __anext__(self) -> bytes:
                seen.append(task_id())
                return await super().__anext__()

        router = Router()
        router.add(read)
        await router.dispatch(reader(Source(cut(BODY, 7))))
        assert set(seen) == {task_id()}

    async def test_all_have_answered_is_judged_by_records(self) -> None:
        """Rule 1: the last part is in hand when no handler's task has begun, and none is lost."""
        for count in range(1, 40):
            router = Router(max_handlers=count % 4 + 1)
            router.add(read)
            results = await router.dispatch(reader(form(*[(f"n{i}", b"x") for i in range(count)])))
            assert [h.value for h in results] == [b"x"] * count

    async def test_one_phase_handlers_reuse_tasks(self) -> None:
        """Rule 2."""
        tasks: set[int] = set()
        router = Router()

        @router.route()
        async def handle(part: Part) -> None:
            tasks.add(task_id())

        await router.dispatch(reader(form(*[("n", b"")] * 200)))
        assert len(tasks) < 20
        assert task_id() not in tasks

    async def test_two_phases_are_entered_and_left_by_one_task_of_their_own(self) -> None:
        """Rule 2."""
        entered: dict[str | None, int] = {}
        left: dict[str | None, int] = {}
        router = Router(max_handlers=2)

        @router.route()
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[None]:
            entered[part.name] = task_id()
            await checkpoint()
            yield
            await checkpoint()
            left[part.name] = task_id()

        await router.dispatch(reader(BODY))
        assert entered == left
        assert len(set(entered.values())) == 3

    @pytest.mark.parametrize("ends_well", [True, False])
    async def test_task_groups_are_held_over_the_yield(self, ends_well: bool) -> None:
        """Rules 2 and 4: several, side by side; none is cancelled before its handler is told."""
        log: list[str] = []
        router = Router(max_handlers=2)

        @router.route()
        @asynccontextmanager
        async def handle(part: Part) -> AsyncGenerator[bytes, None]:
            told = anyio.Event()

            async def keep(name: str | None) -> None:
                try:
                    await told.wait()
                    log.append(f"{name} told")
                except BaseException:
                    log.append(f"{name} cancelled")
                    raise

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keep, part.name)
                try:
                    yield await part.read()
                finally:
                    log.append(f"{part.name} leaves")
                    told.set()
                    # The group is still whole: a checkpoint in it goes through.
                    await checkpoint()
                    await checkpoint()

        reason = ZeroDivisionError()
        if ends_well:
            await router.dispatch(reader(BODY))
        else:
            with pytest.raises(ZeroDivisionError) as info:
                async with router.flow(reader(BODY)):
                    raise reason
            assert info.value is reason
            # A RolledBack that comes back in a group of the handler's own is no failure.
            assert notes(reason) == ""
        order = "abc" if ends_well else "cba"
        assert log == [f"{n} {what}" for n in order for what in ("leaves", "told")]

    async def test_task_groups_survive_until_rollback_when_a_handler_fails(self) -> None:
        """Rule 4: shielded from its first step, so that nothing it holds dies before its turn."""
        log: list[str] = []
        router = Router()

        @router.route(name="a")
        @asynccontextmanager
        async def hold(part: Part) -> AsyncIterator[None]:
            async with anyio.create_task_group() as tasks:
                told = anyio.Event()
                tasks.start_soon(told.wait)
                try:
                    yield
                except BaseException:
                    await checkpoint()
                    log.append("rolled back in peace")
                    told.set()
                    raise

        @router.route(name="b")
        async def fail(part: Part) -> None:
            await checkpoint()
            raise ZeroDivisionError

        router.add(read)
        with pytest.raises(ZeroDivisionError):
            await router.dispatch(reader(BODY))
        assert log == ["rolled back in peace"]

    async def test_scopes_and_deadlines_are_held_over_the_yield(self) -> None:
        """Rule 3: the part's scope opens before the handler's and closes after it."""
        diary: list[str] = []
        router = Router()

        @router.route()
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[None]:
            with anyio.CancelScope() as scope, anyio.fail_after(1000):
                yield
                scope.cancel()
                diary.append(part.name or "")
                await checkpoint()
                raise AssertionError("not reached")

        await router.dispatch(reader(BODY))
        assert diary == ["a", "b", "c"]

    async def test_the_flow_is_a_class(self) -> None:
        """Rule 6: no generator stands between the block and its own exception."""
        router = Router()
        router.add(Diary())
        flow = router.flow(reader(BODY))
        assert isinstance(flow, AbstractAsyncContextManager)
        error = KeyError("mine")
        with pytest.raises(KeyError) as info:
            async with flow:
                raise error
        assert info.value is error
        assert error.__cause__ is None
        assert error.__context__ is None

    async def test_a_handlers_own_task_group(self) -> None:
        """A handler may spawn tasks; its exception group is its own, and comes out as it is."""
        router = Router()
        raised: list[BaseException] = []

        @router.route(name="a")
        async def spawn(part: Part) -> list[str]:
            found: list[str] = []

            async def add(item: str) -> None:
                await checkpoint()
                found.append(item)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(add, "x")
                tasks.start_soon(add, "y")
            return sorted(found)

        @router.route(name="b")
        async def fail(part: Part) -> None:
            async def bad() -> None:
                raise ZeroDivisionError

            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(bad)
            except ExceptionGroup as error:
                raised.append(error)
                raise

        assert (await router.dispatch(reader(form(("a", b"")))))["a"] == ["x", "y"]
        with pytest.raises(ExceptionGroup) as info:
            await router.dispatch(reader(form(("a", b""), ("b", b""))))
        assert info.value is raised[0]


class TestContext:
    async def test_no_handler_sees_anothers_variables(self) -> None:
        """Rule 5."""
        variable = contextvars.ContextVar("variable", default="none")
        seen: list[str] = []
        variable.set("caller")
        router = Router(max_handlers=2)

        @router.route()
        async def handle(part: Part) -> None:
            seen.append(variable.get())
            variable.set(part.name or "")
            await checkpoint()
            assert variable.get() == part.name

        await router.dispatch(reader(form(*[(f"n{i}", b"") for i in range(50)])))
        assert seen == ["caller"] * 50
        assert variable.get() == "caller"

    async def test_a_worker_started_by_a_handler_has_the_flows_variables(self) -> None:
        """Rule 5: also the tasks that are started while a handler runs."""
        variable = contextvars.ContextVar("variable", default="none")
        seen: list[str] = []
        router = Router(max_handlers=3)

        @router.route(name="one")
        async def one(part: Part) -> None:
            variable.set("one")
            await part.read()

        @router.route(name="two")
        @asynccontextmanager
        async def two(part: Part) -> AsyncIterator[None]:
            seen.append(variable.get())
            variable.set("two")
            await part.read()
            yield
            assert variable.get() == "two"

        fields = [("one", b""), ("two", b"")] * 20
        await router.dispatch(reader(form(*fields), size=10))
        assert seen == ["none"] * 20


def test_a_native_task_group_on_trio() -> None:
    """Rule 2, with trio's own nursery and asyncio's own task group held over the yield."""
    log: list[str] = []

    @asynccontextmanager
    async def hold(part: Part) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            yield
            nursery.cancel_scope.cancel()
        log.append("left")

    async def dispatch() -> None:
        router = Router()
        router.add(hold)
        await router.dispatch(reader(BODY))

    trio.run(dispatch)
    assert log == ["left"] * 3


def test_a_native_task_group_on_asyncio() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def hold(part: Part) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(1000):
            child = tasks.create_task(asyncio.sleep(1000))
            yield
            child.cancel()
        log.append("left")

    async def dispatch() -> None:
        router = Router()
        router.add(hold)
        await router.dispatch(reader(BODY))

    asyncio.run(dispatch())
    assert log == ["left"] * 3


async def test_a_timeout_in_a_reused_task_never_outlives_its_part() -> None:
    """Rule 5: the worker that was cancelled ends; those after it are undisturbed."""
    router = Router(max_handlers=1)

    @router.route(name="slow", timeout=0.01, on_error="collect")
    async def slow(part: Part) -> None:
        await anyio.sleep_forever()

    @router.route(name="fast", timeout=1000)
    async def fast(part: Part) -> bytes:
        for _ in range(10):
            await checkpoint()
        return await part.read()

    fields = [("slow", b""), ("fast", b"1"), ("fast", b"2"), ("slow", b""), ("fast", b"3")]
    results = await router.dispatch(reader(form(*fields)))
    assert results.all("fast") == [b"1", b"2", b"3"]
    assert [type(e) for e in results.errors] == [HandlerTimeout, HandlerTimeout]


async def test_a_timeout_that_is_due_before_the_task_of_two_phases_starts() -> None:
    """That it has two phases shows by what it gives; between that and its task lies a pass."""

    @asynccontextmanager
    async def hangs(part: Part) -> AsyncIterator[None]:
        await anyio.sleep_forever()
        yield

    def late(part: Part) -> Any:
        assert isinstance(part.holder, Record)
        watch = part.holder.crew.watch
        clock = watch.now
        watch.now = lambda: clock() + 1000  # so long does this call take
        assert watch._sooner is not None
        watch._sooner.set()  # it looks at the time in that very pass
        return hangs(part)

    router = Router()
    router.add(late, timeout=100)
    limits = Limits(idle_timeout=None, stall_timeout=None)
    with anyio.fail_after(10), pytest.raises(HandlerTimeout, match=r"late within 100"):
        await router.dispatch(reader(form(("a", b"")), size=10, limits=limits))
