"""Rules 16 and 19 of a flow: commit, and what waits for it.

Knows: two-phase handlers that fail, hang and shield themselves at any step.
Must not know: how the decision reaches them.
"""

# ruff: noqa: PT012 - what leaves the block of a flow is what is tested

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    CommitFailed,
    HandlerTimeout,
    Part,
    Results,
    RouteError,
    Router,
)
from mpflow.flow import COMMIT_TIMEOUT
from tests.clock import virtual_time
from tests.flow.support import Diary, fails, form, names, nested, reader, routed

pytestmark = pytest.mark.anyio

BODY = form(*[(name, name.encode()) for name in "abcd"])


class TestCommit:
    """Rule 16."""

    async def test_it_comes_after_the_block_in_wire_order(self) -> None:
        diary = Diary()
        async with routed(diary).flow(reader(BODY)) as flow:
            assert sorted(diary.staged) == list("abcd")
            assert diary.committed == []
            assert [h.value for h in flow.results] == [b"a", b"b", b"c", b"d"]
        assert diary.committed == list("abcd")

    async def test_one_at_a_time(self) -> None:
        at_work = 0

        async def step(what: str, name: str) -> None:
            nonlocal at_work
            if what == "commit":
                at_work += 1
                assert at_work == 1
                for _ in range(5):
                    await checkpoint()
                at_work -= 1

        await routed(Diary(step)).dispatch(reader(BODY))

    async def test_in_the_block(self) -> None:
        diary = Diary()
        async with routed(diary).flow(reader(BODY)) as flow:
            await flow.commit()
            assert diary.committed == list("abcd")
            with pytest.raises(RouteError, match="expected an open flow to commit"):
                await flow.commit()
            with pytest.raises(RouteError, match="expected an open flow to abort"):
                await flow.abort()
        assert diary.committed == list("abcd")

    async def test_what_comes_after_it_in_the_block_undoes_nothing(self) -> None:
        diary = Diary()
        with pytest.raises(ZeroDivisionError):
            async with routed(diary).flow(reader(BODY)) as flow:
                await flow.commit()
                raise ZeroDivisionError
        assert diary.committed == list("abcd")
        assert diary.rolled_back == []

    @pytest.mark.parametrize("failing", "abcd")
    @pytest.mark.parametrize("where", ["end", "block"])
    async def test_one_that_fails(self, failing: str, where: str) -> None:
        error = ZeroDivisionError()
        diary = Diary(fails("commit", failing, error))
        at = "abcd".index(failing)
        with pytest.raises(CommitFailed) as info:
            async with routed(diary).flow(reader(BODY)) as flow:
                if where == "block":
                    await flow.commit()
        failed = info.value
        assert failed.__cause__ is error
        assert names(failed.committed) == list("abcd"[:at])
        assert failed.failed.part.name == failing
        assert names(failed.rolled_back) == list("abcd"[at + 1 :])
        assert failed.part is not None
        assert failed.part.name == failing
        assert diary.committed == list("abcd"[:at])
        # The handler that failed undoes its own; the rest follows in reverse.
        assert diary.rolled_back == [failing, *reversed("abcd"[at + 1 :])]

    async def test_one_that_fails_in_a_block_that_catches_it(self) -> None:
        diary = Diary(fails("commit", "b", KeyError()))
        async with routed(diary).flow(reader(BODY)) as flow:
            with pytest.raises(CommitFailed):
                await flow.commit()
        assert diary.committed == ["a"]
        assert diary.rolled_back == ["b", "d", "c"]

    @virtual_time
    async def test_each_has_a_deadline(self) -> None:
        async def step(what: str, name: str) -> None:
            if (what, name) == ("commit", "b"):
                await anyio.sleep_forever()
            if what == "commit":
                await anyio.sleep(COMMIT_TIMEOUT - 1)

        diary = Diary(step)
        start = anyio.current_time()
        with pytest.raises(CommitFailed) as info:
            await routed(diary).dispatch(reader(BODY))
        assert isinstance(info.value.__cause__, HandlerTimeout)
        assert anyio.current_time() - start == pytest.approx(2 * COMMIT_TIMEOUT - 1)
        assert diary.committed == ["a"]

    async def test_the_outer_cancellation_waits_from_the_first_on(self) -> None:
        async def step(what: str, name: str) -> None:
            if (what, name) == ("commit", "a"):
                scope.cancel()
            await checkpoint()

        diary = Diary(step)
        results: Results | None = None
        with anyio.CancelScope() as scope:
            results = await routed(diary).dispatch(reader(BODY))
        assert results is not None
        assert [h.value for h in results] == [b"a", b"b", b"c", b"d"]
        assert diary.committed == list("abcd")

    async def test_a_failed_commit_is_reported_though_the_caller_is_cancelled(self) -> None:
        async def step(what: str, name: str) -> None:
            if (what, name) == ("commit", "b"):
                scope.cancel()
                raise ZeroDivisionError

        diary = Diary(step)
        with anyio.CancelScope() as scope, pytest.raises(CommitFailed) as info:
            await routed(diary).dispatch(reader(BODY))
        assert names(info.value.committed) == ["a"]
        assert diary.rolled_back == ["b", "d", "c"]

    async def test_the_outer_cancellation_before_the_first(self) -> None:
        diary = Diary()
        with anyio.CancelScope() as scope:
            async with routed(diary).flow(reader(BODY)):
                scope.cancel()
        assert scope.cancelled_caught
        assert diary.committed == []
        assert diary.rolled_back == list("dcba")
        assert not any(isinstance(e, anyio.get_cancelled_exc_class()) for e in diary.reasons)


class TestDescriptors:
    """Rule 19."""

    async def test_64_may_be_held_open(self) -> None:
        asked: list[bool] = []
        router = Router()

        @router.route()
        @asynccontextmanager
        async def hold(part: Part) -> AsyncIterator[None]:
            asked.append(part.hold_descriptor())
            yield

        async with router.flow(reader(form(*[("n", b"")] * 100))):
            assert asked.count(True) == 64
            assert asked.count(False) == 36

    async def test_they_come_back(self) -> None:
        asked: list[bool] = []
        router = Router()

        @router.route(name="one", on_error="collect")
        async def one(part: Part) -> None:
            asked.append(part.hold_descriptor())
            if part.index % 2:
                raise KeyError

        @router.route(name="two", on_error="collect")
        @asynccontextmanager
        async def two(part: Part) -> AsyncIterator[None]:
            asked.append(part.hold_descriptor())
            raise KeyError
            yield

        await router.dispatch(reader(form(*[("one", b""), ("two", b"")] * 150)))
        assert asked == [True] * 300

    async def test_inner_flows_share_them(self) -> None:
        asked: list[bool] = []
        inner = Router()

        @inner.route()
        @asynccontextmanager
        async def hold(part: Part) -> AsyncIterator[None]:
            asked.append(part.hold_descriptor())
            yield

        outer = Router()
        outer.add(lambda part: inner.flow(part.multipart()))
        many = [("n", b"")] * 40
        await outer.dispatch(reader(form(nested("x", *many), nested("y", *many))))
        assert asked.count(True) == 64
