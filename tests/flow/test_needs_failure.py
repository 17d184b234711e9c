"""Dependencies that fail, are cancelled, or wait for their commit.

Knows: whose failure reaches whom, what is rolled back and in which order, what is left behind.
Must not know: how a flow keeps what waits.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    CommitFailed,
    DependencyFailed,
    LimitExceeded,
    Limits,
    MissingParts,
    OnError,
    Order,
    Part,
    Rejected,
    Router,
    TruncatedBody,
    UnmetNeed,
)
from mpflow.flow.verdict import GRACE
from tests.clock import virtual_time
from tests.flow.support import Chunks, Diary, cut, form, nested, notes, read, reader
from tests.handlers.support import descriptors, opened_since

pytestmark = pytest.mark.anyio

BOTH: list[OnError] = ["abort", "collect"]
ORDERS: list[Order] = ["reject", "spool"]
BIG = b"0123456789" * 30_000


class Boom(Exception):
    """A failure on purpose."""


async def fail(part: Part, **needs: Any) -> None:
    await checkpoint()
    raise Boom


@asynccontextmanager
async def fail_entering(part: Part, **needs: Any) -> AsyncGenerator[None, None]:
    await part.read(limit=None)
    raise Boom
    yield


async def take(part: Part, **needs: Any) -> bytes:
    return await part.read(limit=None)


# -- a need that fails ------------------------------------------------------------------------


@pytest.mark.parametrize("first", [fail, fail_entering])
@pytest.mark.parametrize("names", ["zabc", "zbac", "zcab"])
@pytest.mark.parametrize("slots", [1, 16])
async def test_abort_the_failure_of_the_need_wins(first: Any, names: str, slots: int) -> None:
    called: list[str] = []
    diary = Diary()

    async def dependent(part: Part, **needs: Any) -> None:
        called.append(part.name or "")

    router = Router(max_handlers=slots)
    router.add(diary, name="z")
    router.add(first, name="a")
    router.add(dependent, name="b", needs="a", order="spool")
    router.add(dependent, name="c", needs="b", order="spool")
    with pytest.raises(Boom) as caught:
        await router.dispatch(reader(form(*[(n, b"x" * 50) for n in names]), size=20))
    assert "in part" in notes(caught.value)
    assert "'a'" in notes(caught.value)
    assert called == []
    assert diary.committed == []
    diary.check()


@pytest.mark.parametrize("names", ["abcz", "bacz", "cbaz", "cabz"])
@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("size", [1, 30, None])
async def test_collect_a_chain_of_three(names: str, slots: int, size: int | None) -> None:
    """Whether a dependent comes before or after the failure, its slot and the rest go on."""
    called: list[str] = []

    async def dependent(part: Part, **needs: Any) -> None:
        called.append(part.name or "")

    router = Router(max_handlers=slots)
    router.add(fail, name="a", on_error="collect")
    router.add(dependent, name="b", needs="a", order="spool", on_error="collect")
    router.add(dependent, name="c", needs=["b", "given"], order="spool", on_error="collect")
    router.add(read, name="z")
    body = form(*[(name, name.encode() * 100) for name in names])
    with anyio.fail_after(20):
        results = await router.dispatch(reader(body, size=size), given={"given": 1})
    assert [item.part.name for item in results] == list(names)
    assert [item.part.size for item in results] == [100] * 4
    errors = {item.part.name: item.error for item in results}
    assert isinstance(errors["a"], Boom)
    for name, needed in (("b", "a"), ("c", "b")):
        error = errors[name]
        assert isinstance(error, DependencyFailed)
        assert error.__cause__ is errors[needed]
        assert error.part is not None
        assert error.part.name == name
        assert f"needs the result of part {names.index(needed)} '{needed}'" in str(error)
        assert error.status == 422
    assert called == []
    assert results["z"] == b"z" * 100


@pytest.mark.parametrize("names", ["ab", "ba"])
@pytest.mark.parametrize("slots", [1, 16])
async def test_a_dependent_of_a_collected_failure_may_abort(names: str, slots: int) -> None:
    router = Router(max_handlers=slots)
    router.add(fail, name="a", on_error="collect")
    router.add(take, name="b", needs="a", order="spool")
    with pytest.raises(DependencyFailed) as caught:
        await router.dispatch(reader(form(*[(n, BIG) for n in names]), size=10_000))
    assert isinstance(caught.value.__cause__, Boom)


@pytest.mark.parametrize("passes", range(8))
async def test_a_part_that_is_refused_waits_for_nothing(passes: int) -> None:
    """What it needs fails while the flow is about to end: that is no failure of the part."""

    async def fails_soon(part: Part) -> None:
        for _ in range(passes):
            await checkpoint()
        raise Boom

    router = Router()
    router.add(fails_soon, name="a", on_error="collect")
    router.add(take, name="later")
    router.add(take, name="b", needs=["a", "later"])
    for size in (30, 60, None):
        with pytest.raises(UnmetNeed, match="expected 'later' before it"):
            await router.dispatch(reader(form(("a", b""), ("b", b"")), size=size))


@pytest.mark.parametrize("passes", range(8))
async def test_a_part_that_is_too_large_and_whose_need_fails(passes: int) -> None:
    """However the body is cut: what fails a part by itself comes before what fails the flow."""

    async def fails_soon(part: Part) -> None:
        for _ in range(passes):
            await checkpoint()
        raise Boom

    router = Router()
    router.add(fails_soon, name="a", on_error="collect")
    router.add(take, name="b", needs="a", max_bytes=1)
    for size in (1, 60, None):
        with pytest.raises(DependencyFailed):
            await router.dispatch(reader(form(("a", b""), ("b", b"22")), size=size))


@pytest.mark.parametrize("backwards", [False, True])
async def test_a_chain_longer_than_the_stack(backwards: bool) -> None:
    count = 350
    limits = Limits(max_parts=None, max_total_header_bytes=None)

    async def late(part: Part) -> None:
        for _ in range(0 if backwards else 300):
            await checkpoint()
        raise Boom

    router = Router(limits=limits)
    router.add(late, name="k0", on_error="collect")
    for i in range(1, count):
        router.add(take, name=f"k{i}", needs=f"k{i - 1}", order="spool", on_error="collect")
    fields = [(f"k{i}", b"") for i in range(count)]
    if backwards:
        fields.reverse()
    results = await router.dispatch(reader(form(*fields)))
    assert len(results.errors) == count
    with pytest.raises(MissingParts) as caught:
        await router.dispatch(reader(form(*[field for field in fields if field[0] != "k0"])))
    assert caught.value.missing == ("'k0'",)


async def test_the_status_is_that_of_the_cause() -> None:
    router = Router()
    router.add(take, name="a", max_bytes=1, on_error="collect")
    router.add(take, name="b", needs="a", on_error="collect")
    results = await router.dispatch(reader(form(("a", b"12"), ("b", b""))))
    error = results.errors[1]
    assert isinstance(error, DependencyFailed)
    assert error.status == 413


async def test_what_collect_does_not_cover_is_no_failed_dependency() -> None:
    async def verdict(part: Part) -> None:
        raise Rejected(451, "no")

    router = Router()
    router.add(verdict, name="a", on_error="collect")
    router.add(take, name="b", needs="a", on_error="collect")
    with pytest.raises(Rejected):
        await router.dispatch(reader(form(("a", b""), ("b", b""))))


@pytest.mark.parametrize("spooled", [False, True])
async def test_a_dependent_that_failed_is_drained_within_limits(spooled: bool) -> None:
    """Drained bytes count; none of them is kept in the file."""
    router = Router(limits=Limits(max_spool_bytes=10))
    router.add(fail, name="a", on_error="collect")
    router.add(take, name="later")
    router.add(take, name="meanwhile")
    needs = ["a", "later"] if spooled else ["a"]
    router.add(take, name="b", needs=needs, order="spool", on_error="collect")
    body = form(("a", b""), ("meanwhile", bytes(20_000)), ("b", BIG), ("later", b""))
    results = await router.dispatch(reader(body, size=1000))
    assert [item.part.size for item in results] == [0, 20_000, len(BIG), 0]
    assert [item.error is None for item in results] == [False, True, False, True]
    small = Limits(max_part_bytes=100_000)
    with pytest.raises(LimitExceeded) as caught:
        await router.dispatch(reader(body, size=1000, limits=small))
    assert caught.value.limit == "max_part_bytes"


@pytest.mark.parametrize("passes", [0, 1, 2, 5, 1000])
@pytest.mark.parametrize("names", ["abcd", "bacd", "cbad"])
async def test_what_is_in_order_is_no_matter_of_time(passes: int, names: str) -> None:
    """However soon `a` fails, and `b` and `c` with it: they need what has not come."""

    async def fails_at_last(part: Part) -> None:
        for _ in range(passes):
            await checkpoint()
        raise Boom

    def router(order: Order) -> Router:
        router = Router()
        router.add(fails_at_last, name="a", on_error="collect")
        router.add(take, name="b", needs=["a", "never"], order="spool", on_error="collect")
        router.add(take, name="c", needs="b", order="spool", on_error="collect")
        router.add(take, name="d", needs="c", order=order, on_error="collect")
        router.add(take, name="never")
        router.add(take)
        return router

    fields = [(name, b"") for name in names[:3]]
    body = form(*fields, ("z", bytes(3000)), ("d", b""))
    with pytest.raises(MissingParts) as caught:
        await router("spool").dispatch(reader(body, size=100))
    assert caught.value.missing == ("'never'",)
    assert "part 4 'd' needs 'c', which needs 'b', which needs 'never'" in caught.value.waiting
    with pytest.raises(UnmetNeed, match=r"'c' before it.* that one waits for 'b', which needs"):
        await router("reject").dispatch(reader(body, size=100))
    body = form(*fields, ("z", bytes(3000)), ("never", b""), ("d", b""))
    for order in ORDERS:
        results = await router(order).dispatch(reader(body, size=100))
        assert [type(error) for error in results.errors].count(DependencyFailed) == 3


@pytest.mark.parametrize("size", [1000, None])
@pytest.mark.parametrize("length", [50, 300_000])
@pytest.mark.parametrize("on_error", BOTH)
async def test_max_bytes_of_a_spooled_part(
    size: int | None, length: int, on_error: OnError
) -> None:
    router = Router()
    router.add(read, name="a")
    router.add(take, name="b", needs="a", order="spool", max_bytes=40, on_error=on_error)
    router.add(take, name="c", needs="b", order="spool", on_error=on_error)
    source = reader(form(("c", b""), ("b", b"x" * length), ("a", b"1")), size=size)
    if on_error == "abort":
        with pytest.raises(LimitExceeded) as caught:
            await router.dispatch(source)
        assert (caught.value.limit, caught.value.value) == ("max_bytes", 40)
        return
    results = await router.dispatch(source)
    dependent, error = results.errors
    assert isinstance(error, LimitExceeded)
    assert error.limit == "max_bytes"
    assert error.part is not None
    assert error.part.name == "b"
    assert isinstance(dependent, DependencyFailed)
    assert dependent.__cause__ is error
    assert results["a"] == b"1"
    assert [item.part.size for item in results] == [0, length, 1]


async def test_a_body_that_is_cut_while_a_part_is_spooled() -> None:
    diary = Diary()
    router = Router()
    router.add(diary, name="z")
    router.add(read, name="a")
    router.add(take, name="b", needs="a", order="spool")
    body = form(("z", b""), ("b", BIG))[:-40]
    with pytest.raises(TruncatedBody):
        await router.dispatch(reader(body, size=1000))
    assert diary.rolled_back == ["z"]


# -- the end of the flow ----------------------------------------------------------------------


@virtual_time
@pytest.mark.parametrize("two_phase", [False, True])
async def test_a_need_that_answers_while_the_flow_is_undone(two_phase: bool) -> None:
    """It shields itself, and answers when what waited for it was dropped already."""
    failed = anyio.Event()
    called: list[str] = []

    async def stubborn(part: Part) -> int:
        with anyio.CancelScope(shield=True):
            await failed.wait()
            await anyio.sleep(2 * GRACE)
        return 1

    @asynccontextmanager
    async def stubborn_too(part: Part) -> AsyncGenerator[int, None]:
        yield await stubborn(part)

    async def dependent(part: Part, a: int) -> None:
        called.append("b")

    async def last(part: Part) -> None:
        await checkpoint()
        failed.set()
        raise Boom

    router = Router()
    router.add(stubborn_too if two_phase else stubborn, name="a")
    router.add(dependent, name="b", needs="a")
    router.add(dependent, name="c", needs="a", order="spool", on_error="collect")
    router.add(last)
    with pytest.raises(Boom):
        await router.dispatch(reader(form(("a", b""), ("b", b""), ("c", b""), ("d", b"")), size=9))
    assert called == []


# -- commit and rollback ----------------------------------------------------------------------


def chained(diary: Diary) -> Router:
    """`e` needs `d` needs `c` needs `b` needs `a`; every second handler has one phase."""

    @asynccontextmanager
    async def two(part: Part, **needs: Any) -> AsyncGenerator[bytes, None]:
        async with diary(part) as value:
            yield value

    router = Router()
    router.add(two, name="a")
    for needed, name, handler in zip("abcd", "bcde", (take, two, take, two), strict=True):
        router.add(handler, name=name, needs=needed, order="spool")
    router.add(two)
    return router


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ("abcde", "ace"),
        ("edcba", "ace"),
        ("xeydzcba", "xyzace"),
        ("exaybcd", "xayce"),
        ("abexcd", "axce"),
        ("xyz", "xyz"),
    ],
)
async def test_needed_parts_are_committed_first(names: str, order: str) -> None:
    body = form(*[(name, b"%d" % i) for i, name in enumerate(names)])
    diary = Diary()
    results = await chained(diary).dispatch(reader(body, size=30))
    assert "".join(diary.committed) == order
    assert [item.part.name for item in results] == list(names)

    diary = Diary()
    with pytest.raises(Boom):
        async with chained(diary).flow(reader(body)):
            raise Boom
    assert "".join(reversed(diary.rolled_back)) == order
    diary.check()


async def test_a_commit_that_fails_rolls_back_what_needs_it() -> None:
    async def step(what: str, which: str) -> None:
        if (what, which) == ("commit", "c"):
            raise Boom

    diary = Diary(step)
    with pytest.raises(CommitFailed) as caught:
        await chained(diary).dispatch(reader(form(*[(n, b"") for n in "exdcba"])))
    assert [h.part.name for h in caught.value.committed] == ["x", "a"]
    assert [h.part.name for h in caught.value.rolled_back] == ["e"]
    assert diary.rolled_back == ["c", "e"]


# -- cancellation -----------------------------------------------------------------------------


@contextmanager
def nothing_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No descriptor and no file is left of what happens in the block."""
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    before = descriptors()
    yield
    assert opened_since(before) == []
    assert list(folder.iterdir()) == []


