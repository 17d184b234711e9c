"""Dependencies at random against a model: nothing hangs, and the outcome is the one that is due.

Knows: routes and parts at random, what they must come to. Must not know: tasks, time, files.

The model knows neither time nor slots: what is refused is a matter of the wire. Where handlers
fail, it says which failures may win.
"""

from __future__ import annotations

import heapq
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from mpflow import (
    DependencyFailed,
    LimitExceeded,
    MissingParts,
    MultipartReader,
    Part,
    Results,
    Router,
    SurplusPart,
    UnmetNeed,
)
from tests.clock import VIRTUAL
from tests.flow.support import CONTENT_TYPE, Chunks, Field, form, nested

PATIENCE = 60.0
"""Seconds, of virtual time where it is virtual, after which a flow counts as hung."""
MOST = 100
"""Bytes that a small route takes of a part."""
SIZES = [0, 1, 300, 5_000, 65_536, 70_000, 300 * 1024]


CASES = 250
"""How many are tried at least, on each backend."""


class Boom(Exception):
    """A failure on purpose, of the part at this index."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


# -- what is drawn ----------------------------------------------------------------------------


@attrs.frozen
class Way:
    """One route: `k<n>`, with the needs of its handler; some keys have a second one."""

    key: str
    needs: tuple[str, ...]
    order: Literal["reject", "spool"] = "reject"
    kind: Literal["one", "two", "nested"] = "one"
    on_error: Literal["abort", "collect"] = "abort"
    fails: Literal["no", "before", "after"] = "no"
    reads: bool = True
    pause: tuple[int, int] = (0, 0)
    small: bool = False
    second: bool = False


@attrs.frozen
class Sent:
    """One part: which route it is for, and how large it is."""

    way: Way
    size: int

    @property
    def over(self) -> bool:
        """Whether it is larger than its route takes."""
        return self.way.small and (self.size > MOST or self.way.kind == "nested")


@attrs.frozen
class Case:
    """Routes, the parts that come, and how."""

    ways: tuple[Way, ...]
    sent: tuple[Sent, ...]
    slots: int
    chunk: int
    cancel_at: int

    def body(self) -> bytes:
        return form(*[self._field(sent) for sent in self.sent])

    @staticmethod
    def _field(sent: Sent) -> Field:
        name, data = sent.way.key, b"x" * sent.size
        content_type = "application/second" if sent.way.second else None
        if sent.way.kind == "nested":
            made = nested(name, ("y", data), ("x", b"x"))
            return attrs.evolve(made, filename="second") if sent.way.second else made
        return Field(name, data, content_type=content_type)


rarely = st.sampled_from([False] * 5 + [True])
very_rarely = st.sampled_from([False] * 30 + [True])


@st.composite
def ways(draw: st.DrawFn, key: int, second: bool, calm: bool) -> Way:
    lower = [f"k{i}" for i in range(key)]
    most = min(3, len(lower))
    needs = draw(st.lists(st.sampled_from(lower), max_size=most, unique=True)) if lower else []
    orders: list[Any] = ["spool"] if calm else ["spool", "spool", "reject"]
    fails: list[Any] = ["no"] * 9 + ["before", "after"]
    small = draw(very_rarely)
    return Way(
        key=f"k{key}",
        needs=(*needs, *(["given"] if draw(rarely) else [])),
        order=draw(st.sampled_from(orders)),
        kind=draw(st.sampled_from(["one", "two", "two", "nested"])),
        on_error=draw(st.sampled_from(["abort", "collect"])),
        fails=draw(st.sampled_from(fails)),
        reads=small or not draw(rarely),
        pause=draw(st.tuples(st.integers(0, 3), st.integers(0, 3))),
        small=small,
        second=second,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    table: list[Way] = []
    sent: list[Sent] = []
    sizes = st.sampled_from(draw(st.sampled_from([SIZES[:3], SIZES[:3], SIZES])))
    calm = draw(st.booleans())  # what comes can be handled, unless a handler fails
    for key in range(draw(st.integers(2, 8))):
        both = [draw(ways(key, False, calm))]
        if draw(rarely):
            both.append(draw(ways(key, True, calm)))
        table += both
        if calm or not draw(rarely):
            sent.append(Sent(draw(st.sampled_from(both)), draw(sizes)))
        if not calm and draw(very_rarely):
            sent.append(Sent(draw(st.sampled_from(both)), draw(sizes)))
    if calm or draw(st.booleans()):
        sent = draw(st.permutations(sent))
    case = Case(tuple(table), tuple(sent), draw(st.integers(1, 4)), 0, 0)
    length = len(case.body())
    chunk = -(-length // draw(st.sampled_from([1, 3, 10, 40])))
    cancel_at = draw(st.sampled_from([0, 0, 0, 1])) * draw(st.integers(1, 60))
    return attrs.evolve(case, chunk=1 if length < 1500 else chunk, cancel_at=cancel_at)


# -- what must come of it ---------------------------------------------------------------------


@attrs.define
class Model:
    """What a case may come to: `errors`, one of which has to be raised, or `values`."""

    case: Case
    errors: set[tuple[Any, ...]] = attrs.field(factory=set[tuple[Any, ...]])
    place: dict[str, int] = attrs.field(factory=dict[str, int])
    """Where the part of each key stands in the body."""
    values: list[str | None] = attrs.field(factory=list[str | None])
    """What each part gives, None where it fails."""

    def __attrs_post_init__(self) -> None:
        ended = self._order()
        self.values = [None] * len(self.case.sent)
        for index in sorted(range(ended), key=lambda i: self.case.sent[i].way.key):
            self._handle(index)

    def _order(self) -> int:
        """Which part is refused, and how; before it, whatever may fail has failed perhaps."""
        wanted = {key for way in self.case.ways for key in way.needs} - {"given"}
        for index, sent in enumerate(self.case.sent):
            key = sent.way.key
            if key in wanted and key in self.place:
                self.errors.add((SurplusPart, index))
                return index
            if sent.way.order == "reject" and not self._closure(sent.way) <= set(self.place):
                self.errors.add((UnmetNeed, index))
                return index
            self.place.setdefault(key, index)
            if sent.over and sent.way.on_error == "abort":
                self.errors.add((LimitExceeded, index))
                return index + 1
        needed = {key for sent in self.case.sent for key in sent.way.needs} - {"given"}
        missing = needed - set(self.place)
        if missing:
            self.errors.add((MissingParts, frozenset(missing)))
        return len(self.case.sent)

    def _closure(self, way: Way) -> set[str]:
        """All keys that a part needs, and those that they need, as far as they have come."""
        found: set[str] = set()
        todo = [*way.needs]
        while todo:
            key = todo.pop()
            if key != "given" and key not in found:
                found.add(key)
                if key in self.place:
                    todo += self.case.sent[self.place[key]].way.needs
        return found

    def _handle(self, index: int) -> None:
        """In the order of the keys: what a part needs comes before it."""
        sent = self.case.sent[index]
        got: dict[str, str] = {"given": "!"}
        came = True
        failed = False
        for key in sent.way.needs:
            other = self.place.get(key)
            if key == "given":
                continue
            if other is None or self.waits[other]:
                came = False
            elif self.values[other] is None:
                failed = True
            else:
                got[key] = str(self.values[other])
        self.waits[index] = not came
        if failed or sent.over:
            self.waits[index] = False  # it fails before what it waits for could come
        if failed:
            self._fail(index, DependencyFailed)
        elif came and sent.way.fails != "no":
            self._fail(index, Boom)
        elif came and not sent.over:
            self.values[index] = value_of(sent.way, sent.size, got)

    waits: dict[int, bool] = attrs.field(factory=dict[int, bool])

    def _fail(self, index: int, error: type[Exception]) -> None:
        if self.case.sent[index].way.on_error == "abort":
            self.errors.add((error, index))

    def commits(self) -> list[int]:
        """The parts in two phases, as they are committed: needed ones first, then wire order."""
        sent = self.case.sent
        left = {
            i: {self.place[key] for key in s.way.needs if key != "given"} - {i}
            for i, s in enumerate(sent)
        }
        ready = [i for i, needed in left.items() if not needed]
        heapq.heapify(ready)
        ordered: list[int] = []
        while ready:
            done = heapq.heappop(ready)
            ordered.append(done)
            for i, needed in left.items():
                if done in needed:
                    needed.remove(done)
                    if not needed:
                        heapq.heappush(ready, i)
        return [i for i in ordered if sent[i].way.kind != "one" and self.values[i] is not None]


def value_of(way: Way, size: int, needs: dict[str, str]) -> str:
    """What a handler gives: all that it got."""
    read = size if way.reads or way.kind == "nested" else "?"
    return f"{way.key}:{read}({','.join(needs[key] for key in way.needs)})"


# -- a run ------------------------------------------------------------------------------------


@attrs.define(eq=False)
class World:
    """The handlers of a case, and what became of them."""

    case: Case
    virtual: bool
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    steps: int = 0
    running: int = 0
    most: int = 0
    staged: list[int] = attrs.field(factory=list[int])
    committed: list[int] = attrs.field(factory=list[int])
    undone: list[int] = attrs.field(factory=list[int])

    async def step(self) -> None:
        self.steps += 1
        if self.steps == self.case.cancel_at:
            self.scope.cancel()
        await checkpoint()

    async def pause(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.step()
            if self.virtual:
                await anyio.sleep(1)

    def handler(self, way: Way) -> Callable[..., Any]:
        async def one(part: Part, **needs: str) -> str:
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await self.pause(way.pause[0])
                if way.fails == "before":
                    raise Boom(part.index)
                size = len(await part.read(limit=None)) if way.reads else 0
                await self.pause(way.pause[1])
                if way.fails == "after":
                    raise Boom(part.index)
                return value_of(way, size, needs)
            finally:
                self.running -= 1

        @asynccontextmanager
        async def two(part: Part, **needs: str) -> AsyncGenerator[str, None]:
            value = await one(part, **needs)
            async with self.decided(part.index):
                yield value

        @asynccontextmanager
        async def inside(part: Part, **needs: str) -> AsyncGenerator[str, None]:
            if way.fails != "no":
                await self.pause(way.pause[0])
                raise Boom(part.index)
            outer = {f"outer_{key}": value for key, value in needs.items()}
            inner = self.inner(tuple(outer)).flow(part.multipart(), given=outer)
            async with inner as flow, self.decided(part.index):
                yield value_of(way, flow.results["y"], needs)

        return {"one": one, "two": two, "nested": inside}[way.kind]

    def inner(self, outer: tuple[str, ...]) -> Router:
        """`y` is spooled: it needs `x`, which comes later."""

        async def x(part: Part) -> bytes:
            await self.step()
            return await part.read()

        async def y(part: Part, x: bytes, **needs: str) -> int:
            assert x == b"x"
            assert set(needs) == set(outer)
            await self.step()
            return len(await part.read(limit=None))

        router = Router(max_handlers=self.case.slots)
        router.add(x, name="x")
        router.add(y, name="y", needs=["x", *outer], order="spool")
        return router

    @asynccontextmanager
    async def decided(self, index: int) -> AsyncGenerator[None, None]:
        self.staged.append(index)
        try:
            yield
            await self.step()
        except BaseException:
            self.undone.append(index)
            raise
        self.committed.append(index)

    def router(self) -> Router:
        router = Router(max_handlers=self.case.slots)
        for way in sorted(self.case.ways, key=lambda way: not way.second):
            asked: dict[str, Any] = {"name": way.key}
            if way.second and way.kind == "nested":
                asked["filename"] = "second"
            elif way.second:
                asked["content_type"] = "application/second"
            options: dict[str, Any] = {"on_error": way.on_error, "order": way.order}
            options["max_bytes"] = MOST if way.small else None
            router.add(self.handler(way), key=way.key, needs=way.needs, **asked, **options)
        return router


async def run(case: Case, seen: Counter[str], *, virtual: bool) -> None:
    """Run a case, and compare what comes of it with the model."""
    world = World(case, virtual)
    model = Model(case)
    body = case.body()
    pieces = [body[i : i + case.chunk] for i in range(0, len(body), case.chunk)]
    results: Results | None = None
    error: Exception | None = None
    seen["cases"] += 1
    try:
        with anyio.fail_after(PATIENCE), world.scope:
            source = MultipartReader(Chunks(pieces, world.step), CONTENT_TYPE)
            results = await world.router().dispatch(source, given={"given": "!"})
    except Exception as caught:
        error = caught
    assert world.running == 0
    assert world.most <= case.slots
    assert sorted(world.committed + world.undone) == sorted(world.staged)
    if world.scope.cancelled_caught:
        seen["cancelled"] += 1
        if world.committed:
            assert world.committed == model.commits()
        return
    if error is not None:
        seen[type(error).__name__] += 1
        assert named(error) in model.errors, repr(error)
        assert world.committed == []
        return
    assert results is not None
    seen["succeeded"] += 1
    assert model.errors == set()
    for index, item in enumerate(results):
        assert item.value == model.values[index]
        assert (item.error is None) == (item.value is not None)
        assert isinstance(item.error, Boom | DependencyFailed | LimitExceeded | None)
    seen["collected"] += bool(results.errors)
    assert world.committed == model.commits()
    if world.committed != sorted(world.committed):
        seen["reordered"] += 1


def named(error: Exception) -> tuple[Any, ...]:
    """An error as the model names it."""
    if isinstance(error, Boom):
        return Boom, error.index
    if isinstance(error, MissingParts):
        return MissingParts, frozenset(label.strip("'") for label in error.missing)
    part = getattr(error, "part", None)
    return type(error), part.path[0] if part is not None else None


UVLOOP = pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")


@pytest.mark.parametrize("anyio_backend", [*VIRTUAL, UVLOOP], indirect=True)
def test_any_routes_and_any_parts(
    anyio_backend: tuple[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = Counter[str]()
    backend, options = anyio_backend
    virtual = "use_uvloop" not in options

    @settings(max_examples=max(CASES, settings().max_examples))
    @given(cases())
    def check(case: Case) -> None:
        async def main() -> None:
            await run(case, seen, virtual=virtual)

        anyio.run(main, backend=backend, backend_options=options)
        assert list(tmp_path.iterdir()) == []

    check()
    print(dict(seen))
    assert seen["cases"] >= CASES
    assert seen["succeeded"] >= CASES // 10
    assert seen["collected"] + seen["reordered"] >= 10
    assert seen["Boom"] + seen["DependencyFailed"] >= 10
    assert seen["UnmetNeed"] + seen["MissingParts"] + seen["SurplusPart"] >= 1  # seldom 3
    assert seen["cancelled"] >= 5
