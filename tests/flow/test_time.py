"""Rule 22 of a flow: which clock runs when.

Knows: virtual time. Must not know: how the clocks are kept.
"""

from __future__ import annotations

import anyio
import pytest

from mpflow import (
    LimitExceeded,
    Limits,
    Part,
    Router,
    Stalled,
)
from tests.clock import virtual_time
from tests.flow.support import Diary, form, nested, paced, read, reader

pytestmark = [pytest.mark.anyio, virtual_time]

BODY = form(("a", b"1"), ("b", b"22"), ("c", b"333"))
BIG = form(("big", b"x" * 1_000_000), ("last", b"y"))


class TestIdle:
    """Rule 22: `idle_timeout` runs while the source is awaited, and only then."""

    async def test_a_source_that_gives_nothing(self) -> None:
        diary = Diary()
        router = Router()
        router.add(diary)
        with pytest.raises(LimitExceeded, match="more of the body within 30") as info:
            await router.dispatch(reader(paced(BODY, 0, 0, 0, 1000)))
        assert info.value.limit == "idle_timeout"
        assert info.value.status == 408
        assert anyio.current_time() == pytest.approx(30, abs=1)
        assert diary.committed == []
        diary.check()

    async def test_a_slow_source_is_none(self) -> None:
        router = Router()
        router.add(read)
        results = await router.dispatch(reader(paced(BODY, 29)))
        assert [h.value for h in results] == [b"1", b"22", b"333"]
        assert anyio.current_time() > 29 * 5

    async def test_not_under_backpressure(self) -> None:
        async def slow(part: Part) -> int:
            size = 0
            async for chunk in part:
                await anyio.sleep(31)
                size += len(chunk)
            return size

        router = Router()
        router.add(slow, name="big")
        router.add(read)
        results = await router.dispatch(reader(BIG, size=50_000))
        assert results["big"] == 1_000_000
        assert anyio.current_time() > 300

    async def test_the_routers_limit_and_the_readers_tighter_one(self) -> None:
        for mine, others in ((3, 20), (20, 3)):
            router = Router(limits=Limits(idle_timeout=mine))
            router.add(read)
            start = anyio.current_time()
            source = reader(paced(BODY, 1000), limits=Limits(idle_timeout=others))
            with pytest.raises(LimitExceeded):
                await router.dispatch(source)
            assert anyio.current_time() - start == pytest.approx(3, abs=0.5)

    async def test_switched_off(self) -> None:
        router = Router(limits=Limits(idle_timeout=None, stall_timeout=None, handler_timeout=None))
        router.add(read)
        await router.dispatch(reader(paced(BODY, 5000)))
        assert anyio.current_time() >= 5000

    async def test_the_open_part_gets_the_error(self) -> None:
        seen: list[BaseException] = []
        router = Router()

        @router.route()
        async def watch(part: Part) -> None:
            try:
                await part.read()
            except LimitExceeded as error:
                seen.append(error)
                raise

        with pytest.raises(LimitExceeded) as info:
            await router.dispatch(reader(paced(BIG, 0, 0, 0, 1000)))
        assert seen == [info.value]


