"""What bounds a wait, and counts only while something is waited for."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import threading
import time
import traceback
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import LimitExceeded, Limits, MultipartReader, TruncatedBody
from mpflow.idle import Idle
from tests.clock import virtual_time
from tests.support import BODY, TYPE

pytestmark = pytest.mark.anyio

IN_ONE = BODY.index(b"one") + 1


class Seen:
    """Notes the deadlines of a scope at each step of a reading."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.scope = scope
        self.deadlines: list[float] = []

    def look(self) -> None:
        self.deadlines.append(self.scope.deadline)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_what_does_not_wait_sets_no_deadline() -> None:
    with anyio.CancelScope() as scope:
        seen = Seen(scope)

        async def read() -> int:
            seen.look()
            return 3

        assert await Idle().wait(read(), scope, 5) == 3
        assert seen.deadlines == [math.inf]
        assert scope.deadline == math.inf


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_what_waits_has_a_deadline_from_then_on_and_none_afterwards() -> None:
    with anyio.CancelScope() as scope:
        seen = Seen(scope)

        async def read() -> str:
            seen.look()
            await checkpoint()
            seen.look()
            await checkpoint()
            seen.look()
            return "value"

        begun = anyio.current_time()
        assert await Idle().wait(read(), scope, 5) == "value"
        assert seen.deadlines[0] == math.inf
        assert seen.deadlines[1] == seen.deadlines[2]
        assert begun + 5 <= seen.deadlines[1] <= anyio.current_time() + 5
        assert scope.deadline == math.inf


async def test_what_it_raises_before_and_after_it_waited_comes_out() -> None:
    async def read(waits: int) -> None:
        for _ in range(waits):
            await checkpoint()
        raise LookupError(waits)

    with anyio.CancelScope() as scope:
        for waits in (0, 1, 2):
            with pytest.raises(LookupError, match=str(waits)):
                await Idle().wait(read(waits), scope, 5)
            assert scope.deadline == math.inf


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("scoped", [True, False])
async def test_what_a_read_made_of_an_error_of_its_future_has_no_trace_of_it(scoped: bool) -> None:
    """A future throws its error into who awaits it, through all that drives it."""
    handled: list[object] = []

    async def fails() -> bytes:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, KeyError("inner"))
        with suppress(KeyError):
            await future
        handled.append(sys.exc_info())
        raise LookupError("of its own")

    source = Given(fails)
    reader = MultipartReader(source, TYPE)
    with pytest.raises(LookupError, match="of its own") as caught:
        async with reader if scoped else nullcontext():
            await reader.drain()
    assert handled == [(None, None, None)]
    assert caught.value.__context__ is None
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "fails"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_error_of_a_future_is_traced_to_where_it_was_awaited() -> None:
    async def fails() -> bytes:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, ConnectionResetError("gone"))
        return await future

    with pytest.raises(ConnectionResetError) as caught:
        await MultipartReader(Given(fails), TYPE).drain()
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "fails"


class Given:
    """A stream whose every read is a call."""

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self.read = read

    async def receive(self) -> bytes:
        return await self.read()


@pytest.mark.parametrize("steps", [0, 1])
async def test_a_cancellation_goes_in_and_the_reading_cleans_up(steps: int) -> None:
    told: list[str] = []
    began = anyio.Event()

    async def read() -> None:
        try:
            for _ in range(steps):
                await checkpoint()
            began.set()
            await anyio.sleep_forever()
        finally:
            told.append("cleaned up")

    async def wait(scope: anyio.CancelScope) -> None:
        with scope:
            await Idle().wait(read(), scope, 500)
        told.append("went on")

    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(wait, scope)
        await began.wait()
        scope.cancel()
    assert told == ["cleaned up", "went on"]
    assert scope.cancelled_caught


async def test_a_reading_that_never_ends_its_wait_is_ended_by_the_deadline() -> None:
    with anyio.CancelScope() as scope:
        await Idle().wait(anyio.sleep_forever(), scope, 0)
    assert scope.cancelled_caught


# -- one timer for many waits -----------------------------------------------------------------


