"""Rules 22 to 25 of a flow: which clock runs when, and how reading ends.

Knows: virtual time. Must not know: how the clocks are kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    BrokenSource,
    HandlerTimeout,
    LimitExceeded,
    Limits,
    MalformedBody,
    Part,
    Results,
    Router,
    Stalled,
)
from tests.clock import virtual_time
from tests.flow.support import Chunks, Diary, cut, form, nested, read, reader

pytestmark = [pytest.mark.anyio, virtual_time]

BODY = form(("a", b"1"), ("b", b"22"), ("c", b"333"))
BIG = form(("big", b"x" * 1_000_000), ("last", b"y"))


def paced(body: bytes, *pauses: float, size: int = 40) -> Chunks:
    """A source that waits before each chunk; the last pause is repeated."""
    left = list(pauses)

    async def before() -> None:
        await anyio.sleep(left.pop(0) if len(left) > 1 else left[0])

    return Chunks(cut(body, size), before)


async def rest(part: Part) -> None:
    await anyio.sleep(50)
    await part.drain()


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

        router.add(two if two_phase else one, name="b", timeout=7)  # type: ignore[arg-type]
        router.add(diary)
        with pytest.raises(HandlerTimeout, match=r"within 7 s \(timeout\)"):
            await router.dispatch(reader(BODY))
        assert anyio.current_time() == pytest.approx(7, abs=0.5)
        assert sorted(diary.rolled_back) == ["a", "c"]

    @pytest.mark.parametrize("two_phase", [False, True])
    async def test_one_that_answers_though_its_time_was_over(self, two_phase: bool) -> None:
        router = Router()

        async def one(part: Part) -> str:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
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


class TestSources:
    """Rules 23 and 24."""

    async def test_one_that_holds_a_scope_over_its_yield(self) -> None:
        async def source() -> AsyncIterator[bytes]:
            with anyio.fail_after(1000):
                for chunk in cut(BODY, 30):
                    await anyio.sleep(5)
                    yield chunk

        router = Router()
        router.add(read)
        results = await router.dispatch(reader(source()))
        assert len(results) == 3

    async def test_one_that_hangs_in_its_scope(self) -> None:
        async def source() -> AsyncIterator[bytes]:
            with anyio.CancelScope():
                yield BODY[:50]
                await anyio.sleep_forever()

        router = Router()
        router.add(read)
        made = source()
        with pytest.raises(LimitExceeded):
            await router.dispatch(reader(made))
        await made.aclose()  # type: ignore[attr-defined]

    async def test_one_whose_read_was_cancelled_is_dead(self) -> None:
        """An async generator would look like a clean end."""

        async def source() -> AsyncIterator[bytes]:
            yield BODY[:50]
            await anyio.sleep_forever()

        made = reader(source())
        with anyio.move_on_after(5) as scope:
            await made.next_part()
        assert scope.cancelled_caught
        router = Router()
        router.add(read)
        with pytest.raises(BrokenSource):
            await router.dispatch(made)


class TestEpilogue:
    """Rule 25."""

    async def test_it_is_read_to_its_end_before_the_block(self) -> None:
        diary = Diary()
        router = Router()
        router.add(diary)
        source = Chunks([BODY, b"some", b"thing", b" else"])
        async with router.flow(reader(source)):
            assert source.ended
            assert diary.committed == []

    async def test_it_is_limited(self) -> None:
        diary = Diary()
        router = Router(limits=Limits(max_epilogue=10))
        router.add(diary)
        source = Chunks([BODY, *[b"abc"] * 1000])
        with pytest.raises(LimitExceeded) as info:
            await router.dispatch(reader(source))
        assert info.value.limit == "max_epilogue"
        assert source.given < len(BODY) + 20
        assert diary.committed == []
        diary.check()

    async def test_it_is_timed(self) -> None:
        router = Router()
        router.add(read)
        with pytest.raises(LimitExceeded) as info:
            await router.dispatch(reader(paced(BODY, 0, 100, size=len(BODY))))
        assert info.value.limit == "idle_timeout"

    async def test_it_can_be_ignored(self) -> None:
        router = Router()
        router.add(read)

        async def never() -> None:
            if source.given == len(BODY):
                await anyio.sleep_forever()

        source = Chunks([BODY, b"more"], never)
        results = await router.dispatch(reader(source), epilogue="ignore")
        assert len(results) == 3
        assert source.given == len(BODY)

    async def test_handlers_go_on_meanwhile(self) -> None:
        done: list[float] = []
        router = Router()

        @router.route()
        async def handle(part: Part) -> None:
            await anyio.sleep(5)
            done.append(anyio.current_time())

        async def before() -> None:
            await anyio.sleep(20 if source.given else 0)

        source = Chunks([BODY], before)
        await router.dispatch(reader(source))
        assert max(done) == pytest.approx(5, abs=0.5)

    async def test_of_a_nested_part(self) -> None:
        inner = Router(limits=Limits(max_epilogue=10))
        inner.add(read)
        outer = Router(limits=Limits(max_epilogue=10))
        outer.add(lambda part: inner.flow(part.multipart()), content_type="multipart/*")
        field = nested("x", ("a", b"1"))
        long = type(field)("x", field.data + b"epilogue" * 10, content_type=field.content_type)
        assert len(await outer.dispatch(reader(form(field)))) == 1
        with pytest.raises(LimitExceeded) as info:
            await outer.dispatch(reader(form(long)))
        assert info.value.limit == "max_epilogue"


async def test_a_slot_that_is_free_again_ends_the_wait() -> None:
    """Many parts, one slot, each within its time: the whole takes as long as it takes."""
    router = Router(max_handlers=1)

    @router.route()
    async def slow(part: Part) -> None:
        await anyio.sleep(20)

    await router.dispatch(reader(form(*[("n", b"x" * 100)] * 100), size=700))
    assert anyio.current_time() == pytest.approx(2000, abs=5)


async def test_reading_stops_at_what_is_malformed() -> None:
    router = Router()
    router.add(read)
    source = paced(form(("a", b"1")).replace(b"Content", b"Con\x00tent") + BIG, 1)
    with pytest.raises(MalformedBody):
        await router.dispatch(reader(source))
    assert source.given < 1000
    await checkpoint()
