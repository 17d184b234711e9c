"""`Limits.min_rate`: a source that is too slow, though it never pauses for long."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from mpflow import LimitExceeded, Limits, MultipartReader, Part, Router
from mpflow.rate import WINDOW, Rate
from mpflow_handlers import Nested
from tests.clock import virtual_time
from tests.flow.support import (
    CONTENT_TYPE,
    Chunks,
    Diary,
    cut,
    form,
    nested,
    paced,
    read,
    reader,
    routed,
)

pytestmark = [pytest.mark.anyio, virtual_time]

BODY = form(("a", b"x" * 1000), ("b", b"y" * 1000))
RATE = Limits(min_rate=100)


def slow(body: bytes, *, rate: float, every: float = 1.0) -> Any:
    """A source that gives so many bytes a second, a chunk every so many seconds."""
    return paced(body, every, size=int(rate * every))


# -- in a flow --------------------------------------------------------------------------------


async def test_too_slow_a_source() -> None:
    diary = Diary()
    with pytest.raises(LimitExceeded, match="at least 100 bytes a second") as info:
        await routed(diary).dispatch(reader(slow(BODY, rate=90), limits=RATE))
    error = info.value
    assert (error.limit, error.value, error.status) == ("min_rate", 100, 408)
    assert error.part is not None
    assert error.part.name == "a"
    assert anyio.current_time() == pytest.approx(10, abs=1.1)
    assert diary.committed == []
    diary.check()


@pytest.mark.parametrize("every", [0.2, 1.0, 9.0])
async def test_one_that_is_fast_enough(every: float) -> None:
    results = await routed(Diary()).dispatch(reader(slow(BODY, rate=110, every=every), limits=RATE))
    assert len(results) == 2


async def test_drops_that_come_before_any_idle_time_is_over() -> None:
    """Ten bytes every 25 s are no pause of 30 s."""
    with pytest.raises(LimitExceeded, match="min_rate"):
        await routed(Diary()).dispatch(reader(paced(BODY, 25, size=10), limits=RATE))
    assert anyio.current_time() == pytest.approx(25, abs=0.1)


async def test_off_by_default() -> None:
    await routed(Diary()).dispatch(reader(paced(BODY, 25, size=100)))
    assert anyio.current_time() > 25 * 20


async def test_a_burst_pays_for_its_own_seconds_only() -> None:
    async def before() -> None:
        await anyio.sleep(0 if source.given < 1500 else 1)

    source = Chunks(cut(BODY, 10), before)
    with pytest.raises(LimitExceeded, match="min_rate"):
        await routed(Diary()).dispatch(reader(source, limits=RATE))
    assert 1500 < source.given < len(BODY)


async def test_backpressure_is_not_the_clients() -> None:
    async def lazy(part: Part) -> int:
        size = 0
        async for chunk in part:
            await anyio.sleep(20)
            size += len(chunk)
        return size

    router = Router()
    router.add(lazy)
    body = form(("big", b"x" * 1_000_000))
    results = await router.dispatch(reader(body, size=50_000, limits=Limits(min_rate="1 MiB")))
    assert results["big"] == 1_000_000
    assert anyio.current_time() > 200


async def test_the_source_of_nested_parts_is_the_outermost() -> None:
    inner, outer = Router(), Router()
    inner.add(read)
    outer.add(Nested(inner))
    body = form(nested("n", ("x", b"x" * 2000)))
    await outer.dispatch(reader(slow(body, rate=120), limits=RATE))
    with pytest.raises(LimitExceeded, match="min_rate") as info:
        await outer.dispatch(reader(slow(body, rate=80), limits=RATE))
    assert info.value.part is not None
    assert info.value.part.path[0] == 0


@pytest.mark.parametrize(("mine", "others"), [(50, 200), (200, 50)])
async def test_of_two_the_larger_counts(mine: int, others: int) -> None:
    for rate, fine in ((100, False), (220, True)):
        router = Router(limits=Limits(min_rate=mine))
        router.add(read)
        source = reader(slow(BODY, rate=rate), limits=Limits(min_rate=others))
        if fine:
            await router.dispatch(source)
        else:
            with pytest.raises(LimitExceeded) as info:
                await router.dispatch(source)
            assert info.value.value == 200


async def test_none_is_none() -> None:
    limits = Limits(min_rate=None).tighten(RATE)
    assert limits.min_rate == 100
    assert Limits(min_rate=None).tighten(Limits()).min_rate == 0
    router = Router(limits=Limits(min_rate=None))
    router.add(read)
    await router.dispatch(reader(slow(BODY, rate=10)))


# -- without one ------------------------------------------------------------------------------


@pytest.mark.parametrize("in_block", [False, True])
async def test_a_bare_reader(in_block: bool) -> None:
    async def run(rate: int) -> list[bytes]:
        made = MultipartReader(slow(BODY, rate=rate), CONTENT_TYPE, limits=RATE)
        if not in_block:
            return [await part.read() async for part in made]
        async with made:
            return [await part.read() async for part in made]

    assert len(await run(110)) == 2
    with pytest.raises(LimitExceeded, match="min_rate") as info:
        await run(90)
    assert info.value.status == 408
    assert info.value.part is not None


async def test_time_that_the_reader_takes_is_its_own() -> None:
    made = MultipartReader(slow(BODY, rate=2000), CONTENT_TYPE, limits=RATE)
    async for part in made:
        await anyio.sleep(1000)
        await part.read()


async def test_a_rate_by_hand() -> None:
    rate = Rate(100)
    rate.count(WINDOW - 0.1, 0)
    rate.count(0.1, 1000)  # just enough
    rate.count(WINDOW, 1000)
    with pytest.raises(LimitExceeded, match=r"999 came in 10\.0 s"):
        rate.count(WINDOW, 999)
