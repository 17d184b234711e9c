"""Handlers inside a part that fail once they have answered: nothing before that part is committed.

Knows: before and behind the yield of the handler around, and what an observer and the notes say.
Must not know: how one flow tells the other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import Branches, CommitFailed, FlowAborted, Part, RolledBack, Router
from mpflow.reports import PartFailed, PartReport, PartStarted, Report
from mpflow_handlers import Discard, Nested, Tee
from tests.flow.support import Diary, Field, form, nested, notes, read, reader

pytestmark = pytest.mark.anyio


class Inner(Exception):
    """Of a handler that waits for its commit."""


class Ends(BaseException):
    """Ends the program. Asyncio lets SystemExit itself out of a task before anybody sees it."""


class Bomb:
    """A handler that fails with `error` as it waits, once `go` is set; `failed` tells that."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.go, self.failed = anyio.Event(), anyio.Event()

    @asynccontextmanager
    async def __call__(self, part: Part) -> AsyncGenerator[None, None]:
        async def fail() -> None:
            await self.go.wait()
            raise self.error

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail)
                yield
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self.failed.set()

    async def set_off(self) -> None:
        """Until the flow has heard of it."""
        self.go.set()
        await self.failed.wait()
        for _ in range(5):
            await checkpoint()


def one(handler: Any) -> Router:
    router = Router()
    router.add(handler)
    return router


def around(diary: Diary, handler: Callable[[Part], Any], **policies: Any) -> tuple[Router, bytes]:
    """A router whose first part waits for its commit, before that of the handler."""
    router = Router()
    router.add(diary, name="first")
    router.add(handler, name="n", **policies)
    return router, form(("first", b"1"), nested("n", ("x", b"2")))


# -- before the yield of the handler around ----------------------------------------------------


