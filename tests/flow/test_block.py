"""Rules 6 and 18 of a flow: the block, and what leaves it.

Knows: `async with router.flow(...)`. Must not know: how a commit goes.
"""

# ruff: noqa: PT012 - what leaves the block of a flow is what is tested

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    FlowAborted,
    Part,
    RouteError,
    Router,
)
from tests.flow.support import Diary, Field, form, notes, reader, routed

pytestmark = pytest.mark.anyio

BODY = form(*[(name, name.encode()) for name in "abcd"])


class TestTheBlock:
    """Rules 6 and 18."""

    async def test_its_exception_comes_out_untouched(self) -> None:
        for error in (KeyError("x"), ExceptionGroup("mine", [ValueError()]), BaseException("odd")):
            with pytest.raises(type(error)) as info:
                async with routed(Diary()).flow(reader(BODY)):
                    raise error
            assert info.value is error
            assert notes(error) == ""
            assert error.__context__ is None

    async def test_leaving_it_early_commits(self) -> None:
        diary = Diary()

        async def insert() -> bytes:
            async with routed(diary).flow(reader(BODY)) as flow:
                return bytes(flow.results["a"])

        assert await insert() == b"a"
        assert diary.committed == list("abcd")

    async def test_abort(self) -> None:
        diary = Diary()
        async with routed(diary).flow(reader(BODY)) as flow:
            await flow.abort()
            assert diary.rolled_back == list("dcba")
            with pytest.raises(RouteError, match="rolled back"):
                await flow.commit()
        assert diary.committed == []
        assert all(isinstance(e.__cause__, FlowAborted) for e in diary.reasons)

    async def test_abort_with_a_reason(self) -> None:
        diary = Diary()
        reason = KeyError()
        async with routed(diary).flow(reader(BODY)) as flow:
            await flow.abort(reason)
        assert all(e.__cause__ is reason for e in diary.reasons)

    async def test_a_parked_handler_that_raises_shows_at_its_end(self) -> None:
        """Rule 18: it has failed its part; the block itself is never cancelled."""
        go = anyio.Event()
        error = ZeroDivisionError()
        diary = Diary()
        router = Router()
        reached = False

        class Impatient:
            """Ends by itself while it waits: it cancels the task that is parked in it."""

            def __init__(self, part: Part) -> None:
                self.part = part

            async def __aenter__(self) -> None:
                self.tasks = anyio.create_task_group()
                await self.tasks.__aenter__()

                async def fail() -> None:
                    await go.wait()
                    raise error

                self.tasks.start_soon(fail)

            async def __aexit__(self, *args: object) -> None:
                try:
                    await self.tasks.__aexit__(*args)  # type: ignore[arg-type]
                except ExceptionGroup as group:
                    raise group.exceptions[0] from None

        router.add(Impatient, name="b")
        router.add(diary)
        with pytest.raises(ZeroDivisionError) as info:
            async with router.flow(reader(BODY)):
                go.set()
                for _ in range(10):
                    await checkpoint()
                reached = True
        assert reached
        assert info.value is error
        assert "in part 1 'b'" in notes(error)
        assert diary.committed == []
        assert diary.rolled_back == list("dca")

    async def test_a_parked_handler_that_swallows_its_end(self) -> None:
        go = anyio.Event()
        router = Router()

        @router.route()
        @asynccontextmanager
        async def leaves(part: Part) -> AsyncIterator[None]:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:

                    async def cancel() -> None:
                        await go.wait()
                        scope.cancel()

                    tasks.start_soon(cancel)
                    yield

        with pytest.raises(RouteError, match="ended before the flow had decided"):
            async with router.flow(reader(form(("a", b"")))):
                go.set()
                for _ in range(10):
                    await checkpoint()

    async def test_the_blocks_exception_beats_a_parked_failure(self) -> None:
        go = anyio.Event()
        router = Router()

        @router.route()
        @asynccontextmanager
        async def fails_later(part: Part) -> AsyncIterator[None]:
            async def fail() -> None:
                await go.wait()
                raise ValueError

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail)
                yield

        error = KeyError()
        with pytest.raises(KeyError) as info:
            async with router.flow(reader(BODY)):
                go.set()
                for _ in range(10):
                    await checkpoint()
                raise error
        assert info.value is error

    async def test_a_flow_is_entered_once(self) -> None:
        flow = routed(Diary()).flow(reader(BODY))
        with pytest.raises(RouteError, match="expected a flow that was entered"):
            _ = flow.results
        async with flow:
            with pytest.raises(RouteError, match="entered once"):
                await flow.__aenter__()

    async def test_an_unknown_epilogue(self) -> None:
        with pytest.raises(RouteError, match="epilogue='read' or 'ignore', got 'drop'"):
            Router().flow(reader(BODY), epilogue="drop")  # type: ignore[arg-type]


async def test_the_fields_of_a_part_that_was_staged(tmp_path: object) -> None:
    """Results are there in the block, with sizes, and stay the same objects after it."""
    diary = Diary()
    checks: list[Callable[[], bool]] = []
    async with routed(diary).flow(reader(form(Field("f", b"123", filename="x.bin")))) as flow:
        results = flow.results
        checks.append(lambda: flow.results is results)
        assert results["f"] == b"123"
        assert [h.part.size for h in results] == [3]
        assert [h.part.filename for h in results] == ["x.bin"]
    assert all(check() for check in checks)
