"""Rule 12 of a flow, a thousand times: which failure reaches the caller, and that it does so bare.

Knows: when each handler fails, and so who has to win. Must not know: how a flow finds out.

The handlers fail at random moments of virtual time, often several at the same one, behind needs
and inside of a nested flow. Each backend is held against the same model, so both do the same.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint

from mpflow import Part, PartRef, Router
from mpflow.testing import virtual_time as virtual_backend
from mpflow_handlers import Nested, Tee
from tests.clock import virtual_time
from tests.flow.support import Field, form, nested, notes, reader

RUNS = 1000
PHASES = ["one", "two", "tee", "needing"]


class Boom(Exception):
    """A handler's own exception."""


@attrs.frozen
class Case:
    """A part: what its handler is, when it ends (seconds), and whether it then fails."""

    kind: str
    seconds: int
    fails: bool
    passes: int
    """Checkpoints that it takes before."""


@attrs.define(eq=False)
class Play:
    """Handlers that do as the cases say. A part's body is the place of its case."""

    cases: tuple[Case, ...]
    inner: tuple[Case, ...]
    raised: dict[tuple[int, ...], Boom] = attrs.field(factory=dict[tuple[int, ...], Boom])
    refs: dict[tuple[int, ...], PartRef] = attrs.field(factory=dict[tuple[int, ...], PartRef])
    kept: list[tuple[int, ...]] = attrs.field(factory=list[tuple[int, ...]])

    async def act(self, part: Part) -> int:
        cases = self.cases if len(part.path) == 1 else self.inner
        case = cases[part.index]
        for _ in range(case.passes):
            await checkpoint()
        await anyio.sleep(case.seconds)
        if case.fails:
            error = self.raised[part.path] = Boom(part.path)
            self.refs[part.path] = part.info.ref
            raise error
        return case.seconds

    async def one(self, part: Part) -> int:
        return await self.act(part)

    async def needing(self, part: Part, key: int) -> int:
        return await self.act(part)

    @asynccontextmanager
    async def two(self, part: Part) -> AsyncGenerator[int, None]:
        yield await self.act(part)
        self.kept.append(part.path)

    def router(self) -> Router:
        inner = self._level()
        router = self._level()
        router.add(Nested(inner), name="inner")
        return router

    def _level(self) -> Router:
        router = Router()
        router.add(self.one, name="key", key="key")
        router.add(self.one, name="one")
        router.add(self.two, name="two")
        router.add(Tee(self.act, self._idle), name="tee")
        router.add(self.needing, name="needing", needs="key")
        return router

    @staticmethod
    async def _idle(part: Part) -> None:
        await part.drain()

    @property
    def body(self) -> bytes:
        inside = nested("inner", *(Field(case.kind) for case in self.inner))
        return form(*(inside if case.kind == "inner" else Field(case.kind) for case in self.cases))

    def winner(self) -> tuple[int, ...] | None:
        """The path of the part whose failure has to reach the caller: of the first, the earliest.

        Though a `Tee` or a nested flow takes some passes to roll back before it fails its part.
        """
        found = _failures(self.cases)
        if any(case.kind == "inner" for case in self.cases):
            within = min(_failures(self.inner), default=None)
            if within is not None:
                number = next(i for i, case in enumerate(self.cases) if case.kind == "inner")
                found.append((within[0], (number, *within[1])))
        return min(found)[1] if found else None


def _failures(cases: tuple[Case, ...]) -> list[tuple[float, tuple[int, ...]]]:
    """When each failure comes: its second, and its path."""
    key = cases[0]
    found: list[tuple[float, tuple[int, ...]]] = []
    for number, case in enumerate(cases):
        if not case.fails or (case.kind == "needing" and key.fails):
            continue
        since = key.seconds if case.kind == "needing" else 0
        found.append((since + case.seconds, (number,)))
    return found


def play(seed: int) -> Play:
    """The play of that seed."""
    chance = random.Random(seed)

    def cases(kinds: list[str]) -> tuple[Case, ...]:
        made = [
            Case(kind, chance.randint(1, 3), chance.random() < 0.6, chance.randint(0, 5))
            for kind in kinds
        ]
        made[0] = attrs.evolve(made[0], fails=chance.random() < 0.1)
        return tuple(made)

    outer = chance.choices(PHASES, k=chance.randint(2, 6))
    if chance.random() < 0.5:
        outer.insert(chance.randint(0, len(outer)), "inner")
    made = cases(["key", *outer])
    made = tuple(attrs.evolve(c, fails=False) if c.kind == "inner" else c for c in made)
    return Play(made, cases(["key", *chance.choices(PHASES, k=3)]))


async def outcome(seed: int) -> tuple[int, ...] | None:
    """The path of the part whose failure came out of the run of that seed, which is checked."""
    made, caught = play(seed), None
    size = random.Random(seed).choice([None, 50, 500])
    try:
        await made.router().dispatch(reader(made.body, size=size))
    except Boom as error:
        caught = error
    if caught is None:
        assert made.raised == {}
        assert made.winner() is None
        return None
    path: tuple[int, ...] = caught.args[0]
    # Its own: as it was raised, with no cause, and with a note that names its part.
    assert caught is made.raised[path]
    assert caught.__cause__ is None
    assert not caught.__suppress_context__
    assert notes(caught).startswith(f"in {made.refs[path]}, handled by "), notes(caught)
    assert made.kept == []
    assert path == made.winner(), f"run {seed}: {made}"
    return path


async def outcomes(seeds: Sequence[int]) -> list[tuple[int, ...] | None]:
    return [await outcome(seed) for seed in seeds]


def test_the_same_failure_bare_in_each_of_a_thousand_runs() -> None:
    seeds = range(RUNS)
    found: dict[str, list[tuple[int, ...] | None]] = {}
    for backend in ("asyncio", "trio"):
        with virtual_backend(backend) as (name, options):
            found[backend] = anyio.run(outcomes, seeds, backend=name, backend_options=options)
    assert found["asyncio"] == found["trio"]
    failed = [path for path in found["trio"] if path is not None]
    inside = sum(len(path) > 1 for path in failed)
    print(f"{len(failed)} of {RUNS} runs failed alike, {inside} of them inside")
    assert len(failed) > RUNS * 0.8
    assert inside > RUNS * 0.05


@pytest.mark.anyio
@virtual_time
@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("kind", ["one", "two", "tee", "inner"])
async def test_handlers_run_side_by_side(kind: str, slots: int) -> None:
    """Three that take 1 s from their last byte on take 1 s together, and not 3."""
    running = most = 0

    async def slow(part: Part) -> None:
        nonlocal running, most
        await part.drain()
        running += 1
        most = max(most, running)
        await anyio.sleep(1)
        running -= 1

    @asynccontextmanager
    async def staged(part: Part) -> AsyncGenerator[None, None]:
        await slow(part)
        yield

    handlers: dict[str, Callable[[Part], Awaitable[Any]] | Any] = {
        "one": slow, "two": staged, "tee": Tee(slow, staged),
    }  # fmt: skip
    inner, router = Router(max_handlers=slots), Router(max_handlers=slots)
    inner.add(slow)
    router.add(handlers.get(kind, Nested(inner)))
    part = nested("n", ("x", b"1" * 300)) if kind == "inner" else Field("n", b"2" * 300)
    start = anyio.current_time()
    await router.dispatch(reader(form(part, part, part), size=100))
    took = anyio.current_time() - start
    # A part that waits for its own nested flow holds no slot.
    width = 3 if kind == "inner" else slots
    assert took == pytest.approx(-(-3 // width), abs=0.01)
    assert most == width * (2 if kind == "tee" else 1)
