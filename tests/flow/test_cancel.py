"""Breaking the flow: cancelled and failing at every checkpoint, and at random.

Knows: what must hold whatever happens. Must not know: any single rule.

What must hold: all is committed or nothing; each handler that was entered is left, once; no task
is left behind; the cancellation is not swallowed; nothing hangs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint
from hypothesis import given
from hypothesis import strategies as st

from mpflow import Branches, CommitFailed, MultipartError, Part, Results, Router
from tests.flow.support import Chunks, Field, cut, form, nested, reader

pytestmark = pytest.mark.anyio

PATIENCE = 10.0
"""Seconds of real time after which a flow counts as hung."""


class Boom(Exception):
    """A failure on purpose."""


@attrs.define(eq=False)
class World:
    """Counts the checkpoints of source and handlers, and does its worst at the one it is told."""

    at: int = -1
    worst: str = "cancel"
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    count: int = 0
    entered: list[str] = attrs.field(factory=list[str])
    staged: set[str] = attrs.field(factory=set[str])
    committed: list[str] = attrs.field(factory=list[str])
    undone: list[str] = attrs.field(factory=list[str])
    begun: bool = False  # the first commit has begun
    done_at_begin: bool = False
    running: int = 0

    async def step(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.done_at_begin = self.begun
            if self.worst == "cancel":
                self.scope.cancel()
            else:
                raise Boom
        await checkpoint()

    async def one(self, part: Part) -> int:
        self.running += 1
        try:
            await self.step()
            size = 0
            async for chunk in part:
                size += len(chunk)
                await self.step()
            return size
        finally:
            self.running -= 1

    @asynccontextmanager
    async def two(self, part: Part) -> AsyncGenerator[int, None]:
        name = f"{part.path}"
        self.running += 1
        self.entered.append(name)
        try:
            size = 0
            async for chunk in part:
                size += len(chunk)
                await self.step()
            self.staged.add(name)
            yield size
            self.begun = True
            await self.step()
        except BaseException:
            # No checkpoint of ours: that the cancellation has come is the point of it.
            self.undone.append(name)
            raise
        else:
            self.committed.append(name)
        finally:
            self.running -= 1

    @asynccontextmanager
    async def group(self, part: Part) -> AsyncIterator[int]:
        """In two phases, with a task group held over the yield."""
        async with self.two(part) as size, anyio.create_task_group() as tasks:
            tasks.start_soon(self.step)
            told = anyio.Event()
            tasks.start_soon(told.wait)
            try:
                yield size
            finally:
                told.set()

    @asynccontextmanager
    async def tee(self, part: Part) -> AsyncIterator[tuple[Any, ...]]:
        async with Branches(part, [(self.one, "abort"), (self.two, "abort")]) as values:
            yield values

    def router(self, slots: int) -> Router:
        inner = Router(max_handlers=slots)
        inner.add(self.one, name="one")
        inner.add(self.two)

        @asynccontextmanager
        async def inside(part: Part) -> AsyncIterator[Results]:
            async with inner.flow(part.multipart()) as flow:
                yield flow.results

        router = Router(max_handlers=slots)
        router.add(inside, content_type="multipart/*")
        router.add(self.one, name="one")
        router.add(self.group, name="group")
        router.add(self.tee, name="tee")
        router.add(self.two)
        return router

    def check(self) -> None:
        assert self.running == 0
        assert len(set(self.entered)) == len(self.entered)
        assert sorted(self.committed + self.undone) == sorted(self.entered)


BODY = form(
    ("two", b"x" * 30),
    ("one", b"y" * 10),
    nested("in", ("two", b"z" * 20), ("one", b"1"), ("last", b"2")),
    ("group", b"g" * 12),
    ("tee", b"t" * 40),
    ("end", b"e"),
)
TWO_PHASES = 6


async def run(world: World, slots: int, size: int) -> Results | None:
    """One dispatch in the world's scope; None if the scope was cancelled."""
    results = None
    with anyio.fail_after(PATIENCE):
        with world.scope:
            results = await world.router(slots).dispatch(
                reader(Chunks(cut(BODY, size), world.step))
            )
    return results


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("size", [len(BODY), 60])
async def test_cancelled_at_every_step(slots: int, size: int) -> None:
    world = World()
    assert await run(world, slots, size) is not None
    world.check()
    assert len(world.committed) == TWO_PHASES
    for at in range(1, world.count + 1):
        world = World(at)
        results = await run(world, slots, size)
        world.check()
        if world.count < at:  # on trio, the order of tasks and so the count varies
            assert len(world.committed) == TWO_PHASES
        elif world.done_at_begin:
            # From the first commit on the cancellation waits, and the results are reported.
            assert results is not None
            assert len(world.committed) == TWO_PHASES
        else:
            assert world.scope.cancelled_caught
            assert results is None
            assert world.committed == []


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("size", [len(BODY), 60])
async def test_failing_at_every_step(slots: int, size: int) -> None:
    """Wherever it comes from, source or handler, entering or committing."""
    world = World()
    await run(world, slots, size)
    for at in range(1, world.count + 1):
        world = World(at, "raise")
        try:
            await run(world, slots, size)
        except Boom:
            assert world.committed == []
        except CommitFailed as error:
            assert world.done_at_begin
            cause: BaseException | None = error
            while isinstance(cause, CommitFailed):
                cause = cause.__cause__
            assert isinstance(cause, Boom)
            assert len(world.committed) < TWO_PHASES
        except ExceptionGroup as group:
            # The task that failed was in a group of the handler's own.
            if group.split(Boom)[1] is not None:
                raise
            assert world.committed == []
        else:
            assert world.count < at, "the failure was lost"
        world.check()


