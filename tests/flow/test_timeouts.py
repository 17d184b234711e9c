"""Rules 3 and 22 of a flow: `timeout=` and `handler_timeout`, and when no clock runs.

Knows: virtual time. Must not know: how the clocks are kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from mpflow import (
    HandlerTimeout,
    Limits,
    Part,
    Results,
    Router,
)
from tests.clock import virtual_time
from tests.flow.support import Diary, form, nested, paced, read, reader

pytestmark = [pytest.mark.anyio, virtual_time]

BODY = form(("a", b"1"), ("b", b"22"), ("c", b"333"))
BIG = form(("big", b"x" * 1_000_000), ("last", b"y"))


class TestHandlerTimeout:
    """Rules 3 and 22."""

    @pytest.mark.parametrize("size", [None, 20])
    async def test_from_the_whole_body_to_the_answer(self, size: int | None) -> None:
        router = Router()

        @router.route(name="b")
        async def hangs(part: Part) -> None:
            await part.read()
            await anyio.sleep_forever()

        router.add(read)
        with pytest.raises(HandlerTimeout, match=r"hangs within 300.0 s of having its") as info:
            await router.dispatch(reader(BODY, size=size))
        assert info.value.part is not None
        assert info.value.part.name == "b"
        assert anyio.current_time() == pytest.approx(300, abs=1)

    async def test_not_while_its_body_comes(self) -> None:
        router = Router()
        router.add(read)
        body = form(("a", b"x" * 1000))
        await router.dispatch(reader(paced(body, 25, size=40)))
        assert anyio.current_time() > 600

    async def test_not_waiting_for_a_slot(self) -> None:
        router = Router(max_handlers=1)

        @router.route(timeout=10)
        async def slow(part: Part) -> None:
            await anyio.sleep(8)

        await router.dispatch(reader(form(*[("n", b"")] * 100)))
        assert anyio.current_time() == pytest.approx(800, abs=1)

    async def test_lifted_once_answered(self) -> None:
        """Neither the block nor the commit is timed by it."""
        router = Router()

        @router.route(timeout=10)
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[None]:
            await anyio.sleep(9)
            yield
            await anyio.sleep(40)

        async with router.flow(reader(form(("a", b"")))):
            await anyio.sleep(10_000)
        assert anyio.current_time() == pytest.approx(10_049, abs=1)

    @pytest.mark.parametrize("two_phase", [False, True])
    async def test_of_the_route(self, two_phase: bool) -> None:
        diary = Diary()
        router = Router()

        async def one(part: Part) -> None:
            await anyio.sleep_forever()

        @asynccontextmanager
        async def two(part: Part) -> AsyncIterator[None]:
            await anyio.sleep_forever()
            yield

        router.add(two if two_phase else one, name="b", timeout=7)
        router.add(diary)
        with pytest.raises(HandlerTimeout, match=r"within 7 s \(timeout\)"):
            await router.dispatch(reader(BODY))
        assert anyio.current_time() == pytest.approx(7, abs=0.5)
        assert sorted(diary.rolled_back) == ["a", "c"]

    @pytest.mark.parametrize("two_phase", [False, True])
    async def test_one_that_answers_though_its_time_was_over(self, two_phase: bool) -> None:
        router = Router()

        async def one(part: Part) -> str:
            with suppress(anyio.get_cancelled_exc_class()):
                await anyio.sleep_forever()
            return "late"

        @asynccontextmanager
        async def two(part: Part) -> AsyncIterator[str]:
            yield await one(part)

        router.add(two if two_phase else one, timeout=7, on_error="collect")
        results = await router.dispatch(reader(form(("a", b""))))
        assert [type(h.error) for h in results] == [HandlerTimeout]

    async def test_one_that_turns_its_cancellation_into_an_error(self) -> None:
        router = Router()

        @router.route(timeout=7)
        async def handle(part: Part) -> None:
            try:
                await anyio.sleep_forever()
            except BaseException:
                raise KeyError("mine") from None

        with pytest.raises(HandlerTimeout) as info:
            await router.dispatch(reader(form(("a", b""))))
        assert isinstance(info.value.__cause__, KeyError)

    async def test_an_inner_flow_has_its_own(self) -> None:
        """Waiting for its nested flow, a handler is bounded by that; after it, by its own."""
        inner = Router()

        @inner.route()
        async def slow(part: Part) -> None:
            await anyio.sleep(250)

        outer = Router()

        @outer.route()
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[Results]:
            async with inner.flow(part.multipart()) as flow:
                await anyio.sleep(290)
                yield flow.results

        await outer.dispatch(reader(form(nested("x", ("a", b"")))))
        assert anyio.current_time() == pytest.approx(540, abs=1)

    async def test_a_hang_inside_the_inner_block_is_bounded(self) -> None:
        inner = Router()
        inner.add(read)
        outer = Router()

        @outer.route()
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[None]:
            async with inner.flow(part.multipart()):
                await anyio.sleep_forever()
                yield

        with pytest.raises(HandlerTimeout):
            await outer.dispatch(reader(form(nested("x", ("a", b"")))))
        assert anyio.current_time() == pytest.approx(300, abs=1)

    async def test_an_inner_handler_that_hangs(self) -> None:
        diary = Diary()
        inner = Router()

        @inner.route()
        async def hangs(part: Part) -> None:
            await anyio.sleep_forever()

        outer = Router()
        outer.add(lambda part: inner.flow(part.multipart()), content_type="multipart/*")
        outer.add(diary)
        with pytest.raises(HandlerTimeout, match="hangs") as info:
            await outer.dispatch(reader(form(("f", b""), nested("x", ("a", b"")))))
        assert info.value.part is not None
        assert info.value.part.path == (1, 0)
        assert diary.rolled_back == ["f"]


async def test_no_clock_runs_in_the_block_or_the_second_phase() -> None:
    """Rule 22."""

    async def step(what: str, name: str) -> None:
        if what != "stage":
            await anyio.sleep(25)

    limits = Limits(idle_timeout=1, stall_timeout=1, handler_timeout=1)
    for error in (None, KeyError()):
        diary = Diary(step)
        router = Router(limits=limits)
        router.add(diary)
        with suppress(KeyError):
            async with router.flow(reader(BODY)):
                await anyio.sleep(1000)
                if error is not None:
                    raise error
        assert (diary.committed or diary.rolled_back[::-1]) == ["a", "b", "c"]


async def test_a_slot_that_is_free_again_ends_the_wait() -> None:
    """Many parts, one slot, each within its time: the whole takes as long as it takes."""
    router = Router(max_handlers=1)

    @router.route()
    async def slow(part: Part) -> None:
        await anyio.sleep(20)

    await router.dispatch(reader(form(*[("n", b"x" * 100)] * 100), size=700))
    assert anyio.current_time() == pytest.approx(2000, abs=5)
