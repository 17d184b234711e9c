"""What flows inside parts do to the parts beside them: to their slots and to their clocks.

Knows: virtual time. Must not know: how slots and places are counted.
"""

from __future__ import annotations

import anyio
import pytest

from mpflow import Limits, Part, Router, Stalled
from tests.clock import virtual_time
from tests.flow.support import Diary, form, inner_flow, nested, read, reader

pytestmark = [pytest.mark.anyio, virtual_time]

MANY = [("x", b"1")] * 200


class TestPlaces:
    """Only few flows run inside parts of a level at once; those that wait hold up nobody else."""

    @pytest.mark.parametrize("count", [4, 5, 20])
    @pytest.mark.parametrize("slots", [1, 16])
    async def test_plain_parts_start(self, count: int, slots: int) -> None:
        seen = anyio.Event()
        inner, outer = Router(), Router(max_handlers=slots)

        @inner.route()
        async def wait(part: Part) -> None:
            await seen.wait()

        outer.add(inner_flow(inner), content_type="multipart/*", key="n")

        @outer.route(name="plain")
        async def plain(part: Part) -> None:
            seen.set()

        parts = [nested(f"n{i}", ("a", b"1")) for i in range(count)]
        with anyio.fail_after(10):
            results = await outer.dispatch(reader(form(*parts, ("plain", b"")), size=100))
        assert len(results.all("n")) == count

    async def test_a_timeout_does_not_run_while_a_part_waits_for_a_place(self) -> None:
        inner, outer = Router(), Router()

        @inner.route()
        async def work(part: Part) -> None:
            await anyio.sleep(50)

        outer.add(inner_flow(inner), key="n", timeout=70)
        parts = [nested(f"n{i}", ("a", b"1")) for i in range(9)]
        results = await outer.dispatch(reader(form(*parts)))
        assert len(results) == 9
        assert anyio.current_time() == pytest.approx(150, abs=1)

    async def test_who_waits_for_a_place_ends_with_the_flow(self) -> None:
        diary = Diary()
        inner, outer = Router(), Router()

        @inner.route(name="forever")
        async def forever(part: Part) -> None:
            await anyio.sleep_forever()

        inner.add(diary)
        outer.add(inner_flow(inner), content_type="multipart/*")

        @outer.route(name="bad")
        async def bad(part: Part) -> None:
            await anyio.sleep(5)
            raise ZeroDivisionError

        parts = [nested(f"n{i}", ("a", b"1"), ("forever", b"")) for i in range(7)]
        with pytest.raises(ZeroDivisionError):
            await outer.dispatch(reader(form(*parts, ("bad", b""))))
        assert anyio.current_time() == pytest.approx(5, abs=1)
        assert diary.committed == []
        diary.check()

    async def test_an_open_part_that_waits_for_a_place_is_no_stall(self) -> None:
        """Those before it have their whole bodies: they are bounded by `handler_timeout`."""
        inner, outer = Router(), Router()

        @inner.route()
        async def work(part: Part) -> int:
            size = len(await part.read())
            await anyio.sleep(200)
            return size

        outer.add(inner_flow(inner), key="n")
        parts = [nested(f"n{i}", ("a", b"1")) for i in range(4)]
        body = form(*parts, nested("n4", ("a", b"x" * 500_000)))
        results = await outer.dispatch(reader(body, size=10_000))
        assert results.all("n")[4]["a"] == 500_000


class TestRoom:
    """The clock of stalls while a pump waits for room in the queue of parts."""

    async def test_a_handler_with_its_whole_body_is_no_stall_of_the_flow_around(self) -> None:
        inner, outer = Router(max_handlers=1), Router()
        slept = False

        @inner.route()
        async def slow(part: Part) -> None:
            nonlocal slept
            await part.read()
            if not slept:
                slept = True
                await anyio.sleep(100)

        outer.add(inner_flow(inner), key="n")
        body = form(nested("n", *MANY, ("x", b"y" * 300_000)))
        results = await outer.dispatch(reader(body, size=4096))
        assert len(results["n"]) == 201

    @pytest.mark.parametrize("is_nested", [False, True])
    async def test_one_that_hangs_without_a_bound_is_named(self, is_nested: bool) -> None:
        router = Router(limits=Limits(handler_timeout=None))

        @router.route(name="x", key="needed", max_count=1)
        async def hung(part: Part) -> None:
            await anyio.sleep_forever()

        @router.route(name="y", needs="needed")
        async def needs_it(part: Part, needed: None) -> None:
            raise AssertionError("it has no result")

        fields = [("x", b""), *[("y", b"1")] * 500]
        body = form(*fields)
        if is_nested:
            around = Router(limits=Limits(handler_timeout=None))
            around.add(inner_flow(router))
            router, body = around, form(nested("n", *fields))
        with pytest.raises(Stalled, match=r"hung to go on within 60.*it holds a slot") as caught:
            await router.dispatch(reader(body, size=4096))
        assert caught.value.part is not None
        assert caught.value.part.name == "x"
        assert anyio.current_time() == pytest.approx(60, abs=1)

    async def test_slow_answers_are_none(self) -> None:
        router = Router(max_handlers=1, limits=Limits(handler_timeout=None))

        @router.route()
        async def slow(part: Part) -> bytes:
            await anyio.sleep(50)
            return await read(part)

        results = await router.dispatch(reader(form(*MANY)))
        assert len(results) == 200
