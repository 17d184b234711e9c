"""Rules 12 and 13 of a flow: which failure wins, and parts that are answered early.

Knows: handlers that fail, sources that end, parts that are missing.
Must not know: commits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    LimitExceeded,
    Limits,
    Part,
    PartInfo,
    Router,
    TruncatedBody,
)
from tests.flow.support import Chunks, Diary, Field, cut, form, head, notes, read, reader

pytestmark = pytest.mark.anyio

BODY = form(("a", b"1"), ("b", b"22"), ("c", b"333"))


class TestWhichFailureWins:
    """Rule 12."""

    @pytest.mark.parametrize("size", [None, 20])
    async def test_the_handlers_own_exception_bare_with_a_note(self, size: int | None) -> None:
        error = ZeroDivisionError("mine")
        diary = Diary()
        router = Router()
        router.add(diary, name="a")

        @router.route(name="b")
        async def fail(part: Part) -> None:
            await part.read()
            raise error

        router.add(diary)
        with pytest.raises(ZeroDivisionError) as info:
            await router.dispatch(reader(BODY, size=size))
        assert info.value is error
        assert notes(error).count("in part 1 'b', handled by ") == 1
        assert diary.committed == []
        diary.check()

    async def test_of_two_the_earlier_part_wins_each_time(self) -> None:
        """200 runs: the second part fails first, the first part in the same two passes."""
        for _ in range(200):
            second = anyio.Event()
            router = Router()

            @router.route(name="a")
            async def one(part: Part, second: anyio.Event = second) -> None:
                await second.wait()
                raise KeyError("first part")

            @router.route(name="b")
            async def two(part: Part, second: anyio.Event = second) -> None:
                second.set()
                raise ValueError("second part")

            router.add(read)
            with pytest.raises(KeyError) as info:
                await router.dispatch(reader(BODY))
            assert "also failed: part 1 'b': ValueError('second part')" in notes(info.value)

    async def test_two_that_fail_in_the_same_pass(self) -> None:
        for _ in range(200):
            go = anyio.Event()
            router = Router()

            @router.route()
            async def handle(part: Part, go: anyio.Event = go) -> None:
                if part.name == "c":
                    go.set()
                else:
                    await go.wait()
                    raise ValueError(part.name)

            with pytest.raises(ValueError, match="a") as info:
                await router.dispatch(reader(BODY))
            assert notes(info.value).count("also failed") == 1

    async def test_what_fails_because_of_the_cancellation_never_wins(self) -> None:
        router = Router()
        started = anyio.Event()

        @router.route(name="a")
        async def late(part: Part) -> None:
            try:
                started.set()
                await anyio.sleep_forever()
            except BaseException:
                raise KeyError("because of it") from None

        @router.route(name="b")
        async def first(part: Part) -> None:
            await started.wait()
            raise ValueError("the first")

        router.add(read)
        with pytest.raises(ValueError, match="the first"):
            await router.dispatch(reader(BODY))

    @pytest.mark.parametrize("size", [None, 9])
    async def test_a_wire_error_beats_the_failures_that_it_causes(self, size: int | None) -> None:
        causes: list[BaseException] = []
        router = Router()

        @router.route()
        async def handle(part: Part) -> None:
            try:
                await part.read()
            except TruncatedBody as error:
                causes.append(error)
                raise RuntimeError("wrapped") from error

        # The last part has come, but for its end.
        with pytest.raises(TruncatedBody) as info:
            await router.dispatch(reader(BODY[: BODY.index(b"333") + 2], size=size))
        assert causes in ([], [info.value])
        assert info.value.part is not None
        assert info.value.part.name == "c"

    async def test_an_open_part_never_sees_a_clean_end(self) -> None:
        """Also for a handler that would take the error for an end."""
        seen: list[object] = []
        router = Router()

        @router.route()
        async def handle(part: Part) -> bytes:
            data = b""
            try:
                async for chunk in part:
                    data += chunk
                seen.append("clean end")
            except TruncatedBody as error:
                seen.append(error)
            return data

        body = form(("a", b"x" * 1000))[:-30]
        with pytest.raises(TruncatedBody) as info:
            await router.dispatch(reader(body, size=100))
        assert seen == [info.value]

    async def test_a_failing_source(self) -> None:
        error = OSError("gone")
        diary = Diary()
        router = Router()
        router.add(diary)

        async def before() -> None:
            await checkpoint()
            if source.given > 150:
                raise error

        source = Chunks(cut(BODY, 20), before)
        with pytest.raises(OSError, match="gone") as info:
            await router.dispatch(reader(source))
        assert info.value is error
        diary.check()
        assert diary.committed == []

    async def test_many_failures_are_noted_within_reason(self) -> None:
        go = anyio.Event()
        router = Router(max_handlers=40)

        @router.route()
        async def fail(part: Part) -> None:
            if part.index == 39:
                go.set()
            await go.wait()
            raise ValueError(part.index)

        with pytest.raises(ValueError, match="0") as info:
            await router.dispatch(reader(form(*[("n", b"")] * 40)))
        assert notes(info.value).count("also failed") == 10

    async def test_an_exception_that_several_handlers_share(self) -> None:
        error = ValueError("shared")
        router = Router()

        @router.route()
        async def fail(part: Part) -> None:
            raise error

        with pytest.raises(ValueError, match="shared") as info:
            await router.dispatch(reader(BODY))
        assert info.value is error

    async def test_a_handlers_group_beside_its_cancellation(self) -> None:
        """A task of the handler's that fails while it is cancelled changes nothing."""
        error = ZeroDivisionError()
        started = anyio.Event()
        router = Router()

        async def stubborn() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise KeyError("in the cleanup")

        @router.route(name="a")
        async def spawn(part: Part) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stubborn)
                await checkpoint()
                started.set()
                await anyio.sleep_forever()

        @router.route(name="b")
        async def fail(part: Part) -> None:
            await started.wait()
            raise error

        router.add(read)
        with pytest.raises(ZeroDivisionError) as info:
            await router.dispatch(reader(BODY))
        assert info.value is error

    async def test_a_handlers_group_beside_the_callers_cancellation(self) -> None:
        router = Router()

        async def stubborn() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise KeyError("in the cleanup")

        @router.route()
        async def spawn(part: Part) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stubborn)
                await checkpoint()
                await checkpoint()
                scope.cancel()

        with anyio.CancelScope() as scope:
            await router.dispatch(reader(BODY))
        assert scope.cancelled_caught


