"""While a flow inside a part fails, or rolls back: what the flow around makes of the time.

Knows: both flows, and virtual time. Must not know: how one tells the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import DependencyFailed, Limits, Part, RolledBack, Router
from mpflow_handlers import Discard, Nested, Tee
from tests.clock import virtual_time
from tests.flow.support import form, nested, read, reader

pytestmark = pytest.mark.anyio

RUNS = 40


class First(Exception):
    """Of the earlier part, from a flow inside it."""


class Later(Exception):
    """Of a part behind it."""


def slow_undo(seconds: float) -> Any:
    @asynccontextmanager
    async def handler(part: Part) -> AsyncGenerator[bytes, None]:
        value = await part.read()
        try:
            yield value
        except RolledBack:
            await anyio.sleep(seconds)
            raise

    return handler


async def fails(part: Part) -> None:
    await part.read()
    raise First


async def fails_later(part: Part) -> None:
    await part.read()
    await anyio.sleep(0.05)
    raise Later


# -- the clocks -------------------------------------------------------------------------------


@virtual_time
@pytest.mark.parametrize("collect", [False, True])
@pytest.mark.parametrize(
    "limits", [{"stall_timeout": 0.5}, {"handler_timeout": 0.5}, {"idle_timeout": 0.5}, {}]
)
async def test_no_clock_runs_in_a_rollback_inside(limits: dict[str, Any], collect: bool) -> None:
    inner = Router()
    inner.add(slow_undo(1), name="s")
    inner.add(fails, name="t")
    inner.add(Discard(), name="u")
    own = None if limits else 0.5
    router = Router(limits=Limits(**limits))
    router.add(Nested(inner), timeout=own, on_error="collect" if collect else "abort")
    large = form(nested("n", ("s", b"1"), ("t", b"2"), ("u", b"x" * 1_000_000)))
    small = form(nested("n", ("s", b"1"), ("t", b"2")))
    cut = large.index(b"xxxx")

    async def slowly() -> AsyncIterator[bytes]:
        yield large[:cut]
        await anyio.sleep(0.4)
        yield large[cut:]

    for source in (large, small, slowly()):
        if collect:
            (error,) = (await router.dispatch(reader(source))).errors
            assert isinstance(error, First)
        else:
            with pytest.raises(First):
                await router.dispatch(reader(source))


@virtual_time
async def test_the_handler_s_own_time_goes_on_behind_it() -> None:
    inner = Router()
    inner.add(slow_undo(5), name="s")
    inner.add(fails, name="t")

    async def goes_on(part: Part) -> str:
        with pytest.raises(First):
            await inner.dispatch(part.multipart(), independent=True)
        await anyio.sleep(0.4)
        return "mended"

    async def too_long(part: Part) -> None:
        await goes_on(part)
        await anyio.sleep(0.4)

    body = form(nested("n", ("s", b"1"), ("t", b"2")))
    for limits, timeout in ((Limits(handler_timeout=0.5), None), (Limits(), 0.5)):
        router = Router(limits=limits)
        router.add(goes_on, timeout=timeout)
        assert (await router.dispatch(reader(body)))["n"] == "mended"
        router = Router(limits=limits)
        router.add(too_long, timeout=timeout)
        with pytest.raises(TimeoutError):
            await router.dispatch(reader(body))


@virtual_time
async def test_a_stall_is_counted_from_the_end_of_the_rollback() -> None:
    inner = Router()
    inner.add(slow_undo(25), name="s")
    inner.add(fails, name="t")

    async def outer(part: Part) -> str:
        with pytest.raises(First):
            await inner.dispatch(part.multipart(), independent=True)
        await anyio.sleep(6)
        return "mended"

    router = Router(limits=Limits(stall_timeout=10))
    router.add(outer)
    body = form(nested("n", ("s", b"1"), ("t", b"2"), ("big", b"x" * 400_000)))
    assert (await router.dispatch(reader(body, size=30_000)))["n"] == "mended"


@virtual_time
@pytest.mark.parametrize("kind", ["bare", "tee", "nested", "tee in nested"])
async def test_a_handler_inside_that_fails_while_it_waits(kind: str) -> None:
    """It is known before anything is committed, however deep it is."""
    seen: list[str] = []

    @asynccontextmanager
    async def saves(part: Part) -> AsyncGenerator[bytes, None]:
        try:
            yield await part.read()
        except RolledBack:
            seen.append("rolled back")
            raise
        seen.append("committed")

    @asynccontextmanager
    async def loses(part: Part) -> AsyncGenerator[None, None]:
        async def breaks() -> None:
            await anyio.sleep(0.01)
            raise First

        await part.read()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(breaks)
                yield
        except* First as group:
            raise group.exceptions[0] from None

    async def slow(part: Part) -> None:
        await anyio.sleep(0.1)

    inner = Router()
    inner.add(Tee(loses) if kind == "tee in nested" else loses)
    handler: Any = {"bare": loses, "tee": Tee(loses)}.get(kind) or Nested(inner)
    field = nested("a", ("x", b"1")) if "nested" in kind else ("a", b"1")
    for block in (False, True):
        router = Router()
        router.add(saves, name="s")
        router.add(handler, name="a")
        if not block:
            router.add(slow)
        body = form(("s", b"0"), field, *([] if block else [("z", b"2")]))

        async def run(router: Router = router, body: bytes = body, block: bool = block) -> None:
            async with router.flow(reader(body)):
                assert block
                await anyio.sleep(1)

        with pytest.raises(First):
            await run()
        assert seen.pop() == "rolled back"
        assert not seen


# -- who wins ---------------------------------------------------------------------------------


def fails_in_the_block() -> AbstractAsyncContextManager[None]:
    inner = Router()
    inner.add(slow_undo(0.6))

    @asynccontextmanager
    async def handler(part: Part) -> AsyncGenerator[None, None]:
        async with inner.flow(part.multipart()):
            raise First
            yield

    return handler  # type: ignore[return-value] # a handler; what it gives is not looked at


def two_flows_inside() -> Tee:
    slow = Router()
    slow.add(slow_undo(0.6), name="s")
    slow.add(fails, name="t")
    quick = Router()

    async def ends_soon(part: Part) -> None:
        await anyio.sleep(0.02)
        raise ValueError

    quick.add(ends_soon)
    return Tee(Nested(slow), Tee.collect(Nested(quick)))


@virtual_time
@pytest.mark.parametrize("make", [fails_in_the_block, two_flows_inside])
async def test_a_part_whose_inside_still_rolls_back_fails_first(make: Any) -> None:
    router = Router()
    router.add(make(), name="n")
    router.add(fails_later, name="b")
    body = form(nested("n", ("s", b"1"), ("t", b"2")), ("b", b"3"))
    with pytest.raises(First):
        await router.dispatch(reader(body))


@pytest.mark.parametrize(("names", "wins"), [("abc", DependencyFailed), ("acb", Later)])
@pytest.mark.parametrize("passes", range(6))
async def test_a_spooled_part_fails_with_its_need(
    passes: int, names: str, wins: type[Exception]
) -> None:
    """No earlier than that, wherever it stands itself."""

    async def takes(part: Part, b: bytes) -> None:
        raise AssertionError

    async def later(part: Part) -> None:
        for _ in range(3):
            await checkpoint()
        raise Later

    async def need(part: Part) -> None:
        for _ in range(passes):
            await checkpoint()
        raise First

    router = Router()
    router.add(takes, name="a", needs="b", order="spool")
    router.add(later, name="c")
    router.add(need, name="b", key="b", on_error="collect")
    for _ in range(RUNS):
        with pytest.raises(wins):
            await router.dispatch(reader(form(*[(name, b"1") for name in names])))


async def test_a_spooled_part_whose_need_goes_well() -> None:
    """It is called, and then its own failure comes first."""

    async def takes(part: Part, b: bytes) -> None:
        raise First

    async def later(part: Part) -> None:
        raise Later

    async def need(part: Part) -> bytes:
        for _ in range(4):
            await checkpoint()
        return await part.read()

    router = Router()
    router.add(takes, name="a", needs="b", order="spool")
    router.add(need, name="b")
    router.add(later, name="c")
    for _ in range(RUNS):
        with pytest.raises(First):
            await router.dispatch(reader(form(("a", b"1"), ("b", b"3"), ("c", b"2"))))


@pytest.mark.parametrize("passes", range(7))
async def test_a_handler_that_waits_for_its_commit_and_fails(passes: int) -> None:
    go = anyio.Event()

    @asynccontextmanager
    async def waits(part: Part) -> AsyncGenerator[bytes, None]:
        async def beside() -> None:
            await go.wait()
            for _ in range(3):
                await checkpoint()
            raise First

        value = await part.read()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(beside)
                yield value
        except* First as group:
            raise group.exceptions[0] from None

    async def second(part: Part) -> None:
        await part.read()
        go.set()
        for _ in range(passes):
            await checkpoint()
        raise Later

    router = Router()
    router.add(waits, name="a")
    router.add(second, name="b")
    for _ in range(RUNS):
        go = anyio.Event()
        with pytest.raises(First):
            await router.dispatch(reader(form(("a", b"1"), ("b", b"2"))))


# -- a source that is given up meanwhile ------------------------------------------------------


async def test_a_source_whose_future_is_cancelled_while_it_is_judged(
    anyio_backend_name: str,
) -> None:
    if anyio_backend_name != "asyncio":
        return  # nowhere else can a future be cancelled
    waited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    body = form(("n", b"1"), ("b", b"2"), ("c", b"3"))

    async def source() -> AsyncIterator[bytes]:
        yield body[: body.index(b'name="c"')]
        await waited

    async def hangs(part: Part) -> None:
        await anyio.sleep_forever()

    async def bad(part: Part) -> None:
        await part.read()
        asyncio.get_running_loop().call_later(0.01, waited.cancel)
        raise Later

    router = Router()
    router.add(hangs, name="n")
    router.add(bad, name="b")
    router.add(read)
    with pytest.raises(Later):
        await router.dispatch(reader(source()))


async def test_a_caller_that_is_cancelled_while_it_is_judged() -> None:
    async def hangs(part: Part) -> None:
        await anyio.sleep_forever()

    router = Router()
    router.add(hangs, name="n")
    router.add(fails)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def cancel() -> None:
                for _ in range(20):
                    await checkpoint()
                scope.cancel()

            tasks.start_soon(cancel)
            with pytest.raises((First, anyio.get_cancelled_exc_class())):
                await router.dispatch(reader(form(("n", b"1"), ("b", b"2"))))
            await checkpoint()
    assert scope.cancelled_caught
