"""Parts that wait for others hold no slot, and time does not run against them (rules 8, 9, 22).

Knows: `max_handlers`, what is ready, virtual time. Must not know: how slots are counted.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import HandlerTimeout, Limits, Part, Results, Router, Stalled
from mpflow_handlers import Nested, Tee
from tests.clock import virtual_time
from tests.flow.support import Chunks, Field, cut, form, nested, paced, read, reader

pytestmark = pytest.mark.anyio

BIG = bytes(200_000)


async def take(part: Part, **needs: Any) -> bytes:
    return await part.read(limit=None)


class TestSlots:
    @pytest.mark.parametrize("names", list(map("".join, itertools.permutations("abcd"))))
    async def test_one_slot_and_every_order(self, names: str) -> None:
        """A waits for D's slot in vain if B or C hold one: they don't."""
        running: list[str] = []
        answered: list[str] = []

        async def one(part: Part, **needs: Any) -> str:
            running.append(part.name or "")
            assert len(running) == 1
            await part.drain()
            await checkpoint()
            running.remove(part.name or "")
            answered.append(part.name or "")
            return part.name or ""

        @asynccontextmanager
        async def two(part: Part, **needs: Any) -> AsyncGenerator[str, None]:
            yield await one(part, **needs)

        router = Router(max_handlers=1)
        router.add(one, name="a", needs=["b", "c"], order="spool")
        router.add(two, name="b", needs="d", order="spool")
        router.add(one, name="c", needs="d", order="spool")
        router.add(two, name="d")
        fields = [(name, b"x" * 100_000 if name in "ad" else b"y") for name in names]
        with anyio.fail_after(20):
            results = await router.dispatch(reader(form(*fields), size=20_000))
        assert [item.value for item in results] == list(names)
        assert answered[0] == "d"
        assert answered[-1] == "a"

    @pytest.mark.parametrize("size", [0, 10_000])
    @pytest.mark.parametrize("slots", [1, 2])
    async def test_many_parts_wait_in_order_for_one(self, size: int, slots: int) -> None:
        """The pump waits with them, and reads on when the need is met."""
        go = anyio.Event()
        source = Chunks(
            cut(form(("a", b""), *[Field(f"n{i}", bytes(size), "x") for i in range(200)]), 5000)
        )
        given: list[int] = []

        async def slow(part: Part) -> int:
            before = -1
            while source.given > before:  # until the pump waits as well
                before = source.given
                for _ in range(10):
                    await checkpoint()
            given.append(source.given)
            go.set()
            return 7

        async def dependent(part: Part, a: int) -> int:
            assert go.is_set()
            return a + len(await part.read())

        router = Router(max_handlers=slots)
        router.add(slow, name="a")
        router.add(dependent, filename=True, needs="a", key="rest")
        with anyio.fail_after(30):
            results = await router.dispatch(reader(source))
        assert results.all("rest") == [7 + size] * 200
        # 64 parts, or 256 KiB and one more part; the headers, and one more chunk.
        assert given[0] <= min(65 * (size + 100), 256 * 1024 + 2 * size + 27 * 100) + 2 * 5000

    async def test_spooled_parts_do_not_count_as_ready(self) -> None:
        """However many wait out of order: the body is read on, to where their need is."""
        router = Router(max_handlers=1)
        router.add(read, name="a")
        router.add(take, filename=True, needs="a", order="spool", key="rest")
        fields = [Field(f"n{i}", b"%d" % i * 500, "x") for i in range(300)]
        with anyio.fail_after(30):
            results = await router.dispatch(reader(form(*fields, ("a", b"")), size=4000))
        assert results.all("rest") == [b"%d" % i * 500 for i in range(300)]

    @pytest.mark.parametrize("handlers", [1, 16])
    @pytest.mark.parametrize("length", [10, 100_000])
    async def test_flows_inside_dependents(self, handlers: int, length: int) -> None:
        """More of them than may nest at once, each with needs of its own, spooled or not."""
        inner = Router(max_handlers=handlers)
        inner.add(read, name="x")
        inner.add(take, name="y", needs=["x", "a"], order="spool")
        router = Router(max_handlers=handlers)
        router.add(read, name="a")
        router.add(
            Tee(Nested(inner, needs="a"), read),
            content_type="multipart/*", needs="b", order="spool", key="in",
        )  # fmt: skip
        router.add(take, name="b", needs="a", order="spool")
        inside = [
            nested("in", ("y", bytes([i]) * length), ("x", bytes([i]) * 20)) for i in range(8)
        ]
        body = form(*inside[:6], ("b", bytes(length)), ("a", b"1"), *inside[6:])
        with anyio.fail_after(30):
            results = await router.dispatch(reader(body, size=5000))
        for i, (found, data) in enumerate(results.all("in")):
            assert isinstance(found, Results)
            assert found["y"] == bytes([i]) * length
            assert data == inside[i].data

    async def test_a_dependent_starts_as_soon_as_its_need_is_met(self) -> None:
        """Not at the body's end: the source goes on only when the dependent has answered."""
        answered = anyio.Event()
        body = form(("b", b"2"), ("a", b"1"), ("c", b"3"))
        end = body.index(b'"c"')
        parts = [body[:end], body[end:]]
        source = Chunks(parts)

        async def before() -> None:
            if source.given == end:
                await answered.wait()

        source.before = before

        async def dependent(part: Part, a: bytes) -> bytes:
            answered.set()
            return a + await part.read()

        router = Router(max_handlers=1)
        router.add(read, name="a")
        router.add(dependent, name="b", needs="a", order="spool")
        router.add(read)
        with anyio.fail_after(20):
            results = await router.dispatch(reader(source))
        assert results["b"] == b"12"