class TestEarlyAnswers:
    """Rule 13."""

    @pytest.mark.parametrize("size", [None, 10_000, 100])
    async def test_the_rest_is_drained(self, size: int | None) -> None:
        router = Router()

        @router.route(name="big")
        async def peek(part: Part) -> bytes:
            return await part.peek(3)

        @router.route()
        async def never(part: Part) -> None:
            return None

        body = form(("big", b"abc" * 100_000), ("next", b"x" * 200_000), ("last", b""))
        results = await router.dispatch(reader(body, size=size))
        assert results["big"] == b"abc"
        assert [h.part.size for h in results] == [300_000, 200_000, 0]

    async def test_drained_bytes_count(self) -> None:
        router = Router(limits=Limits(max_total_bytes=100_000))

        @router.route()
        async def never(part: Part) -> None:
            return None

        source = Chunks([head(Field("big")), *[b"x" * 1000] * 500])
        with pytest.raises(LimitExceeded) as info:
            await router.dispatch(reader(source))
        assert info.value.limit == "max_total_bytes"
        assert source.given < 110_000

    async def test_the_part_is_current_until_the_answer_and_closed_after_it(self) -> None:
        parts: list[Part] = []
        router = Router()

        @router.route(name="a")
        async def one(part: Part) -> None:
            parts.append(part)
            for _ in range(10):
                await checkpoint()  # the pump is past this part long since
            assert await part.read() == b"1"

        @router.route()
        @asynccontextmanager
        async def two(part: Part) -> AsyncIterator[None]:
            parts.append(part)
            yield
            with pytest.raises(anyio.ClosedResourceError):
                await part.receive()

        async with router.flow(reader(BODY)):
            for part in parts:
                with pytest.raises(anyio.ClosedResourceError):
                    await part.receive()
                with pytest.raises(anyio.ClosedResourceError):
                    await part.read()
        assert len(parts) == 3

    async def test_results_keep_no_body(self) -> None:
        router = Router()

        @router.route()
        async def handle(part: Part) -> None:
            return None

        results = await router.dispatch(reader(BODY))
        assert [type(h.part) for h in results] == [PartInfo] * 3
        assert [h.part.size for h in results] == [1, 2, 3]

    async def test_a_two_phase_handler_that_never_reads(self) -> None:
        log: list[str] = []
        router = Router()

        @router.route()
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[None]:
            yield
            log.append(part.name or "")

        await router.dispatch(reader(form(("a", b"x" * 300_000), ("b", b"y")), size=1000))
        assert log == ["a", "b"]
