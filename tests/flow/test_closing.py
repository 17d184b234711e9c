"""How a flow is left: what is interrupted there, and what cannot be closed.

Knows: asyncio's own `cancel` at each step, readers that fail as they are closed.
Must not know: the steps of the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from tempfile import TemporaryFile
from typing import IO

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import MultipartReader, Part, Router
from mpflow.reports import FlowFinished, Report
from tests.flow.support import CONTENT_TYPE, Diary, form, notes, read, reader

pytestmark = pytest.mark.anyio


class Boom(Exception):
    """A failure on purpose."""


class Unclosable:
    """A source that fails as it is closed."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            yield self.body
            yield b"an epilogue that nobody asks for"
        finally:
            raise OSError("the log is down")


# -- a reader that is closed with its flow -----------------------------------------------------


def dispatching(router: Router, told: list[Report]) -> tuple[Router, MultipartReader]:
    observed = Router(observer=told.append)
    observed.include(router)
    return observed, MultipartReader(Unclosable(form(("a", b"1"))), CONTENT_TYPE)


async def test_a_handler_s_failure_is_not_masked() -> None:
    async def boom(part: Part) -> None:
        raise Boom

    told, router = list[Report](), Router()
    router.add(boom)
    router, source = dispatching(router, told)
    flow = router.flow(source, epilogue="ignore")
    flow.owns_reader = True
    with pytest.raises(Boom) as caught:
        await flow.__aenter__()
    assert "the flow could not be closed: OSError('the log is down')" in notes(caught.value)
    assert_ended(told, "rolled back", caught.value)


async def test_nor_is_the_block_s() -> None:
    told, router, diary = list[Report](), Router(), Diary()
    router.add(diary)
    router, source = dispatching(router, told)
    flow = router.flow(source, epilogue="ignore")
    flow.owns_reader = True
    with pytest.raises(Boom) as caught:
        async with flow:
            raise Boom
    assert "OSError('the log is down')" in notes(caught.value)
    assert diary.rolled_back == ["a"]
    assert_ended(told, "rolled back", caught.value)


async def test_where_all_went_well_it_comes_out_and_tells_what_was_committed() -> None:
    told, router, diary = list[Report](), Router(), Diary()
    router.add(diary)
    router, source = dispatching(router, told)
    flow = router.flow(source, epilogue="ignore")
    flow.owns_reader = True
    with pytest.raises(OSError, match="the log is down") as caught:
        async with flow:
            pass
    assert notes(caught.value) == "1 parts were committed"
    assert diary.committed == ["a"]
    assert_ended(told, "committed", caught.value)


async def test_a_cancellation_beside_it_stays_one() -> None:
    told, router = list[Report](), Router()
    router.add(read)
    router, source = dispatching(router, told)
    flow = router.flow(source, epilogue="ignore")
    flow.owns_reader = True
    with anyio.CancelScope() as scope:
        async with flow:
            scope.cancel()
            await checkpoint()
    assert scope.cancelled_caught
    assert [it.outcome for it in told if isinstance(it, FlowFinished)] == ["rolled back"]


def assert_ended(told: list[Report], outcome: str, error: BaseException) -> None:
    """The flow's end was told, once."""
    (finished,) = (it for it in told if isinstance(it, FlowFinished))
    assert (finished.outcome, finished.error) == (outcome, error)
    assert told[-1] is finished


# -- asyncio's own cancellation ----------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})])
class TestCancelledPastAllScopes:
    """The dispatch is cancelled after each number of steps."""

    async def test_what_was_committed_is_told(self) -> None:
        outcomes = set[str]()
        for steps in range(40):
            told, diary = list[Report](), Diary()
            router = Router(observer=told.append)
            router.add(diary)
            error = await cancelled(router, reader(form(("a", b"1"))), steps)
            assert told == [] or isinstance(told[-1], FlowFinished)
            if error is not None and diary.committed:
                assert notes(error) == "1 parts were committed"
                assert_ended(told, "committed", error)
                outcomes.add("told")
            elif error is None:
                assert diary.committed == ["a"]
                outcomes.add("whole")
            else:
                outcomes.add("cancelled")
        assert outcomes == {"told", "whole", "cancelled"}

    async def test_the_file_of_spooled_parts_is_closed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = list[IO[bytes]]()

        def make(prefix: str) -> IO[bytes]:
            files.append(TemporaryFile(prefix=prefix))  # noqa: SIM115 - the flow closes it
            return files[-1]

        async def needs(part: Part, b: bytes) -> bytes:
            return await part.read()

        @asynccontextmanager
        async def holds(part: Part) -> AsyncGenerator[bytes, None]:
            yield await part.read()
            cancels[-1]()  # what was kept has been read by then

        monkeypatch.setattr("mpflow.spool.TemporaryFile", make)
        router = Router()
        router.add(needs, name="a", needs="b", order="spool")
        router.add(holds, name="b")
        outcomes, cancels = set[bool](), list[Callable[[], None]]()
        for steps in range(12):
            source = reader(form(("a", b"1" * 400), ("b", b"2")))
            error = None
            cancels.append(partial(canceller(), steps))
            try:
                await router.dispatch(source)
            except asyncio.CancelledError as cancelled:
                error = cancelled
                assert notes(error) == "1 parts were committed"
            outcomes.add(error is None)
            await settle()
        assert outcomes == {True, False}
        assert len(files) == 12
        assert all(file.closed for file in files)


def canceller() -> Callable[[int], None]:
    """What cancels this task after so many turns of the loop."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def tick(left: int) -> None:
        if left:
            loop.call_soon(tick, left - 1)
        else:
            task.cancel()

    return tick


async def settle() -> None:
    """Take back a cancellation of this task that is there, or comes."""
    task = asyncio.current_task()
    assert task is not None
    for _ in range(20):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
    while task.cancelling():
        task.uncancel()


async def cancelled(
    router: Router, source: MultipartReader, steps: int
) -> asyncio.CancelledError | None:
    """What comes out of a dispatch that is cancelled then; None where it was over before."""
    canceller()(steps)
    try:
        await router.dispatch(source)
    except asyncio.CancelledError as error:
        return error
    finally:
        await settle()
    return None
