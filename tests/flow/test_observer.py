"""What an observer is told: every part, every wait, every end, in the order of what happens.

Knows: reports. Must not know: how a flow makes them.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint

from mpflow import CommitFailed, MultipartError, NoRoute, Part, RouteError, Router
from mpflow.flow.reporter import Reporter
from mpflow.reports import (
    FlowFinished,
    FlowStarted,
    PartCancelled,
    PartCommitted,
    PartFailed,
    PartFinished,
    PartProgress,
    PartReport,
    PartRolledBack,
    PartWaited,
    Report,
)
from mpflow_handlers import Discard, Nested, Tee
from tests.clock import virtual_time
from tests.flow.support import (
    Chunks,
    Diary,
    Field,
    cut,
    fails,
    form,
    nested,
    paced,
    read,
    reader,
)

pytestmark = pytest.mark.anyio

R = TypeVar("R", bound=Report)
BODY = form(("a", b"1"), ("b", b"22"), ("c", b"333"))


@attrs.define(eq=False)
class Watcher:
    """An observer that keeps what it is told."""

    reports: list[Report] = attrs.field(factory=list[Report])

    def __call__(self, report: Report) -> None:
        self.reports.append(report)

    def of(self, kind: type[R], name: str | None = None) -> list[R]:
        found = [report for report in self.reports if isinstance(report, kind)]
        return [r for r in found if name is None or r.part.name == name]  # type: ignore[attr-defined]

    def told(self, name: str | None = None) -> list[str]:
        """The kinds of reports, in order, with the names of parts; of one part its kinds."""
        kinds: list[str] = []
        for report in self.reports:
            kind = type(report).__name__
            if not isinstance(report, PartReport):
                if name is None:
                    kinds.append(kind)
            elif name is None:
                kinds.append(f"{kind} {report.part.name}")
            elif report.part.name == name:
                kinds.append(kind)
        return kinds


def observed(handler: Any = read, **options: Any) -> tuple[Router, Watcher]:
    watcher = Watcher()
    router = Router(observer=watcher, **options)
    if handler is not None:
        router.add(handler)
    return router, watcher


# -- one flow ---------------------------------------------------------------------------------


async def test_small_parts() -> None:
    router, watcher = observed()
    await router.dispatch(reader(BODY))
    assert watcher.told() == [
        "FlowStarted",
        *("PartStarted a", "PartFinished a"),
        *("PartStarted b", "PartFinished b"),
        *("PartStarted c", "PartFinished c"),
        "FlowFinished",
    ]
    end = watcher.of(FlowFinished)[0]
    assert (end.outcome, end.error, end.parts, end.size) == ("committed", None, 3, 6)
    assert end.flow.path == ()
    assert end.flow.root == end.flow.number
    assert end.flow.content_type == "multipart/form-data"
    assert [(r.value, r.part.size) for r in watcher.of(PartFinished)] == [
        (b"1", 1),
        (b"22", 2),
        (b"333", 3),
    ]
    assert {report.flow for report in watcher.reports} == {end.flow}
    assert all(r.route is router.routes[0] for r in watcher.of(PartReport))


async def test_a_part_that_comes_piece_by_piece() -> None:
    router, watcher = observed()
    await router.dispatch(reader(form(("big", b"x" * 1000)), size=100))
    kinds = watcher.told("big")
    assert set(kinds) == {"PartStarted", "PartProgress", "PartFinished"}
    assert kinds.index("PartStarted") < 3  # bytes may come before it
    assert kinds[-1] == "PartFinished"
    sizes = [report.size for report in watcher.of(PartProgress)]
    assert len(sizes) > 5
    assert sizes == sorted(sizes)
    assert sizes[-1] == 1000
    assert watcher.of(PartFinished)[0].part.size == 1000


async def test_two_phases() -> None:
    diary = Diary()
    router, watcher = observed(diary)
    async with router.flow(reader(BODY)):
        assert watcher.of(PartCommitted) == []
    assert watcher.told()[-4:] == [
        "PartCommitted a",
        "PartCommitted b",
        "PartCommitted c",
        "FlowFinished",
    ]
    assert watcher.of(PartRolledBack) == []


async def test_a_flow_that_is_rolled_back() -> None:
    router, watcher = observed(Diary())
    failure = KeyError("of the block")
    with pytest.raises(KeyError):
        async with router.flow(reader(BODY)):
            raise failure
    assert watcher.told()[-4:] == [
        "PartRolledBack c",
        "PartRolledBack b",
        "PartRolledBack a",
        "FlowFinished",
    ]
    end = watcher.of(FlowFinished)[0]
    assert (end.outcome, end.error) == ("rolled back", failure)


async def test_a_flow_that_is_aborted() -> None:
    router, watcher = observed(Diary())
    async with router.flow(reader(BODY)) as flow:
        await flow.abort()
    end = watcher.of(FlowFinished)[0]
    assert (end.outcome, end.error) == ("rolled back", None)
    assert len(watcher.of(PartRolledBack)) == 3


async def test_a_block_that_fails_after_its_commit() -> None:
    router, watcher = observed(Diary())
    failure = KeyError("of the block")
    with pytest.raises(KeyError):  # noqa: PT012 - the block is what fails
        async with router.flow(reader(BODY)) as flow:
            await flow.commit()
            raise failure
    end = watcher.of(FlowFinished)[0]
    assert (end.outcome, end.error) == ("committed", failure)


async def test_a_commit_that_fails() -> None:
    failure = OSError("disk full")
    router, watcher = observed(Diary(fails("commit", "b", failure)))
    with pytest.raises(CommitFailed) as info:
        await router.dispatch(reader(BODY))
    assert watcher.told()[-4:] == [
        "PartCommitted a",
        "PartFailed b",
        "PartRolledBack c",
        "FlowFinished",
    ]
    assert watcher.of(PartFailed)[0].error is failure
    end = watcher.of(FlowFinished)[0]
    assert (end.outcome, end.error) == ("commit failed", info.value)


async def test_a_rollback_that_fails() -> None:
    failure = OSError("no such file")
    router, watcher = observed(Diary(fails("rollback", "b", failure)))
    with pytest.raises(KeyError):
        async with router.flow(reader(BODY)):
            raise KeyError
    assert [(r.part.name, r.error) for r in watcher.of(PartRolledBack)] == [
        ("c", None),
        ("b", failure),
        ("a", None),
    ]


# -- failures ---------------------------------------------------------------------------------


async def test_a_handler_that_fails() -> None:
    failure = ValueError("bad")
    begun = anyio.Event()

    router, watcher = observed(None)

    @router.route(name="a")
    async def waits(part: Part) -> None:
        begun.set()
        await anyio.sleep_forever()

    @router.route(name="b")
    async def fails_(part: Part) -> None:
        await begun.wait()
        raise failure

    with pytest.raises(ValueError, match="bad"):
        await router.dispatch(reader(form(("a", b"1"), ("b", b"2"))))
    assert watcher.told("a") == ["PartStarted", "PartCancelled"]
    assert watcher.told("b") == ["PartStarted", "PartFailed"]
    report = watcher.of(PartFailed)[0]
    assert (report.error, report.is_collected) == (failure, False)
    end = watcher.of(FlowFinished)[0]
    assert (end.outcome, end.error, end.parts) == ("rolled back", failure, 2)


async def test_a_failure_that_is_collected() -> None:
    router, watcher = observed(None)
    failure = ValueError("bad")

    @router.route(on_error="collect")
    async def picky(part: Part) -> bytes:
        if part.name == "b":
            raise failure
        return await part.read()

    results = await router.dispatch(reader(BODY))
    assert results.errors == [failure]
    report = watcher.of(PartFailed)[0]
    assert (report.part.name, report.error, report.is_collected) == ("b", failure, True)
    assert [r.part.name for r in watcher.of(PartFinished)] == ["a", "c"]
    assert watcher.of(FlowFinished)[0].outcome == "committed"


async def test_a_part_that_was_never_handled() -> None:
    """Its handler had no slot yet when the flow ended."""
    router, watcher = observed(None, max_handlers=1)

    @router.route(name="a")
    async def fails_(part: Part) -> None:
        raise ValueError("bad")

    @router.route()
    async def waits(part: Part) -> None:
        await anyio.sleep_forever()

    with pytest.raises(ValueError, match="bad"):
        await router.dispatch(reader(BODY))
    assert watcher.told("a") == ["PartStarted", "PartFailed"]
    assert watcher.told("b")[-2:] == ["PartStarted", "PartCancelled"]
    assert watcher.told("c") == ["PartCancelled"]


async def test_a_part_that_no_route_takes() -> None:
    router, watcher = observed(None)
    router.add(read, name="a")
    with pytest.raises(NoRoute):
        await router.dispatch(reader(BODY))
    assert watcher.told()[0] == "FlowStarted"
    end = watcher.of(FlowFinished)[0]
    assert isinstance(end.error, NoRoute)
    assert end.parts == 1


async def test_a_handler_that_fails_while_it_waits() -> None:
    failure = ConnectionError("gone")
    entered = anyio.Event()
    router, watcher = observed(None)

    @router.route(name="a")
    @asynccontextmanager
    async def holds(part: Part) -> AsyncGenerator[None, None]:
        async with anyio.create_task_group() as group:

            async def fail() -> None:
                await entered.wait()
                raise failure

            group.start_soon(fail)
            yield

    with pytest.raises(ExceptionGroup):  # noqa: PT012 - it is raised at the block's end
        async with router.flow(reader(form(("a", b"1")))):
            entered.set()
            for _ in range(10):
                await checkpoint()
    assert watcher.told("a") == ["PartStarted", "PartFinished", "PartFailed"]
    assert watcher.of(FlowFinished)[0].outcome == "rolled back"


async def test_a_flow_that_is_cancelled() -> None:
    router, watcher = observed(None)
    diary = Diary()
    router.add(diary, name="a")

    @router.route()
    async def waits(part: Part) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await router.dispatch(reader(BODY, size=10))
    assert scope.cancelled_caught
    assert watcher.told("a")[-1] == "PartRolledBack"
    assert watcher.told("b")[-1] == "PartCancelled"
    end = watcher.of(FlowFinished)[0]
    assert end.outcome == "rolled back"
    assert not isinstance(end.error, Exception)


async def test_every_part_that_starts_has_an_end() -> None:
    """Whatever happens, and however the body comes: one start at most, and one answer."""
    for size in (None, 1, 30):
        for bad in ("a", "b", "c", None):
            diary = Diary(fails("stage", bad or "", ValueError(bad)))
            router, watcher = observed(diary, max_handlers=2)
            try:
                await router.dispatch(reader(BODY, size=size))
            except ValueError:
                assert bad is not None
            for name in {report.part.name for report in watcher.of(PartReport)}:
                kinds = [kind for kind in watcher.told(name) if kind != "PartWaited"]
                assert kinds.count("PartStarted") <= 1
                ends = [k for k in kinds if k in ("PartFinished", "PartFailed", "PartCancelled")]
                assert len(ends) == 1
                after = kinds[kinds.index(ends[0]) + 1 :]
                assert after == (
                    [] if ends[0] != "PartFinished"
                    else ["PartCommitted" if bad is None else "PartRolledBack"]
                )  # fmt: skip
            assert len(watcher.of(FlowFinished)) == len(watcher.of(FlowStarted)) == 1


# -- waits ------------------------------------------------------------------------------------


@virtual_time
async def test_who_waits_for_a_slot() -> None:
    router, watcher = observed(None, max_handlers=1)

    @router.route()
    async def slow(part: Part) -> None:
        await anyio.sleep(3)

    await router.dispatch(reader(BODY))
    waits = watcher.of(PartWaited)
    assert [(w.part.name, w.why, w.on) for w in waits] == [("b", "slot", ()), ("c", "slot", ())]
    assert [w.seconds for w in waits] == pytest.approx([3, 6], abs=0.1)
    assert [r.seconds for r in watcher.of(PartFinished)] == pytest.approx([3, 3, 3], abs=0.1)
    ats = [report.at for report in watcher.reports]
    assert ats == sorted(ats)
    assert ats[-1] - ats[0] == pytest.approx(9, abs=0.1)


@virtual_time
async def test_who_waits_for_another_part() -> None:
    router, watcher = observed(None)

    @router.route(name="meta")
    async def meta(part: Part) -> str:
        await anyio.sleep(5)
        return "m"

    @router.route(name="photo", needs="meta")
    async def photo(part: Part, meta: str) -> str:
        return meta

    await router.dispatch(reader(form(("meta", b""), ("photo", b""))))
    (wait,) = watcher.of(PartWaited)
    assert (wait.part.name, wait.why) == ("photo", "need")
    assert [ref.name for ref in wait.on] == ["meta"]
    assert wait.seconds == pytest.approx(5, abs=0.1)
    assert watcher.told("photo") == ["PartWaited", "PartStarted", "PartFinished"]


@virtual_time
async def test_a_spooled_part_waits_for_its_need() -> None:
    router, watcher = observed(None)
    router.add(read, name="meta")

    @router.route(name="photo", needs="meta", order="spool")
    async def photo(part: Part, meta: bytes) -> bytes:
        return meta + await part.read()

    body = form(("photo", b"p" * 100), ("meta", b"m"))
    await router.dispatch(reader(paced(body, 1, size=50)))
    (wait,) = [w for w in watcher.of(PartWaited) if w.why == "need"]
    assert [ref.name for ref in wait.on] == ["meta"]
    assert wait.seconds > 1
    assert watcher.told("photo")[-2:] == ["PartStarted", "PartFinished"]
    assert watcher.of(PartFinished, "photo")[0].part.size == 100


@virtual_time
async def test_the_wire_waits_for_a_handler() -> None:
    router, watcher = observed(None)

    @router.route()
    async def lazy(part: Part) -> None:
        async for _ in part:
            await anyio.sleep(2)

    await router.dispatch(reader(form(("big", b"x" * 300_000)), size=70_000))
    waits = watcher.of(PartWaited)
    assert {(w.part.name, w.why, w.on) for w in waits} == {("big", "handler", ())}
    assert sum(w.seconds for w in waits) > 4


# -- nested flows -----------------------------------------------------------------------------


def outer(inner: Router, **options: Any) -> Router:
    router = Router(**options)
    router.add(Nested(inner), name="n")
    router.add(read)
    return router


NESTED = form(("a", b"1"), nested("n", Field("x", b"22"), Field("y", b"333")))


async def test_flows_inside_name_their_root_and_their_place() -> None:
    inner, watcher = Router(), Watcher()
    inner.add(Diary())
    await outer(inner, observer=watcher).dispatch(reader(NESTED, size=30))
    first, second = (report.flow for report in watcher.of(FlowStarted))
    assert (first.root, first.path) == (first.number, ())
    assert (second.root, second.path) == (first.number, (1,))
    assert second.number != first.number
    assert second.content_type == "multipart/mixed"
    ends = {end.flow: end for end in watcher.of(FlowFinished)}
    assert (ends[first].parts, ends[second].parts, ends[second].size) == (2, 2, 5)
    assert [end.flow for end in watcher.of(FlowFinished)] == [second, first]
    assert [(r.part.path, r.flow) for r in watcher.of(PartCommitted) if r.part.depth] == [
        ((1, 0), second),
        ((1, 1), second),
    ]
    # The inner flow ends within the commit of the part that holds it.
    assert watcher.told()[-3:] == ["FlowFinished", "PartCommitted n", "FlowFinished"]


async def test_an_observer_of_the_inner_routers_own() -> None:
    inside, around = Watcher(), Watcher()
    inner = Router(observer=inside)
    inner.add(read)
    await outer(inner, observer=around).dispatch(reader(NESTED))
    assert {r.part.name for r in inside.of(PartReport)} == {"x", "y"}
    assert {r.part.name for r in around.of(PartReport)} == {"a", "n"}
    assert inside.reports[0].flow.root == around.reports[0].flow.number
    alone = Watcher()
    inner = Router(observer=alone)
    inner.add(read)
    await outer(inner).dispatch(reader(NESTED))
    flow = alone.reports[0].flow
    assert (flow.root, flow.path) == (flow.number, (1,))


async def test_a_flow_inside_a_branch() -> None:
    inner, watcher = Router(), Watcher()
    inner.add(read)
    router = Router(observer=watcher)
    router.add(Tee(Nested(inner), Discard()), name="n")
    await router.dispatch(reader(form(nested("n", ("x", b"1")))))
    first, second = (report.flow for report in watcher.of(FlowStarted))
    assert (second.root, second.path) == (first.number, (0,))
    assert watcher.told("x") == ["PartStarted", "PartFinished"]
    assert watcher.told("n") == ["PartStarted", "PartFinished", "PartCommitted"]


# -- observers --------------------------------------------------------------------------------


async def test_an_observer_that_fails_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(report: Report) -> None:
        raise RuntimeError("of the observer")

    diary = Diary()
    router = Router(observer=broken)
    router.add(diary)
    with caplog.at_level(logging.ERROR, "mpflow"):
        results = await router.dispatch(reader(BODY))
    assert [item.value for item in results] == [b"1", b"22", b"333"]
    assert diary.committed == ["a", "b", "c"]
    assert len(caplog.records) == 11
    assert caplog.records[0].getMessage() == "the observer failed on a FlowStarted"
    assert caplog.records[0].exc_info is not None


async def test_nobody_observes_and_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    original = Reporter.__init__

    def counted(self: Reporter, *args: Any, **options: Any) -> None:
        made.append(self)
        original(self, *args, **options)

    monkeypatch.setattr(Reporter, "__init__", counted)
    inner = Router()
    inner.add(Diary())
    await outer(inner).dispatch(reader(NESTED))
    assert made == []
    await outer(inner, observer=Watcher()).dispatch(reader(NESTED))
    assert len(made) == 2


class AsyncObserver:
    async def __call__(self, report: Report) -> None: ...


async def async_observer(report: Report) -> None: ...


@pytest.mark.parametrize(
    ("observer", "message"),
    [
        (3, "expected an observer to call"),
        (async_observer, "expected a sync observer, and async_observer is async"),
        (AsyncObserver(), "expected a sync observer, and AsyncObserver is async"),
    ],
)
def test_what_is_no_observer(observer: Any, message: str) -> None:
    with pytest.raises(RouteError, match=message):
        Router(observer=observer)


async def test_the_reports_are_the_same_however_the_body_is_cut() -> None:
    """But for the progress of parts that come in pieces."""

    async def told(source: Callable[[], Any]) -> list[str]:
        router, watcher = observed(Diary(), max_handlers=1)
        await router.dispatch(reader(source()))
        return sorted(
            kind for kind in watcher.told() if not kind.startswith(("PartProgress", "PartWaited"))
        )

    whole = await told(lambda: BODY)
    for size in (1, 7, 50):
        assert await told(lambda size=size: Chunks(cut(BODY, size))) == whole  # type: ignore[misc]


async def test_errors_of_the_wire_end_the_flow() -> None:
    router, watcher = observed()
    with pytest.raises(MultipartError) as info:
        await router.dispatch(reader(BODY[:-17], size=20))
    assert watcher.of(FlowFinished)[0].error is info.value
    # `c` was open: it fails with what ends the flow, or is cancelled by that.
    assert watcher.told("c")[-1] in ("PartCancelled", "PartFailed")
    assert len(watcher.of(PartCancelled)) + len(watcher.of(PartFailed)) == 1
