"""Rule 21 of a flow: one part for several handlers, all or nothing.

Knows: `Branches`. Must not know: `Tee`, which is made of it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    Branches,
    CommitFailed,
    HandlerTimeout,
    Limits,
    Part,
    RolledBack,
    RouteError,
    Router,
    Stalled,
    TruncatedBody,
)
from tests.clock import virtual_time
from tests.flow.support import Chunks, Diary, cut, fails, form, nested, notes, read, reader

pytestmark = pytest.mark.anyio

OnError = Literal["abort", "collect"]
BODY = form(("a", b"abc" * 50_000), ("b", b"xyz"))


def tee(*children: Callable[[Part], Any], on_error: OnError = "abort") -> Callable[[Part], Any]:
    """A handler that gives its part to the children."""

    @asynccontextmanager
    async def handle(part: Part) -> AsyncIterator[tuple[Any, ...]]:
        async with Branches(part, [(child, on_error) for child in children]) as values:
            yield values

    return handle


async def size(part: Part) -> int:
    count = 0
    async for chunk in part:
        count += len(chunk)
    return count


@pytest.mark.parametrize("chunk", [None, 1000, 100_000])
async def test_its_value_is_a_tuple_in_order(chunk: int | None) -> None:
    diary = Diary()
    router = Router(max_handlers=1)
    router.add(tee(read, size, diary))
    async with router.flow(reader(BODY, size=chunk)) as flow:
        assert flow.results["a"] == (b"abc" * 50_000, 150_000, b"abc" * 50_000)
        assert flow.results["b"] == (b"xyz", 3, b"xyz")
        assert diary.committed == []
    assert diary.committed == ["a", "b"]


async def test_a_task_a_child() -> None:
    tasks: set[int] = set()

    @asynccontextmanager
    async def own(part: Part) -> AsyncIterator[int]:
        me = anyio.get_current_task().id
        tasks.add(me)
        await part.drain()
        yield me
        assert anyio.get_current_task().id == me

    router = Router()
    router.add(tee(own, own, own))
    await router.dispatch(reader(form(("a", b"x"))))
    assert len(tasks) == 3


async def test_children_commit_in_order_and_roll_back_in_reverse() -> None:
    log: list[str] = []

    def child(name: str) -> Callable[[Part], Any]:
        @asynccontextmanager
        async def handle(part: Part) -> AsyncGenerator[str, None]:
            await part.drain()
            try:
                yield name
                log.append(f"commit {name}")
            except RolledBack:
                log.append(f"undo {name}")
                raise

        return handle

    router = Router()
    router.add(tee(child("x"), child("y"), child("z")))
    body = form(("a", b"x"))
    await router.dispatch(reader(body))
    with pytest.raises(ZeroDivisionError):
        async with router.flow(reader(body)):
            raise ZeroDivisionError
    assert log == ["commit x", "commit y", "commit z", "undo z", "undo y", "undo x"]


@pytest.mark.parametrize("chunk", [None, 1000])
async def test_a_child_that_fails_fails_the_part(chunk: int | None) -> None:
    """A virus found must stop the file."""
    error = ZeroDivisionError()
    diary = Diary()

    async def virus(part: Part) -> None:
        await part.receive()
        raise error

    router = Router()
    router.add(tee(diary, virus), name="b")
    router.add(diary)
    with pytest.raises(ZeroDivisionError) as info:
        await router.dispatch(reader(BODY, size=chunk))
    assert info.value is error
    assert "in part 1 'b'" in notes(error)
    assert diary.committed == []
    diary.check()


@pytest.mark.parametrize("chunk", [None, 1000])
async def test_a_child_whose_failure_is_collected(chunk: int | None) -> None:
    error = ZeroDivisionError()
    diary = Diary()

    async def fail(part: Part) -> None:
        await part.receive()
        raise error

    @asynccontextmanager
    async def both(part: Part) -> AsyncIterator[tuple[Any, ...]]:
        async with Branches(part, [(diary, "abort"), (fail, "collect")]) as values:
            yield values

    router = Router()
    router.add(both)
    results = await router.dispatch(reader(BODY, size=chunk))
    assert results["a"] == (b"abc" * 50_000, error)
    assert diary.committed == ["a", "b"]


async def test_the_commit_of_a_child_that_fails() -> None:
    bad, good, last = Diary(fails("commit", "a", KeyError())), Diary(), Diary()
    router = Router()
    router.add(tee(good, bad, last))
    with pytest.raises(CommitFailed) as info:
        await router.dispatch(reader(form(("a", b"x"))))
    inner = info.value.__cause__
    assert isinstance(inner, CommitFailed)
    assert isinstance(inner.__cause__, KeyError)
    assert good.committed == ["a"]
    assert last.rolled_back == ["a"]


async def test_children_that_stop_early_hold_up_nobody() -> None:
    async def first(part: Part) -> bytes:
        return await part.receive(1)

    async def never(part: Part) -> None:
        return None

    router = Router()
    router.add(tee(first, never, size))
    results = await router.dispatch(reader(BODY, size=5000))
    assert results["a"] == (b"a", None, 150_000)


async def test_all_stop_early_and_the_rest_is_drained() -> None:
    async def first(part: Part) -> bytes:
        return await part.receive(1)

    router = Router()
    router.add(tee(first, first))
    source = Chunks(cut(BODY, 5000))
    results = await router.dispatch(reader(source))
    assert [h.value for h in results] == [(b"a", b"a"), (b"x", b"x")]
    assert [h.part.size for h in results] == [150_000, 3]


async def test_the_slowest_child_sets_the_pace() -> None:
    release = anyio.Event()
    router = Router()

    async def slow(part: Part) -> int:
        await part.receive(1)
        await release.wait()
        return await size(part) + 1

    router.add(tee(size, slow))
    source = Chunks(cut(form(("a", b"x" * 4_000_000)), 4096))
    async with anyio.create_task_group() as tasks:

        async def look() -> None:
            for _ in range(3000):
                await checkpoint()
            assert source.given < 500_000
            release.set()

        tasks.start_soon(look)
        results = await router.dispatch(reader(source))
    assert results["a"] == (4_000_000, 4_000_000)


async def test_a_body_that_is_cut() -> None:
    """Each child gets the error, never the end."""
    seen: list[object] = []

    async def watch(part: Part) -> None:
        try:
            await part.drain()
            seen.append("end")
        except BaseException as error:
            seen.append(type(error))
            raise

    router = Router()
    router.add(tee(watch, watch))
    with pytest.raises(TruncatedBody):
        await router.dispatch(reader(BODY[:100_000], size=1000))
    assert "end" not in seen
    assert len(seen) == 2


async def test_no_children() -> None:
    router = Router()
    router.add(tee())
    with pytest.raises(RouteError, match="at least one handler"):
        await router.dispatch(reader(BODY))


@virtual_time
@pytest.mark.parametrize("chunk", [None, 5000, 65536])
async def test_a_child_that_stalls_is_named(chunk: int | None) -> None:
    async def stuck(part: Part) -> None:
        await anyio.sleep_forever()

    router = Router()
    router.add(tee(size, stuck, size))
    with pytest.raises(Stalled, match="stuck to go on"):
        await router.dispatch(reader(form(("a", b"x" * 1_000_000)), size=chunk))


@virtual_time
async def test_a_child_that_hangs_with_its_whole_part() -> None:
    async def stuck(part: Part) -> None:
        await part.drain()
        await anyio.sleep_forever()

    router = Router(limits=Limits(handler_timeout=7))
    router.add(tee(size, stuck))
    with pytest.raises(HandlerTimeout):
        await router.dispatch(reader(BODY, size=5000))
    assert anyio.current_time() == pytest.approx(7, abs=1)


async def test_a_tee_of_nested_flows() -> None:
    diary = Diary()
    inner = Router()
    inner.add(diary)

    @asynccontextmanager
    async def flow(part: Part) -> AsyncIterator[list[Any]]:
        async with inner.flow(part.multipart()) as inside:
            yield [h.value for h in inside.results]

    router = Router()
    router.add(tee(flow, size))
    body = form(nested("x", ("a", b"1"), ("b", b"2")))
    for chunk in (None, 3):
        results = await router.dispatch(reader(body, size=chunk))
        assert results["x"][0] == [b"1", b"2"]
    assert diary.committed == ["a", "b"] * 2


async def test_children_in_a_one_phase_handler() -> None:
    """Rule 20: two phases inside one would commit before the flow does."""
    diary = Diary()
    router = Router()

    @router.route(name="plain")
    async def plain(part: Part) -> tuple[Any, ...]:
        async with Branches(part, [(read, "abort"), (size, "abort")]) as values:
            return values

    @router.route()
    async def handle(part: Part) -> tuple[Any, ...]:
        async with Branches(part, [(diary, "abort")]) as values:
            return values

    results = await router.dispatch(reader(form(("plain", b"123"))))
    assert results["plain"] == (b"123", 3)
    with pytest.raises(RouteError, match="would commit before the flow"):
        await router.dispatch(reader(BODY))
    assert diary.committed == []


async def test_outside_of_a_flow() -> None:
    """It works on a part of a reader as well; it then commits by itself."""
    diary = Diary()
    async for part in reader(BODY, size=5000):
        async with Branches(part, [(diary, "abort"), (size, "abort")]) as values:
            assert diary.committed == ["a"] * part.index
        assert values[1] == (150_000, 3)[part.index]
        diary.committed = ["a"] * (part.index + 1)