class TestStall:
    """Rule 22: a flow that waits for a handler while nothing moves."""

    async def test_a_handler_that_never_reads(self) -> None:
        diary = Diary()
        router = Router()

        @router.route(name="big")
        async def lazy(part: Part) -> None:
            await anyio.sleep_forever()

        router.add(diary)
        body = form(("first", b""), ("big", b"x" * 1_000_000))
        with pytest.raises(Stalled, match="lazy to go on within 60") as info:
            await router.dispatch(reader(body, size=10_000))
        assert info.value.part is not None
        assert info.value.part.name == "big"
        assert anyio.current_time() == pytest.approx(60, abs=1)
        assert diary.rolled_back == ["first"]

    async def test_handlers_that_wait_for_each_other(self) -> None:
        """The one that the body waits for is named, not the one that never came."""
        later = anyio.Event()
        router = Router()

        @router.route(name="big")
        async def waits(part: Part) -> None:
            await later.wait()

        @router.route(name="last")
        async def sets(part: Part) -> None:
            later.set()

        with pytest.raises(Stalled, match=r"waits to go on.*neither reads its part nor answers"):
            await router.dispatch(reader(BIG, size=10_000))

    async def test_one_that_is_alive_does_not_stall(self) -> None:
        router = Router()

        @router.route(name="big")
        async def busy(part: Part) -> None:
            for _ in range(10):
                await anyio.sleep(50)
                part.alive()
            await part.drain()

        router.add(read)
        await router.dispatch(reader(BIG, size=10_000))
        assert anyio.current_time() == pytest.approx(500, abs=1)

    async def test_reading_a_byte_at_a_time_is_no_stall(self) -> None:
        router = Router()

        @router.route(name="big")
        async def slow(part: Part) -> None:
            for _ in range(6):
                await anyio.sleep(50)
                await part.receive()
            await part.drain()

        router.add(read)
        await router.dispatch(reader(BIG, size=70_000))
        assert anyio.current_time() == pytest.approx(300, abs=1)

    @pytest.mark.parametrize("lines", [False, True])
    async def test_reading_what_is_ahead_is_no_stall(self, lines: bool) -> None:
        """Small pieces of a large one that came: each of them is movement."""
        router = Router()

        @router.route(name="big")
        async def slow(part: Part) -> None:
            for _ in range(200):
                await anyio.sleep(1)
                await (part.readline() if lines else part.receive(100))
            await part.drain()

        router.add(read)
        body = form(("big", (b"x" * 99 + b"\n") * 10_000))
        await router.dispatch(reader(body, size=70_000))
        assert anyio.current_time() == pytest.approx(200, abs=1)

    async def test_others_that_start_and_answer_are_movement(self) -> None:
        router = Router()

        @router.route(name="before")
        async def before(part: Part) -> None:
            await anyio.sleep(50)

        @router.route(name="big")
        async def lazy(part: Part) -> None:
            await anyio.sleep(100)
            await part.drain()

        router.add(read)
        fields = [("before", b""), ("big", b"x" * 300_000)]
        await router.dispatch(reader(form(*fields), size=10_000))
        assert anyio.current_time() == pytest.approx(100, abs=1)

    async def test_a_handler_with_its_whole_body_is_none(self) -> None:
        """Though the next part waits for its slot: it is bounded by `handler_timeout`."""
        router = Router(max_handlers=1)

        @router.route(name="small")
        async def scan(part: Part) -> None:
            await anyio.sleep(200)

        router.add(read)
        body = form(("small", b"x"), ("big", b"x" * 1_000_000))
        results = await router.dispatch(reader(body, size=10_000))
        assert results["big"] == b"x" * 1_000_000

    async def test_one_that_holds_the_slot_without_a_bound_is_named(self) -> None:
        later = anyio.Event()
        router = Router(max_handlers=1, limits=Limits(handler_timeout=None))

        @router.route(name="small")
        async def holder(part: Part) -> None:
            await later.wait()

        @router.route()
        async def waiter(part: Part) -> None:
            later.set()

        body = form(("small", b"x"), ("big", b"x" * 1_000_000))
        with pytest.raises(Stalled, match="holder"):
            await router.dispatch(reader(body, size=10_000))

    async def test_inner_handlers_report_to_the_outermost_clock(self) -> None:
        inner = Router()

        @inner.route(name="big")
        async def stuck(part: Part) -> None:
            await anyio.sleep_forever()

        outer = Router()
        outer.add(lambda part: inner.flow(part.multipart()), content_type="multipart/*")
        body = form(nested("x", ("big", b"x" * 1_000_000)))
        with pytest.raises(Stalled, match="stuck") as info:
            await outer.dispatch(reader(body, size=10_000))
        assert info.value.part is not None
        assert info.value.part.path == (0, 0)
        assert anyio.current_time() == pytest.approx(60, abs=1)
