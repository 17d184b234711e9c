"""Rules 23 to 25 of a flow: sources that hang, and how reading ends.

Knows: virtual time. Must not know: how the clocks are kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    BrokenSource,
    LimitExceeded,
    Limits,
    MalformedBody,
    Part,
    Router,
)
from tests.clock import virtual_time
from tests.flow.support import Chunks, Diary, cut, form, nested, paced, read, reader

pytestmark = [pytest.mark.anyio, virtual_time]

BODY = form(("a", b"1"), ("b", b"22"), ("c", b"333"))
BIG = form(("big", b"x" * 1_000_000), ("last", b"y"))


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


async def test_reading_stops_at_what_is_malformed() -> None:
    router = Router()
    router.add(read)
    source = paced(form(("a", b"1")).replace(b"Content", b"Con\x00tent") + BIG, 1)
    with pytest.raises(MalformedBody):
        await router.dispatch(reader(source))
    assert source.given < 1000
    await checkpoint()
