"""Readers that were read by hand before they were dispatched: their limits, and their time.

Knows: parts that are open when a flow begins. Must not know: how the flow drains them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from mpflow import LimitExceeded, Limits, Part, Router, TruncatedBody
from mpflow.testing import Chunked, Slow, Stuck
from tests.clock import virtual_time
from tests.flow.support import CONTENT_TYPE, MultipartReader, form, names, read

pytestmark = pytest.mark.anyio

BODY = form(("a", b"x" * 2000), ("b", b"y" * 2000), ("c", b"z"))
IN_A = BODY.index(b"xx") + 1000
SIZES = pytest.mark.parametrize("size", [1, 700, 100_000])


async def begun(source: Any, *, limits: Limits | None = None) -> MultipartReader:
    """A reader that is at its first part, of which a little was read."""
    reader = MultipartReader(source, CONTENT_TYPE, limits=limits)
    part = await anext(reader)
    assert await part.receive(1) == b"x"
    return reader


def router(limits: Limits | None = None) -> Router:
    made = Router(limits=limits)
    made.add(read)
    return made


class TestLimits:
    """A router's limits hold from where its flow begins."""

    @SIZES
    async def test_the_rest_comes_as_ever(self, size: int) -> None:
        reader = await begun(Chunked(BODY, size))
        results = await router(Limits(max_parts=3, max_total_bytes=len(BODY))).dispatch(reader)
        assert names(results) == ["b", "c"]
        assert results["b"] == b"y" * 2000
        assert (reader.taken, reader.at_eof) == (3, True)

    @SIZES
    @pytest.mark.parametrize(
        ("limit", "value"),
        [("max_parts", 2), ("max_part_bytes", 1999), ("max_total_bytes", 3000),
         ("max_total_bytes", 100), ("max_header_bytes", 20), ("max_epilogue", 1)],
    )  # fmt: skip
    async def test_each_is_the_routers(self, size: int, limit: str, value: int) -> None:
        for own in (None, Limits()):
            reader = await begun(Chunked(BODY, size), limits=own)
            with pytest.raises(LimitExceeded) as caught:
                await router(Limits(**{limit: value})).dispatch(reader)
            assert (caught.value.limit, caught.value.value) == (limit, value)

    @SIZES
    async def test_a_default_gives_way(self, size: int) -> None:
        more = form(*[(f"n{i}", b"") for i in range(1200)])
        reader = MultipartReader(Chunked(more, size * 10), CONTENT_TYPE)
        await anext(reader)
        assert len(await router(Limits(max_parts=1200)).dispatch(reader)) == 1199

    @pytest.mark.parametrize("size", [1, 700])
    async def test_a_route_allows_its_parts_more_not_the_one_that_is_drained(
        self, size: int
    ) -> None:
        wide = Router(limits=Limits(max_part_bytes=1500))
        wide.add(read, max_bytes=2000)
        with pytest.raises(LimitExceeded) as caught:
            await wide.dispatch(await begun(Chunked(BODY, size)))
        assert (caught.value.limit, caught.value.value) == ("max_part_bytes", 1500)

    async def test_the_total_ends_with_the_close_delimiter(self) -> None:
        total = BODY.rindex(b"--") + 2
        reader = await begun(BODY)
        assert len(await router(Limits(max_total_bytes=total)).dispatch(reader)) == 2
        reader = await begun(BODY)
        with pytest.raises(LimitExceeded) as caught:
            await router(Limits(max_total_bytes=total - 1)).dispatch(reader)
        assert caught.value.offset == total - 1
        assert caught.value.part is not None
        assert caught.value.part.name == "c"


async def generated(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same as an async generator, around whose reads no scope may stand."""
    async for chunk in source:
        yield chunk


class Held:
    """A receive stream, around whose reads a scope may stand."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self.source = source

    async def receive(self) -> bytes:
        async for chunk in self.source:
            return chunk
        raise anyio.EndOfStream


@pytest.mark.parametrize("wrap", [lambda source: source, generated, Held])
class TestTime:
    """What is left of an open part is read in the flow's time."""

    @virtual_time
    async def test_a_source_that_gives_nothing_more(
        self, wrap: Callable[[AsyncIterator[bytes]], Any]
    ) -> None:
        reader = await begun(wrap(Stuck(BODY, IN_A)))
        with pytest.raises(LimitExceeded, match=r"within 5\.0 s") as caught:
            await router(Limits(idle_timeout=5)).dispatch(reader)
        assert (caught.value.limit, caught.value.status) == ("idle_timeout", 408)
        assert anyio.current_time() == pytest.approx(5, abs=1)

    @virtual_time
    async def test_a_slow_source(self, wrap: Callable[[AsyncIterator[bytes]], Any]) -> None:
        reader = await begun(wrap(Slow(BODY, 500, seconds=4)))
        results = await router(Limits(idle_timeout=5)).dispatch(reader)
        assert names(results) == ["b", "c"]

    @virtual_time
    async def test_in_a_block_of_the_reader(
        self, wrap: Callable[[AsyncIterator[bytes]], Any]
    ) -> None:
        source = wrap(Stuck(BODY, IN_A))
        async with MultipartReader(source, CONTENT_TYPE) as reader:
            await (await anext(reader)).receive(1)
            with pytest.raises(LimitExceeded, match="idle_timeout"):
                await router(Limits(idle_timeout=5)).dispatch(reader)
        assert anyio.current_time() == pytest.approx(5, abs=1)


async def test_a_body_that_is_cut_in_the_open_part() -> None:
    reader = await begun(Chunked(BODY[:IN_A], 300))
    with pytest.raises(TruncatedBody) as caught:
        await router().dispatch(reader)
    assert caught.value.part is not None
    assert caught.value.part.name == "a"


async def test_a_part_that_is_open_is_closed() -> None:
    reader = MultipartReader(Chunked(BODY, 300), CONTENT_TYPE)
    open_part: Part = await anext(reader)
    await router().dispatch(reader)
    with pytest.raises(anyio.ClosedResourceError):
        await open_part.receive()
