"""Rule 26 of a flow: what it may hold, counted in bytes.

Knows: how much a source has given. Must not know: channels.
"""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import Branches, Limits, Part, Router
from mpflow_handlers import Nested, Tee
from tests.flow.support import Chunks, Field, cut, form, head, nested, read, reader, tail
from tests.support import only_trio

pytestmark = pytest.mark.anyio

KIB = 1024
MIB = 1024 * KIB


def endless(size: int, total: int, name: str = "big") -> Iterator[bytes]:
    """A form with one large part, in chunks that are made as they are asked for."""
    yield head(Field(name))
    piece = b"x" * size
    for _ in range(total // size):
        yield piece
    yield b"\r\n" + tail()


async def passes(count: int) -> None:
    for _ in range(count):
        await checkpoint()


async def given_while_stuck(router: Router, source: Chunks, release: anyio.Event) -> int:
    """How much a flow has taken from its source when nothing moves any more."""
    taken = 0

    async def look() -> None:
        nonlocal taken
        while True:
            before = source.given
            await passes(200)
            if source.given == before:
                break
        taken = source.given
        release.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        await router.dispatch(reader(source))
    return taken


@pytest.mark.parametrize("size", [100, 4 * KIB, 64 * KIB, 256 * KIB])
async def test_a_handler_that_never_reads_stops_the_source(size: int) -> None:
    release = anyio.Event()
    router = Router()

    @router.route()
    async def lazy(part: Part) -> None:
        await release.wait()

    source = Chunks(endless(size, 4 * MIB))
    assert await given_while_stuck(router, source, release) <= 64 * KIB + 2 * size + KIB
    assert source.given > 4 * MIB


async def test_handlers_that_hold_a_piece_and_have_one_more_to_take() -> None:
    """The most that the default number of handlers can have, with the queue behind them full."""
    release = anyio.Event()
    router = Router()

    @router.route()
    async def holds(part: Part) -> int:
        piece = await part.receive()
        await release.wait()
        return len(piece)

    chunks: list[bytes] = []
    for i in range(200):
        chunks += [head(Field(f"n{i}")), *[b"x" * 64 * KIB] * (2 if i < 16 else 0)]
        chunks += [b"x" * (60_000 if i >= 16 else 0) + b"\r\n"]
    source = Chunks([*chunks, tail()])
    taken = await given_while_stuck(router, source, release)
    assert 16 * 128 * KIB < taken <= 2560 * KIB  # docs/explanation/memory.md
    assert source.given == sum(map(len, chunks)) + len(tail())


@pytest.mark.parametrize("size", [1000, 8 * KIB])
@pytest.mark.parametrize("part_size", [100, 3_000, 60_000])
async def test_many_parts_without_a_slot_stop_the_source(part_size: int, size: int) -> None:
    """One slot is taken: what waits for it is bounded, also what came piece by piece."""
    release = anyio.Event()
    router = Router(max_handlers=1, limits=Limits(max_total_memory=None))

    @router.route()
    async def lazy(part: Part) -> bytes:
        await release.wait()
        return await part.read(limit="1 MiB")

    body = form(*[(f"n{i}", b"x" * part_size) for i in range(500)])
    source = Chunks(cut(body, size))
    taken = await given_while_stuck(router, source, release)
    assert taken <= 256 * KIB + 2 * 64 * KIB + 2 * size
    assert source.given == len(body)


async def test_a_nested_level_adds_its_own_bound_and_no_more() -> None:
    release = anyio.Event()
    inner = Router(max_handlers=1)

    @inner.route()
    async def lazy(part: Part) -> None:
        await release.wait()

    outer = Router(max_handlers=1)
    outer.add(lambda part: inner.flow(part.multipart()))
    body = form(nested("x", ("big", b"y" * 2 * MIB)))
    source = Chunks(cut(body, 16 * KIB))
    taken = await given_while_stuck(outer, source, release)
    assert taken <= 2 * 2 * 64 * KIB + 64 * KIB


async def test_branches_add_a_channel_each_and_no_more() -> None:
    release = anyio.Event()
    router = Router()

    async def lazy(part: Part) -> None:
        await release.wait()

    @router.route()
    @asynccontextmanager
    async def handle(part: Part) -> AsyncIterator[None]:
        async with Branches(part, [(lazy, "abort"), (read, "abort")]):
            yield

    source = Chunks(endless(4 * KIB, 4 * MIB))
    taken = await given_while_stuck(router, source, release)
    assert taken <= 4 * 64 * KIB


async def test_the_first_byte_is_handled_while_the_upload_goes_on() -> None:
    """The source gives no second byte before the handler has the first."""
    first = anyio.Event()
    router = Router()

    @router.route()
    async def handle(part: Part) -> int:
        assert await part.receive() == b"!"
        first.set()
        size = 1
        async for chunk in part:
            size += len(chunk)
        return size

    chunks = iter([head(Field("a")), b"!", b"rest", b"\r\n" + tail()])

    async def before() -> None:
        if source.given > len(head(Field("a"))):
            await first.wait()

    source = Chunks(chunks, before)
    results = await router.dispatch(reader(source))
    assert results["a"] == 5


@pytest.mark.parametrize("size", [1 * MIB, 16 * MIB])
async def test_large_chunks_are_cut(size: int) -> None:
    sizes: list[int] = []
    router = Router()

    @router.route()
    async def handle(part: Part) -> None:
        sizes.extend([len(chunk) async for chunk in part])

    await router.dispatch(reader(Chunks(endless(size, size * 2))))
    assert max(sizes) == 64 * KIB
    assert sum(sizes) == 2 * size


@only_trio  # once is enough, and the memory is dear
async def test_a_chunk_of_158_megabytes() -> None:
    """As a server may hand out a whole upload: one chunk, of which pieces of 64 KiB are made."""
    total, most = 158_000_000, 0
    router = Router()

    @router.route()
    async def handle(part: Part) -> int:
        nonlocal most
        size = 0
        async for chunk in part:
            most = max(most, len(chunk))
            size += len(chunk)
        return size

    body = bytearray(head(Field("big")) + bytes(total) + b"\r\n")
    rest = head(Field("last")) + b"1\r\n" + tail()
    results = await router.dispatch(reader(Chunks([bytes(body), rest])))
    assert results["big"] == total
    assert results["last"] == 1
    assert most == 64 * KIB


async def test_pieces_that_are_kept_do_not_keep_their_chunk() -> None:
    """What outlives a large chunk was copied out of it."""
    kept: list[bytes] = []
    router = Router()

    @router.route()
    async def handle(part: Part) -> None:
        kept.append(await part.receive(100))

    fields = [("n", b"x" * 200)] * 20
    chunk = form(*fields, ("big", b"y" * 4 * MIB))
    tracemalloc.start()
    try:
        await router.dispatch(reader(Chunks([chunk])))
        del chunk
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == 21
    assert held < MIB


async def test_64_mebibytes_through_a_slow_handler_cost_nothing_more() -> None:
    router = Router(limits=Limits(max_part_bytes="128 MiB"))

    @router.route()
    async def slow(part: Part) -> int:
        size = 0
        async for chunk in part:
            size += len(chunk)
            await passes(3)
        return size

    tracemalloc.start()
    try:
        results = await router.dispatch(reader(Chunks(endless(64 * KIB, 64 * MIB))))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert results["big"] == 64 * MIB
    assert peak < MIB


async def test_a_part_has_one_receiver() -> None:
    """Two tasks that receive at once would each get some of it."""
    busy: list[BaseException] = []
    router = Router()

    @router.route()
    async def handle(part: Part) -> bytes:
        async def second() -> None:
            with pytest.raises(anyio.BusyResourceError) as info:
                await part.receive()
            busy.append(info.value)
            waiting.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second)
            data = await part.receive()
        return data

    waiting = anyio.Event()
    source = Chunks([head(Field("a")), b"1", b"\r\n" + tail()])

    async def before() -> None:
        if source.given:
            await waiting.wait()

    source.before = before
    results = await router.dispatch(reader(source))
    assert results["a"] == b"1"
    assert len(busy) == 1