class Walk:
    """Counts the checkpoints of source and handlers; cancels, or fails, at one of them."""

    def __init__(self, at: int, worst: str) -> None:
        self.at, self.worst = at, worst
        self.count = 0
        self.running = 0
        self.scope = anyio.CancelScope()

    async def step(self) -> None:
        self.count += 1
        if self.count == self.at:
            if self.worst == "fail":
                raise Boom
            self.scope.cancel()
        await checkpoint()

    async def handle(self, part: Part, **needs: Any) -> int:
        self.running += 1
        try:
            size = 0
            async for chunk in part:
                size += len(chunk)
                await self.step()
            return size
        finally:
            self.running -= 1

    @asynccontextmanager
    async def stage(self, part: Part, **needs: Any) -> AsyncGenerator[int, None]:
        size = await self.handle(part)
        self.running += 1
        try:
            yield size
        finally:
            self.running -= 1

    def router(self) -> Router:
        inner = Router(max_handlers=1)
        inner.add(self.handle, name="a")
        inner.add(self.stage, name="b", needs=["a", "owner"], order="spool")

        @asynccontextmanager
        async def inside(part: Part, owner: int) -> AsyncGenerator[int, None]:
            async with inner.flow(part.multipart(), given={"owner": owner}) as flow:
                yield len(flow.results)

        router = Router(max_handlers=2)
        router.add(inside, name="in", needs={"owner": "a"}, order="spool")
        router.add(self.stage, name="a")
        router.add(self.handle, name="b", needs="a", order="spool")
        router.add(self.stage, name="c", needs=["b", "in"], order="spool")
        return router


CANCELLED_BODY = form(
    ("c", b"3" * 70_000),
    ("b", b"2" * 300),
    nested("in", ("b", b"x" * 500), ("a", b"y")),
    ("a", b"1"),
)


@pytest.mark.parametrize("worst", ["cancel", "fail"])
async def test_cancelled_or_failing_at_every_checkpoint(
    worst: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nothing_left(tmp_path, monkeypatch):
        steps = 0
        for at in range(1, 1000):
            walk = Walk(at, worst)
            walked = Chunks(cut(CANCELLED_BODY, 1000), walk.step)
            try:
                with walk.scope:
                    results = await walk.router().dispatch(reader(walked))
            except Boom:
                assert worst == "fail"
            else:
                if walk.count < at:
                    assert results["c"] == 70_000
                    break
                assert walk.scope.cancelled_caught
            assert walk.running == 0
            steps += 1
    print(f"{steps} checkpoints")
    assert steps >= 75