@pytest.mark.parametrize("size", [len(BODY), 60])
async def test_cancelled_after_every_pass_of_the_scheduler(size: int) -> None:
    """Not only where source and handlers stand, but wherever the flow itself waits."""
    passes, over = 0, False
    while not over:
        world = World()
        results: list[Results | None] = []

        async def dispatch(world: World = world, results: list[Results | None] = results) -> None:
            results.append(await run(world, 2, size))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatch)
            for _ in range(passes):
                await cancel_shielded_checkpoint()
            over = bool(results)
            world.scope.cancel()
        world.check()
        # Results are lost only where nothing was committed.
        assert len(world.committed) == (0 if results[0] is None else TWO_PHASES)
        passes += 1
    assert passes > 20


async def test_the_block_is_cancelled_and_the_caller_with_it() -> None:
    for early in (True, False):
        world = World()
        with anyio.fail_after(PATIENCE), world.scope:
            async with world.router(2).flow(reader(BODY)) as flow:
                if early:
                    await flow.commit()
                world.scope.cancel()
                await checkpoint()
                raise AssertionError("not reached")
        assert world.scope.cancelled_caught
        world.check()
        assert len(world.committed) == (TWO_PHASES if early else 0)


# -- at random --------------------------------------------------------------------------------

BEHAVIOURS = ["all", "early", "raise", "hang", "slow", "nothing"]
BEHAVIOURS += ["two", "two fails", "commit fails"]


@attrs.frozen
class Plan:
    """A random flow: what each part's handler does, and how the body comes."""

    parts: tuple[tuple[str, int, int], ...]
    """Behaviour, bytes of the body, checkpoints that it takes."""
    size: int
    slots: int
    cut_at: int | None
    collect: bool


plans = st.builds(
    Plan,
    parts=st.lists(
        st.tuples(st.sampled_from(BEHAVIOURS), st.integers(0, 200_000), st.integers(0, 6)),
        max_size=8,
    ).map(tuple),
    size=st.sampled_from([37, 1000, 65_536, 1_000_000]),
    slots=st.integers(1, 4),
    cut_at=st.none() | st.integers(0, 1000),
    collect=st.booleans(),
)


@attrs.define(eq=False)
class Chance:
    """Handlers that do as a plan says."""

    plan: Plan
    entered: set[int] = attrs.field(factory=set[int])
    committed: set[int] = attrs.field(factory=set[int])
    undone: set[int] = attrs.field(factory=set[int])
    running: int = 0

    async def _work(self, part: Part) -> int:
        what, _, passes = self.plan.parts[part.index]
        for _ in range(passes):
            await checkpoint()
        if what in ("raise", "two fails"):
            raise Boom
        if what == "early":
            return 0
        if what == "hang":
            await anyio.sleep_forever()
        if what != "nothing":
            async for _ in part:
                if what == "slow":
                    await checkpoint()
        return part.index

    async def one(self, part: Part) -> int:
        self.running += 1
        try:
            return await self._work(part)
        finally:
            self.running -= 1

    @asynccontextmanager
    async def two(self, part: Part) -> AsyncGenerator[int, None]:
        self.running += 1
        self.entered.add(part.index)
        try:
            yield await self._work(part)
            if self.plan.parts[part.index][0] == "commit fails":
                raise Boom
            self.committed.add(part.index)
        except BaseException:
            self.undone.add(part.index)
            raise
        finally:
            self.running -= 1


def chance_router(chance: Chance) -> Router:
    router = Router(max_handlers=chance.plan.slots)
    router.add(chance.one, name="one", on_error="collect" if chance.plan.collect else "abort")
    router.add(chance.two)
    return router


@given(plan=plans)
async def test_a_random_flow_ends(plan: Plan) -> None:
    """In a result or a named error, with all committed or nothing; a handler that hangs alone
    is cancelled from outside, and nothing but the cancellation comes of it."""
    fields = [
        Field("two" if what in ("two", "two fails", "commit fails") else "one", b"x" * size)
        for what, size, _ in plan.parts
    ]
    body = form(*fields)
    if plan.cut_at is not None:
        body = body[: plan.cut_at]
    chance = Chance(plan)
    source = Chunks(cut(body, plan.size))
    ended: BaseException | Results | None = None
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def dispatch() -> None:
                nonlocal ended
                try:
                    with anyio.fail_after(PATIENCE):
                        ended = await chance_router(chance).dispatch(reader(source))
                except (Boom, MultipartError) as error:
                    ended = error
                tasks.cancel_scope.cancel()

            tasks.start_soon(dispatch)
            if any(what == "hang" for what, _, _ in plan.parts):
                # A bound on the checkpoints that anything may take.
                for _ in range(len(body) // plan.size * 4 + 400):
                    await cancel_shielded_checkpoint()
                scope.cancel()
    assert chance.running == 0
    assert chance.committed | chance.undone == chance.entered
    assert not chance.committed & chance.undone
    if isinstance(ended, Results):
        assert len(chance.committed) == len(chance.entered)
        assert len(ended) == len(fields)
    elif isinstance(ended, CommitFailed):
        assert isinstance(ended.__cause__, Boom)
        assert {h.part.index for h in ended.committed} == chance.committed
        assert ended.failed.part.index in chance.undone
    else:
        assert chance.committed == set()
        if ended is None:
            assert scope.cancelled_caught
            assert any(what == "hang" for what, _, _ in plan.parts)