def timers() -> int:
    """How many timers the loop of asyncio that runs has and will ring."""
    loop: Any = asyncio.get_running_loop()
    return sum(not timer.cancelled() for timer in loop._scheduled)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_many_waits_have_one_timer_and_none_once_it_is_stopped() -> None:
    idle, before = Idle(), timers()
    for _ in range(10):
        with anyio.CancelScope() as scope:
            await idle.wait(checkpoint(), scope, 5)
        assert timers() == before + 1
    idle.stop()
    assert timers() == before
    idle.stop()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("end", [len(BODY), len(BODY) // 2])
async def test_a_reader_leaves_no_timer_when_its_source_ends_or_is_cut(end: int) -> None:
    before, seen = timers(), set[int]()
    send, receive = anyio.create_memory_object_stream[bytes](0)

    async def feed() -> None:
        async with send:
            for at in range(0, end, 8):
                await send.send(BODY[at : min(end, at + 8)])
                seen.add(timers() - before)

    async with anyio.create_task_group() as group:
        group.start_soon(feed)
        reader = MultipartReader(receive, TYPE)
        with pytest.raises(TruncatedBody) if end < len(BODY) else nullcontext():
            await reader.drain()
            await reader.read_to_end()
    receive.close()
    assert timers() == before
    assert max(seen) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("fails", [True, False])
async def test_a_reader_that_fails_or_is_closed_leaves_no_timer(fails: bool) -> None:
    async def give() -> AsyncIterator[bytes]:
        await checkpoint()
        yield BODY[:IN_ONE]
        await checkpoint()
        raise LookupError

    before = timers()
    async with MultipartReader(give(), TYPE) as reader:
        await reader.next_part()
        assert timers() == before + 1
        if fails:
            with pytest.raises(LookupError):
                await reader.drain()
            assert timers() == before
    assert timers() == before


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_timer_keeps_nothing_of_the_context_of_its_task() -> None:
    class Secret:
        pass

    held: ContextVar[Secret] = ContextVar("held")
    secret = Secret()
    gone = weakref.ref(secret)
    idle = Idle()

    async def read(secret: Secret) -> None:
        held.set(secret)
        with anyio.CancelScope() as scope:
            await idle.wait(checkpoint(), scope, 5)

    task = asyncio.create_task(read(secret))
    await task
    del task, secret
    for _ in range(3):
        await checkpoint()
    gc.collect()
    assert gone() is None
    idle.stop()


@virtual_time
@pytest.mark.parametrize("close", ["close", "aclose"])
async def test_a_wait_has_its_limit_though_the_reader_is_closed_meanwhile(close: str) -> None:
    begun = anyio.current_time()
    send, receive = anyio.create_memory_object_stream[bytes](0)
    reader = MultipartReader(receive, TYPE, limits=Limits(idle_timeout=5))

    async def read() -> None:
        with pytest.raises(LimitExceeded, match="idle_timeout"):
            await reader.next_part()

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        if close == "close":
            reader.close()
        else:
            await reader.aclose()
    assert anyio.current_time() - begun == pytest.approx(5)
    send.close()
    receive.close()


async def test_what_works_long_before_it_waits_has_the_whole_limit() -> None:
    idle = Idle()

    async def read() -> str:
        until = time.perf_counter() + 0.1
        while time.perf_counter() < until:
            pass
        await checkpoint()
        return "value"

    with anyio.CancelScope() as scope:
        # It has run before, so that it rings in the midst of the work.
        await idle.wait(checkpoint(), scope, 0.05)
        assert await idle.wait(read(), scope, 0.05) == "value"
    assert not scope.cancelled_caught
    idle.stop()


@virtual_time
async def test_each_wait_has_the_whole_limit_and_the_last_one_no_more() -> None:
    idle = Idle()
    begun = anyio.current_time()
    for _ in range(3):
        with anyio.CancelScope() as scope:
            await idle.wait(anyio.sleep(4), scope, 5)
        assert not scope.cancelled_caught
    with anyio.CancelScope() as scope:
        await idle.wait(anyio.sleep_forever(), scope, 5)
    assert scope.cancelled_caught
    assert anyio.current_time() - begun == pytest.approx(17)


@virtual_time
async def test_a_timer_that_rings_while_nobody_waits_ends_nothing() -> None:
    idle = Idle()
    begun = anyio.current_time()
    with anyio.CancelScope() as scope:
        await idle.wait(anyio.sleep(1), scope, 5)
        await anyio.sleep(100)
        await idle.wait(anyio.sleep(4), scope, 5)
    assert not scope.cancelled_caught
    assert anyio.current_time() - begun == pytest.approx(105)


@virtual_time
async def test_a_limit_that_became_shorter_counts_at_once() -> None:
    idle = Idle()
    begun = anyio.current_time()
    with anyio.CancelScope() as scope:
        await idle.wait(anyio.sleep(1), scope, 50)
        await idle.wait(anyio.sleep_forever(), scope, 2)
    assert scope.cancelled_caught
    assert anyio.current_time() - begun == pytest.approx(3)


def test_another_event_loop_has_a_timer_of_its_own() -> None:
    idle, ended = Idle(), list[bool]()

    async def wait(seconds: float) -> None:
        with anyio.CancelScope() as scope:
            await idle.wait(anyio.sleep(seconds), scope, 0.001)
        ended.append(scope.cancelled_caught)

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(wait, 0, backend=backend)
        anyio.run(wait, math.inf, backend=backend)
    assert ended == [False, True] * 3


def test_a_timer_of_a_loop_that_is_left_rings_in_vain() -> None:
    idle, faults, rung, ended = Idle(), list[object](), threading.Event(), list[bool]()

    async def first() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: faults.append(context))
        with anyio.CancelScope() as scope:
            await idle.wait(checkpoint(), scope, 0.05)
        loop.call_later(0.06, rung.set)
        await asyncio.to_thread(asyncio.run, second(), debug=True)

    async def second() -> None:
        with anyio.CancelScope() as scope:
            await idle.wait(asyncio.to_thread(rung.wait), scope, 30)
        ended.append(scope.cancelled_caught)

    asyncio.run(first())
    assert ended == [False]
    assert not faults
