"""Rule 20 of a flow: what commits before the outer flow does is refused.

Knows: flows inside handlers. Must not know: `Nested`, which is made of them.
"""

# ruff: noqa: PT012 - what leaves the block of a flow is what is tested

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mpflow import (
    CommitFailed,
    Part,
    Results,
    RouteError,
    Router,
)
from tests.flow.support import Diary, fails, form, names, nested, read, reader, routed

pytestmark = pytest.mark.anyio

BODY = form(*[(name, name.encode()) for name in "abcd"])


class TestFlowsOfFlows:
    """Rule 20: what commits before the outer flow does is refused."""

    BODY = form(nested("x", ("a", b"1"), ("b", b"2")), ("c", b"3"))

    async def refused(self, outer: Router, diary: Diary) -> None:
        outer.add(diary)
        with pytest.raises(RouteError, match="would commit before it: use Nested") as info:
            await outer.dispatch(reader(self.BODY))
        assert info.value.part is not None
        assert info.value.part.name == "x"
        assert diary.committed == []

    async def test_dispatch_in_one_phase(self) -> None:
        diary = Diary()
        inner, outer = routed(diary), Router()

        @outer.route(content_type="multipart/*")
        async def handle(part: Part) -> Results:
            return await inner.dispatch(part.multipart())

        await self.refused(outer, diary)

    async def test_flow_in_one_phase(self) -> None:
        diary = Diary()
        inner, outer = routed(diary), Router()

        @outer.route(content_type="multipart/*")
        async def handle(part: Part) -> Results:
            async with inner.flow(part.multipart()) as flow:
                return flow.results

        await self.refused(outer, diary)

    async def test_dispatch_in_two_phases(self) -> None:
        diary = Diary()
        inner, outer = routed(diary), Router()

        @outer.route(content_type="multipart/*")
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[Results]:
            yield await inner.dispatch(part.multipart())

        await self.refused(outer, diary)

    async def test_at_any_depth(self) -> None:
        """A reader of a part inside the part is no way around it."""
        diary = Diary()
        inner, outer = routed(diary), Router()

        @outer.route(content_type="multipart/*")
        async def handle(part: Part) -> None:
            async for within in part.multipart():
                await inner.dispatch(within.multipart())

        body = form(nested("x", nested("y", ("a", b"1"), boundary="deep")))
        with pytest.raises(RouteError, match="would commit before it"):
            await outer.dispatch(reader(body))
        assert diary.committed == []

    @pytest.mark.parametrize("phases", [1, 2])
    async def test_independent(self, phases: int) -> None:
        diary = Diary()
        inner, outer = routed(diary), Router()

        async def one(part: Part) -> Results:
            return await inner.dispatch(part.multipart(), independent=True)

        @asynccontextmanager
        async def two(part: Part) -> AsyncIterator[Results]:
            async with inner.flow(part.multipart(), independent=True) as flow:
                await flow.commit()
            yield flow.results

        outer.add(one if phases == 1 else two, content_type="multipart/*")
        outer.add(read)
        with pytest.raises(ZeroDivisionError):
            async with outer.flow(reader(self.BODY)) as flow:
                assert flow.results["x"]["a"] == b"1"
                assert diary.committed == ["a", "b"]
                raise ZeroDivisionError
        assert diary.rolled_back == []

    @pytest.mark.parametrize("ends_well", [True, False])
    async def test_flow_in_two_phases(self, ends_well: bool) -> None:
        diary = Diary()
        inner, outer = routed(diary), Router()

        @outer.route(content_type="multipart/*")
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[Results]:
            async with inner.flow(part.multipart()) as flow:
                yield flow.results

        outer.add(diary)
        if ends_well:
            await outer.dispatch(reader(self.BODY))
            assert diary.committed == ["a", "b", "c"]
        else:
            with pytest.raises(ZeroDivisionError):
                async with outer.flow(reader(self.BODY)):
                    raise ZeroDivisionError
            assert diary.rolled_back == ["c", "b", "a"]
            # The inner flow passes on what it was told, with the outer reason as the cause.
            reason = diary.reasons[-1].__cause__
            assert isinstance(reason, ZeroDivisionError)

    async def test_an_inner_commit_that_fails(self) -> None:
        diary = Diary(fails("commit", "b", KeyError()))
        inner, outer = routed(diary), Router()
        outer.add(lambda part: inner.flow(part.multipart()), content_type="multipart/*")
        outer.add(diary)
        with pytest.raises(CommitFailed) as info:
            await outer.dispatch(reader(self.BODY))
        assert info.value.committed == ()
        assert isinstance(info.value.__cause__, CommitFailed)
        assert names(info.value.__cause__.committed) == ["a"]
        assert diary.committed == ["a"]
        assert diary.rolled_back == ["b", "c"]