def by_flow(bomb: Bomb) -> Callable[[Part], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def handler(part: Part) -> AsyncGenerator[Any, None]:
        async with one(bomb).flow(part.multipart()) as flow:
            await bomb.set_off()
            yield flow.results

    return handler


def by_branches(bomb: Bomb) -> Callable[[Part], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def handler(part: Part) -> AsyncGenerator[Any, None]:
        async with Branches(part, [(bomb, "abort"), (read, "abort")]) as values:
            await bomb.set_off()
            yield values

    return handler


def two_levels_down(bomb: Bomb) -> Callable[[Part], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def handler(part: Part) -> AsyncGenerator[Any, None]:
        async with one(Tee(Discard(), bomb)).flow(part.multipart()) as flow:
            await bomb.set_off()
            yield flow.results

    return handler


MAKERS = [by_flow, by_branches, two_levels_down]


@pytest.mark.parametrize("kind", [Inner, Ends])
@pytest.mark.parametrize("make", MAKERS)
async def test_a_failure_that_is_known_at_the_yield(make: Any, kind: type[BaseException]) -> None:
    diary, bomb, told = Diary(), Bomb(kind("inside")), list[Report]()
    router, body = around(diary, make(bomb))
    observed = Router(observer=told.append)
    observed.include(router)
    with pytest.raises(kind) as caught:
        await observed.dispatch(reader(body))
    assert caught.value is bomb.error
    assert (diary.committed, diary.rolled_back) == ([], ["first"])
    assert "rollback" not in notes(bomb.error)
    assert [type(it) for it in of(told, "n")] == [PartStarted, PartFailed]


@pytest.mark.parametrize("make", MAKERS)
async def test_it_is_a_failure_of_entering_that_a_route_may_collect(make: Any) -> None:
    diary, bomb = Diary(), Bomb(Inner())
    router, body = around(diary, make(bomb), on_error="collect")
    results = await router.dispatch(reader(body))
    assert list(results.errors) == [bomb.error]
    assert diary.committed == ["first"]


async def test_what_those_inside_are_told() -> None:
    bomb, inside = Bomb(Inner()), Diary()
    inner = Router()
    inner.add(inside, name="x")
    inner.add(bomb, name="y")

    @asynccontextmanager
    async def handler(part: Part) -> AsyncGenerator[None, None]:
        async with inner.flow(part.multipart()):
            await bomb.set_off()
            yield

    router = one(handler)
    with pytest.raises(Inner):
        await router.dispatch(reader(form(nested("n", ("x", b"1"), ("y", b"2")))))
    (reason,) = inside.reasons
    assert isinstance(reason, RolledBack)
    assert reason.__cause__ is bomb.error


async def test_a_flow_that_was_left_before_the_yield_says_nothing() -> None:
    diary, bomb = Diary(), Bomb(Inner())

    @asynccontextmanager
    async def mends(part: Part) -> AsyncGenerator[str, None]:
        with pytest.raises(Inner):
            async with one(bomb).flow(part.multipart()):
                await bomb.set_off()
        yield "mended"

    router, body = around(diary, mends)
    assert (await router.dispatch(reader(body)))["n"] == "mended"
    assert diary.committed == ["first"]


@pytest.mark.parametrize("verb", ["commit", "abort"])
async def test_a_flow_that_was_decided_before_the_yield(verb: str) -> None:
    diary, bomb = Diary(), Bomb(Inner())

    @asynccontextmanager
    async def decides(part: Part) -> AsyncGenerator[str, None]:
        async with one(bomb).flow(part.multipart()) as flow:
            await bomb.set_off()
            if verb == "abort":
                await flow.abort(FlowAborted("no"))
            else:
                with pytest.raises(Inner):
                    await flow.commit()
            yield "mended"

    router, body = around(diary, decides)
    if verb == "abort":  # its block raises what failed before, at its end
        with pytest.raises(Inner):
            await router.dispatch(reader(body))
        assert not diary.committed
    else:
        assert (await router.dispatch(reader(body)))["n"] == "mended"
        assert diary.committed == ["first"]


async def test_one_that_fails_in_its_commit_alone_is_a_failed_commit() -> None:
    diary = Diary()

    @asynccontextmanager
    async def late(part: Part) -> AsyncGenerator[None, None]:
        yield
        raise Inner

    router, body = around(diary, Nested(one(late)))
    with pytest.raises(CommitFailed):
        await router.dispatch(reader(body))
    assert diary.committed == ["first"]


# -- behind it ---------------------------------------------------------------------------------


def of(reports: list[Report], name: str) -> list[PartReport]:
    """What was told of the parts of that name."""
    return [it for it in reports if isinstance(it, PartReport) and it.part.name == name]


@pytest.mark.parametrize("kind", [Inner, Ends])
@pytest.mark.parametrize("inside", ["bare", "tee", "tees", "nested"])
async def test_what_is_told_of_it(inside: str, kind: type[BaseException]) -> None:
    told, bomb = list[Report](), Bomb(kind("inside"))
    handler: Any = {
        "bare": bomb,
        "tee": Tee(bomb, Discard()),
        "tees": Tee(Tee(bomb, Discard()), read),
        "nested": Nested(one(bomb)),
    }[inside]

    async def sets_it_off(part: Part) -> None:
        await bomb.set_off()
        await anyio.sleep_forever()

    router = Router(observer=told.append)
    router.add(handler, name="a")
    router.add(sets_it_off)
    a = nested("a", ("x", b"1")) if inside == "nested" else Field("a", b"1")
    with pytest.raises(kind) as caught:
        await router.dispatch(reader(form(a, ("z", b"2"))))
    assert caught.value is bomb.error
    for name in ("a", "x") if inside == "nested" else ("a",):
        kinds = [type(it).__name__ for it in of(told, name)]
        assert kinds == ["PartStarted", "PartFinished", "PartFailed"]
        failed = of(told, name)[-1]
        assert isinstance(failed, PartFailed)
        assert failed.error is bomb.error
    assert "rollback" not in notes(bomb.error)
