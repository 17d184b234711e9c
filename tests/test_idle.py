"""What bounds a wait, and counts only while something is waited for."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow.idle import Idle, Moved
from tests.clock import virtual_time

pytestmark = pytest.mark.anyio


class Seen:
    """Notes the deadlines of a scope at each step of a reading."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.scope = scope
        self.deadlines: list[float] = []

    def look(self) -> None:
        self.deadlines.append(self.scope.deadline)


async def test_what_does_not_wait_sets_no_deadline() -> None:
    with anyio.CancelScope() as scope:
        seen = Seen(scope)

        async def read() -> int:
            seen.look()
            return 3

        assert await Moved(read(), scope, 5) == 3
        assert seen.deadlines == [math.inf]
        assert scope.deadline == math.inf


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
        assert await Moved(read(), scope, 5) == "value"
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
                await Moved(read(waits), scope, 5)
            assert scope.deadline == math.inf


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
            await Moved(read(), scope, 500)
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
        await Moved(anyio.sleep_forever(), scope, 0)
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
async def test_what_fails_takes_the_timer_back() -> None:
    async def fail() -> None:
        await checkpoint()
        raise LookupError

    idle, before = Idle(), timers()
    with anyio.CancelScope() as scope:
        with pytest.raises(LookupError):
            await idle.wait(fail(), scope, 5)
    assert timers() == before


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