@virtual_time
class TestTime:
    @pytest.mark.parametrize("names", ["ab", "ba"])
    async def test_timeouts_run_from_the_call(self, names: str) -> None:
        """The need takes longer than its dependent may, from its call to its answer."""

        async def slow(part: Part) -> float:
            await anyio.sleep(50)
            return anyio.current_time()

        called: list[float] = []

        async def dependent(part: Part, a: float) -> bytes:
            called.append(anyio.current_time())
            await anyio.sleep(4)
            return await part.read(limit=None)

        limits = Limits(handler_timeout=60, stall_timeout=60)
        router = Router(limits=limits, max_handlers=1)
        router.add(slow, name="a")
        router.add(dependent, name="b", needs="a", order="spool", timeout=5)
        body = form(*[(name, BIG if name == "b" else b"") for name in names])
        results = await router.dispatch(reader(body, size=20_000))
        assert called == [results["a"]]
        assert results["b"] == BIG

    @pytest.mark.parametrize("names", ["ab", "ba"])
    async def test_handler_timeout_does_not_run_while_waiting(self, names: str) -> None:
        async def slow(part: Part) -> None:
            await anyio.sleep(90)

        async def dependent(part: Part, a: None) -> None:
            await anyio.sleep(90)

        router = Router(limits=Limits(handler_timeout=100))
        router.add(slow, name="a")
        router.add(dependent, name="b", needs="a", order="spool")
        await router.dispatch(reader(form(*[(name, b"x") for name in names])))
        assert anyio.current_time() == pytest.approx(180, abs=1)

    @pytest.mark.parametrize("names", ["ab", "ba"])
    async def test_a_timeout_of_the_dependent_still_holds(self, names: str) -> None:
        async def dependent(part: Part, a: bytes) -> None:
            await anyio.sleep(6)

        router = Router()
        router.add(read, name="a")
        router.add(dependent, name="b", needs="a", order="spool", timeout=5)
        with pytest.raises(HandlerTimeout, match=r"dependent within 5 s \(timeout\)"):
            await router.dispatch(reader(form(*[(name, b"x") for name in names])))
        assert anyio.current_time() == pytest.approx(5, abs=0.5)

    @pytest.mark.parametrize("middle", ["", "m"])
    async def test_a_stall_names_who_waits_for_whom(self, middle: str) -> None:
        """Also over a spooled part that waits for the one that hangs."""

        async def hangs(part: Part) -> None:
            await anyio.sleep_forever()

        limits = Limits(handler_timeout=None, stall_timeout=60)
        router = Router(limits=limits, max_handlers=1)
        router.add(hangs, name="a")
        router.add(take, name="m", needs="a", order="spool")
        router.add(take, name="b", needs="m" if middle else "a")
        body = form(*[(name, b"") for name in middle + "a"], ("b", BIG))
        with pytest.raises(Stalled) as caught:
            await router.dispatch(reader(body, size=1000))
        text = str(caught.value)
        assert "expected the handler TestTime" in text
        assert "hangs to go on within 60" in text
        assert "take needs its result" in text
        assert "'a'" in text
        assert anyio.current_time() == pytest.approx(60, abs=1)

    async def test_a_need_that_is_alive_is_no_stall(self) -> None:
        async def slow(part: Part) -> int:
            for _ in range(10):
                await anyio.sleep(50)
                part.alive()
            return 1

        router = Router(limits=Limits(handler_timeout=None, stall_timeout=60))
        router.add(slow, name="a")
        router.add(take, name="b", needs="a")
        await router.dispatch(reader(form(("a", b""), ("b", BIG)), size=5000))
        assert anyio.current_time() == pytest.approx(500, abs=1)

    async def test_reading_a_spooled_part_slowly_is_no_stall(self) -> None:
        """Bytes move out of the file, though none come from the source meanwhile."""

        async def slow(part: Part, m: bytes) -> int:
            size = 0
            while size < 1_000_000:
                size += len(await part.receive(300_000))
                await anyio.sleep(50)
            return size

        router = Router(limits=Limits(handler_timeout=None, stall_timeout=60))
        router.add(read, name="m")
        router.add(slow, name="a", needs="m", order="spool")
        router.add(take, name="b", needs="a")
        body = form(("a", bytes(1_000_000)), ("m", b""), ("b", BIG))
        results = await router.dispatch(reader(body, size=5000))
        assert results["a"] == 1_000_000
        assert anyio.current_time() >= 200

    async def test_the_idle_time_runs_while_a_part_is_spooled(self) -> None:
        router = Router(limits=Limits(idle_timeout=30))
        router.add(read, name="a")
        router.add(take, name="b", needs="a", order="spool")
        body = form(("b", b"x" * 300), ("a", b""))
        await router.dispatch(reader(paced(body, 20)))
        with pytest.raises(Exception, match="more of the body within 30") as caught:
            await router.dispatch(reader(paced(body, 0, 0, 0, 40)))
        assert "'b'" in str(caught.value)
