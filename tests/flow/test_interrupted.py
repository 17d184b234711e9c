"""Rules 16 and 17, for what knows no shields: asyncio's own `cancel()`, and KeyboardInterrupt.

Knows: how either interrupts a wait. Must not know: how the flow goes on.
"""

from __future__ import annotations

import asyncio

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    CommitFailed,
    Part,
    Router,
)
from tests.flow.support import Diary, form, notes, reader, routed

pytestmark = pytest.mark.anyio

BODY = form(*[(name, name.encode()) for name in "abcd"])


class TestInterrupted:
    """Rule 16, for what knows no shields: asyncio's own `cancel()`, and KeyboardInterrupt."""

    @pytest.fixture(params=["asyncio", "uvloop"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> object:
        return "asyncio", {"use_uvloop": request.param == "uvloop"}

    @pytest.mark.parametrize("times", [1, 3])
    @pytest.mark.parametrize("at", ["a", "b", "d"])
    async def test_a_commit_goes_on(self, at: str, times: int) -> None:
        async def step(what: str, name: str) -> None:
            if what == "commit" and name >= at:
                for _ in range(times):
                    task.cancel()
                    await checkpoint()
                    await checkpoint()

        diary = Diary(step)
        task = asyncio.create_task(routed(diary).dispatch(reader(BODY)))
        with pytest.raises(asyncio.CancelledError) as info:
            await task
        assert diary.committed == list("abcd")
        assert "4 parts were committed" in notes(info.value)

    async def test_a_failed_commit_is_reported(self) -> None:
        async def step(what: str, name: str) -> None:
            if what != "stage":
                task.cancel()
                await checkpoint()
                await checkpoint()
            if (what, name) == ("commit", "b"):
                raise KeyError

        diary = Diary(step)
        task = asyncio.create_task(routed(diary).dispatch(reader(BODY)))
        with pytest.raises(CommitFailed):
            await task
        assert diary.committed == ["a"]
        assert diary.rolled_back == ["b", "d", "c"]

    async def test_a_rollback_goes_on(self) -> None:
        async def step(what: str, name: str) -> None:
            if what == "rollback":
                task.cancel()
                await checkpoint()
                await checkpoint()

        diary = Diary(step)

        async def fail() -> None:
            async with routed(diary).flow(reader(BODY)):
                raise ZeroDivisionError

        task = asyncio.create_task(fail())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert diary.rolled_back == list("dcba")

    async def test_while_the_failure_is_found(self) -> None:
        """Cancelled in each of the passes between a failure and its end."""
        for passes in range(12):
            diary = Diary()
            router = Router()
            router.add(diary, name="a")

            @router.route()
            async def fail(part: Part) -> None:
                raise ZeroDivisionError

            task = asyncio.create_task(router.dispatch(reader(BODY)))
            for _ in range(passes):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises((asyncio.CancelledError, ZeroDivisionError)):
                await task
            diary.check()
            assert diary.committed == []

    async def test_a_timeout_of_asyncios_own(self) -> None:
        diary = Diary()
        router = Router()
        router.add(diary, name="a")

        @router.route()
        async def slow(part: Part) -> None:
            while diary.staged != ["a"]:
                await checkpoint()
            timer.reschedule(asyncio.get_running_loop().time())
            await anyio.sleep_forever()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as timer:
                await router.dispatch(reader(BODY))
        assert diary.rolled_back == ["a"]


@pytest.mark.parametrize("what", ["commit", "rollback"])
def test_ctrl_c_on_trio(what: str) -> None:
    """The caller's task gets it while it waits for the second phase: that goes on to its end."""
    import signal

    import trio

    async def step(doing: str, name: str) -> None:
        if (doing, name) == (what, "b"):
            signal.raise_signal(signal.SIGINT)
            for _ in range(5):
                await checkpoint()

    diary = Diary(step)

    async def main() -> None:
        async with routed(diary).flow(reader(BODY)):
            if what == "rollback":
                raise ZeroDivisionError

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, restrict_keyboard_interrupt_to_checkpoints=True)
    assert diary.committed + diary.rolled_back == list("abcd" if what == "commit" else "dcba")
