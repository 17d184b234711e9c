"""What is left of a flow that is over, where no garbage collector runs.

Knows: flows that went well, flows that failed. Must not know: what leads to what.
"""

from __future__ import annotations

import gc
import traceback
import tracemalloc
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from mpflow import (
    BrokenSource,
    MultipartError,
    MultipartReader,
    NoRoute,
    Part,
    Router,
    TruncatedBody,
)
from mpflow_handlers import Nested, Tee
from tests.flow.support import CONTENT_TYPE, Chunks, form, nested, read, reader

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


class Boom(Exception):
    """A failure on purpose."""


async def boom(part: Part) -> None:
    await part.receive()
    raise Boom


async def count(part: Part) -> int:
    return sum([len(piece) async for piece in part])


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def routed(handler: Any, **policies: Any) -> Router:
    router = Router()
    router.add(handler, name="a", **policies)
    return router


# -- flows and readers -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 50])
@pytest.mark.parametrize("kind", ["plain", "nested", "twice", "tee", "collected", "inside"])
async def test_a_flow_and_its_reader_are_forgotten(kind: str, size: int | None) -> None:
    inside = nested("a", ("a", b"1" * 400))
    router, body = {
        "plain": (routed(read), form(("a", b"1" * 400))),
        "nested": (routed(Nested(routed(read))), form(inside)),
        "twice": (
            routed(Nested(routed(Nested(routed(read))))),
            form(nested("a", inside, boundary="outer")),
        ),
        "tee": (routed(Tee(read, count)), form(("a", b"1" * 400))),
        "collected": (routed(boom, on_error="collect"), form(("a", b"1" * 400))),
        "inside": (routed(Nested(routed(boom, on_error="collect"))), form(inside)),
    }[kind]
    source = reader(body, size=size)
    flow = router.flow(source)
    forgotten = weakref.ref(source), weakref.ref(flow)
    del source
    async with flow:
        results = flow.results
    del flow
    assert len(results) == 1
    if kind in ("collected", "inside"):
        errors = results.errors if kind == "collected" else results["a"].errors
        (error,) = errors
        assert "in boom" in "".join(traceback.format_exception(error))
        del error, errors, results  # they show the handler's part
    assert [ref() for ref in forgotten] == [None, None]


# -- what came ---------------------------------------------------------------------------------


def failing(kind: str) -> tuple[Router, bytes, type[Exception]]:
    router, body = routed(count), form(("a", b"x" * MIB), ("a", b"y" * MIB), ("a", b"z" * MIB))
    if kind == "handler":
        return routed(boom), body, Boom
    if kind == "no route":
        return router, form(("a", b"x" * MIB), ("b", b"y" * MIB)), NoRoute
    if kind == "cut":
        return router, body[:-10], TruncatedBody
    inside = form(nested("a", ("a", b"x" * MIB), ("a", b"y" * MIB)))
    if kind == "nested":
        return routed(Nested(routed(boom))), inside, Boom
    assert kind == "nested cut"
    return routed(Nested(router)), inside[:-10], TruncatedBody


@pytest.mark.parametrize("size", [None, MIB // 2])
@pytest.mark.parametrize("kind", ["handler", "no route", "cut", "nested", "nested cut"])
async def test_a_flow_that_failed_holds_no_chunks(kind: str, size: int | None) -> None:
    router, body, expected = failing(kind)

    async def dispatch() -> str:
        data = bytes(bytearray(body))
        starts = range(0, len(body), size or len(body))
        source: Any = data if size is None else Chunks(body[i : i + size] for i in starts)
        try:
            await router.dispatch(MultipartReader(source, CONTENT_TYPE))
        except expected as error:
            return "".join(traceback.format_exception(error))
        finally:
            del data, source
        return ""

    assert "in dispatch" in await dispatch()
    tracemalloc.start()
    try:
        for _ in range(5):
            await dispatch()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < MIB / 4


async def test_what_it_had_not_read_cannot_be_read_any_more() -> None:
    source = reader(form(("a", b"x" * 400), ("a", b"y")), size=50)
    with pytest.raises(Boom):
        await routed(boom).dispatch(source)
    with pytest.raises(BrokenSource, match="the flow that read it has failed"):
        await source.next_event()
    with suppress(MultipartError):
        await source.aclose()
    assert source.taken == 1
