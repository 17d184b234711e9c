"""Rule 8 of a flow: who holds a slot, and when.

Knows: `max_handlers`, and flows inside flows. Must not know: how slots are counted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint

from mpflow import Flow, Part, Router
from tests.flow.support import Chunks, Diary, Field, cut, form, inner_flow, nested, read, reader

pytestmark = pytest.mark.anyio


@attrs.define(eq=False)
class Gauge:
    """Counts how many handlers are at work."""

    now: int = 0
    most: int = 0

    async def work(self, passes: int = 3) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(passes):
            await checkpoint()
        self.now -= 1


@pytest.mark.parametrize("slots", [1, 2, 3, 16])
async def test_at_most_max_handlers_run_at_once(slots: int) -> None:
    gauge = Gauge()
    router = Router(max_handlers=slots)

    @router.route()
    async def handle(part: Part) -> None:
        await gauge.work()

    await router.dispatch(reader(form(*[("n", b"x")] * 100)))
    assert gauge.most == slots
    assert gauge.now == 0


async def test_the_slots_are_shared_by_both_kinds() -> None:
    gauge = Gauge()
    router = Router(max_handlers=3)

    @router.route(name="one")
    async def one(part: Part) -> None:
        await gauge.work()

    @router.route(name="two")
    @asynccontextmanager
    async def two(part: Part) -> AsyncIterator[None]:
        await gauge.work()
        yield

    await router.dispatch(reader(form(*[("one", b"x"), ("two", b"y")] * 40)))
    assert gauge.most == 3


@pytest.mark.parametrize("size", [None, 33])
async def test_a_hundred_parts_wait_for_their_commit_without_a_slot(size: int | None) -> None:
    gauge = Gauge()
    parked = 0
    router = Router(max_handlers=2)

    @router.route()
    @asynccontextmanager
    async def handle(part: Part) -> AsyncGenerator[bytes, None]:
        nonlocal parked
        data = await part.read()
        await gauge.work()
        parked += 1
        yield data
        parked -= 1

    fields = [(f"n{i}", b"%d" % i) for i in range(100)]
    async with router.flow(reader(form(*fields), size=size)) as flow:
        assert parked == 100
        assert [h.value for h in flow.results] == [b"%d" % i for i in range(100)]
    assert parked == 0
    assert gauge.most <= 2


async def test_a_handler_that_blocks_holds_up_no_other_slot() -> None:
    """One worker that waits leaves the rest of the parts to the others."""
    done: list[str] = []
    last = anyio.Event()
    router = Router(max_handlers=2)

    @router.route()
    async def handle(part: Part) -> None:
        if part.name == "n0":
            await last.wait()
        elif part.name == "n50":
            last.set()
        done.append(part.name or "")

    await router.dispatch(reader(form(*[(f"n{i}", b"") for i in range(51)])))
    assert len(done) == 51
    assert done.index("n0") >= 49


async def test_slots_come_back_after_failures() -> None:
    router = Router(max_handlers=1)

    @router.route(on_error="collect")
    async def handle(part: Part) -> None:
        if part.index % 2:
            raise ZeroDivisionError
        await checkpoint()
        raise KeyError

    results = await router.dispatch(reader(form(*[("n", b"")] * 30)))
    assert [type(h.error) for h in results] == [KeyError, ZeroDivisionError] * 15


@pytest.mark.parametrize("size", [None, 7, 64])
async def test_inner_flows_have_slots_of_their_own(size: int | None) -> None:
    """A flow with one slot holds a flow with one slot: neither waits for the other."""
    diary = Diary()
    inner = Router(max_handlers=1)
    inner.add(diary)
    outer = Router(max_handlers=1)
    outer.add(inner_flow(inner), content_type="multipart/*")
    outer.add(diary)
    body = form(
        nested("x", ("a", b"1"), ("b", b"2")),
        ("c", b"3"),
        nested("y", ("d", b"4"), ("e", b"5")),
    )
    results = await outer.dispatch(reader(body, size=size))
    assert [h.value for h in results["x"]] == [b"1", b"2"]
    assert diary.committed == ["a", "b", "c", "d", "e"]
    diary.check()


@pytest.mark.parametrize("size", [None, 11])
async def test_inner_parts_run_while_the_outer_slot_would_be_taken(size: int | None) -> None:
    """Waiting for its own nested flow holds no slot: others of the outer level run meanwhile."""
    seen = anyio.Event()
    inner = Router(max_handlers=1)

    @inner.route()
    async def wait(part: Part) -> str:
        await seen.wait()
        return "answered"

    outer = Router(max_handlers=1)
    outer.add(inner_flow(inner), content_type="multipart/*")

    @outer.route(name="after")
    async def after(part: Part) -> None:
        seen.set()

    body = form(nested("x", ("a", b"1")), ("after", b""))
    results = await outer.dispatch(reader(body, size=size))
    assert [h.value for h in results["x"]] == ["answered"]


async def test_four_levels_with_one_slot_each() -> None:
    diary = Diary()
    router = Router(max_handlers=1)
    router.add(diary)
    field: Field | tuple[str, bytes] = ("leaf", b"deep")
    for depth in range(3):
        above = Router(max_handlers=1)
        above.add(inner_flow(router), content_type="multipart/*")
        above.add(diary)
        field = nested(f"m{depth}", field, (f"beside{depth}", b"x"), boundary=f"level{depth}")
        router = above
    for size in (None, 1, 50):
        diary.committed.clear()
        diary.staged.clear()
        results = await router.dispatch(reader(form(field, ("last", b"y")), size=size))
        assert sorted(diary.committed) == ["beside0", "beside1", "beside2", "last", "leaf"]
        assert results["m2"]["m1"]["m0"]["leaf"] == b"deep"
    assert diary.rolled_back == []


async def test_a_failure_deep_down_rolls_everything_back_and_comes_out_bare() -> None:
    diary = Diary()
    error = ZeroDivisionError()
    inner = Router(max_handlers=1)
    inner.add(diary, name="a")

    @inner.route()
    async def fail(part: Part) -> None:
        raise error

    outer = Router(max_handlers=1)
    outer.add(inner_flow(inner), content_type="multipart/*")
    outer.add(diary)
    body = form(("first", b""), nested("x", ("a", b"1"), ("b", b"2")), ("c", b"3"))
    for size in (None, 5):
        with pytest.raises(ZeroDivisionError) as info:
            await outer.dispatch(reader(body, size=size))
        assert info.value is error
    assert diary.committed == []
    assert set(diary.staged) >= {"first", "a"}
    diary.check()


async def test_an_inner_flow_as_the_handlers_context_manager() -> None:
    """Rule 20: a flow is a context manager, and will do as the answer of a handler."""
    diary = Diary()
    inner = Router()
    inner.add(diary)
    outer = Router()
    outer.add(lambda part: inner.flow(part.multipart()))
    async with outer.flow(reader(form(nested("x", ("a", b"1"))))) as flow:
        value = flow.results["x"]
        assert isinstance(value, Flow)
        assert value.results["a"] == b"1"
        assert diary.committed == []
    assert diary.committed == ["a"]


async def test_many_nested_parts_are_bounded() -> None:
    """Parts that wait for flows of their own are bounded too: the pump waits for them."""
    release = anyio.Event()
    inner = Router(max_handlers=1)

    @inner.route()
    async def wait(part: Part) -> None:
        await release.wait()

    outer = Router(max_handlers=1)
    outer.add(inner_flow(inner))
    body = form(*[nested(f"n{i}", ("a", b"x" * 1000)) for i in range(400)])
    source = Chunks(cut(body, 4096))
    async with anyio.create_task_group() as tasks:

        async def open_up() -> None:
            for _ in range(2000):
                await checkpoint()
            assert source.given < 300_000
            release.set()

        tasks.start_soon(open_up)
        results = await outer.dispatch(reader(source))
    assert len(results) == 400
    assert len(body) > 400_000


async def test_a_single_slot_and_every_chunking() -> None:
    body = form(("a", b"1"), ("b", b"22"), ("c", b""))
    for size in range(1, len(body) + 1):
        router = Router(max_handlers=1)
        router.add(read)
        results = await router.dispatch(reader(body, size=size))
        assert [h.value for h in results] == [b"1", b"22", b""]