async def test_tiny_messages_are_coalesced() -> None:
    """A byte at a time from the wire; a handler that looks now and then gets them in one piece."""
    sizes: list[int] = []
    router = Router()

    @router.route()
    async def handle(part: Part) -> None:
        async for chunk in part:
            sizes.append(len(chunk))
            await passes(100)

    await router.dispatch(reader(form(("a", b"x" * 2000)), size=1))
    assert sum(sizes) == 2000
    assert len(sizes) < 200


async def test_results_keep_no_bodies() -> None:
    router = Router(limits=Limits(max_parts=None, max_total_header_bytes=None))

    @router.route()
    async def forget(part: Part) -> int:
        return len(await part.read())

    body = form(*[("n", b"x" * 10_000)] * 1000)
    tracemalloc.start()
    try:
        results = await router.dispatch(reader(Chunks(cut(body, 64 * KIB))))
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(results) == 1000
    assert held < 4 * MIB


@pytest.mark.parametrize("observed", [False, True])
async def test_a_flow_that_is_over_needs_no_collector_to_be_forgotten(observed: bool) -> None:
    """With all of its parts: else each form would stay until the collector comes round."""

    @asynccontextmanager
    async def staged(part: Part) -> AsyncGenerator[bytes, None]:
        yield await part.read()

    inner = Router()
    inner.add(read)
    router = Router(observer=(lambda report: None) if observed else None)
    router.add(read, name="a")
    router.add(staged, name="b")
    router.add(Tee(read, staged), name="c")
    router.add(Nested(inner), name="n")
    body = form(("a", b"1"), ("b", b"2"), ("c", b"3"), nested("n", ("x", b"4")))
    flow = router.flow(reader(body))
    async with flow:
        kept = flow.results
    assert len(kept) == 4
    forgotten = weakref.ref(flow)
    gc.disable()
    try:
        del flow
        assert forgotten() is None
    finally:
        gc.enable()
