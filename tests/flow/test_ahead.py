"""A handler that keeps up has several pieces of its part wait: nobody else notices.

Knows: bodies and what becomes of them. Must not know: where the bytes wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from mpflow import LimitExceeded, Limits, MultipartReader, Part, Router, TruncatedBody
from mpflow.predicates import sniff
from tests.clock import virtual_time
from tests.flow.support import CONTENT_TYPE, Field, cut, form, head, reader, tail

pytestmark = pytest.mark.anyio

PIECE = bytes(65536)
BURSTS = 22 * len(PIECE)
"""Bytes that a handler takes before its part goes on at length."""


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([Field("again", b"A" * 40)], {"again": b"A" * 40}),
        ([Field("again", b"A")], {"again": b"A"}),
        ([Field("late", b"D" * 30), Field("key", b"K")], {"late": b"D" * 30, "key": b"K"}),
        ([Field("_charset_", b"latin-1"), Field("other", b"\xe9")], {"other": b"\xe9 latin-1"}),
    ],
    ids=["sniffed", "sniffed-short", "spooled", "charset"],
)
async def test_a_part_behind_a_short_one_that_was_sniffed_has_its_own_bytes(
    fields: list[Field], expected: dict[str, bytes], size: int
) -> None:
    router = _sniffing()
    body = form(Field("first", b"AAA"), *fields)
    async with router.flow(reader(body, size=size)) as flow:
        assert {it.part.name: it.value for it in flow.results} == {"first": b"AAA", **expected}


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
async def test_a_part_behind_a_short_one_that_was_sniffed_has_its_limit(size: int) -> None:
    body = form(Field("first", b"AAA"), Field("small", b"L" * 100))
    with pytest.raises(LimitExceeded, match="'small'"):
        await _sniffing().dispatch(reader(body, size=size))


def _sniffing() -> Router:
    router = Router()

    async def whole(part: Part) -> bytes:
        return await part.read()

    @router.route(name="late", needs={"key": "key"}, order="spool")
    async def late(part: Part, key: bytes) -> bytes:
        return await part.read()

    @router.route(name="other")
    async def other(part: Part) -> bytes:
        return await part.read() + f" {part.default_charset}".encode()

    router.add(whole, name="small", max_bytes=10)
    router.add(whole, name="key")
    router.add(whole, sniff(16, lambda data: data.startswith(b"A")))
    return router


async def bursts(*last: bytes) -> AsyncIterator[bytes]:
    """A large part `a` whose handler has time for what came, and then the rest at once."""
    yield head(Field("a", filename="a"))
    for count in (2, 4, 8, 8):
        for _ in range(count):
            yield PIECE
        await anyio.sleep(10)
    for chunk in last:
        yield chunk


@virtual_time
@pytest.mark.parametrize("size", [1000, 32768, 65536])
async def test_no_part_begins_once_a_handler_has_failed_whose_rest_waits(size: int) -> None:
    called: list[str | None] = []
    router = Router()

    @router.route(name="a")
    async def fails(part: Part) -> None:
        taken = 0
        while taken < BURSTS:
            taken += len(await part.receive())
        await anyio.sleep(15)
        raise LookupError("late")

    @router.route()
    async def other(part: Part) -> None:
        called.append(part.name)

    rest = PIECE * 5 + b"\r\n" + head(Field("b")) + b"x\r\n" + head(Field("c")) + b"y\r\n" + tail()
    with pytest.raises(LookupError, match="late"):
        await router.dispatch(MultipartReader(bursts(*cut(rest, size)), CONTENT_TYPE))
    assert called == []


@virtual_time
@pytest.mark.parametrize("size", [32768, 65536, 7 * 65536])
@pytest.mark.parametrize("error", [TruncatedBody, LimitExceeded])
@pytest.mark.parametrize("fails", [True, False])
async def test_what_a_handler_fails_over_comes_first_however_much_waits(
    error: type[Exception], size: int, fails: bool
) -> None:
    all_that_comes = 29 * len(PIECE)
    router = Router()

    @router.route()
    async def slow_at_last(part: Part) -> None:
        taken = 0
        while taken < all_that_comes:
            taken += len(await part.receive())
            if taken > BURSTS:
                await anyio.sleep(0.05)
        if fails:
            raise LookupError("its own")
        await part.drain()

    limits = Limits(max_part_bytes=all_that_comes) if error is LimitExceeded else None
    more = [bytes(60_000)] if limits else []
    source = bursts(*cut(PIECE * 7, size), *more)
    with pytest.raises(LookupError if fails else error):
        await router.dispatch(MultipartReader(source, CONTENT_TYPE, limits=limits))
