"""What an observer raises that is no failure: the flow decides all there is, and raises it, bare.

Knows: at which report the observer raises. Must not know: how the flow keeps it.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from mpflow import (
    CommitFailed,
    LimitExceeded,
    Limits,
    MultipartReader,
    Router,
)
from mpflow.reports import FlowFinished, FlowStarted, PartCommitted, PartReport, Report
from mpflow_handlers import Nested
from tests.flow.support import CONTENT_TYPE, Diary, Field, fails, form, nested, notes, reader

pytestmark = pytest.mark.anyio

BODY = form(*[(name, name.encode() * 100) for name in "abc"])


class Stop(BaseException):
    """Raised in place of KeyboardInterrupt, which a test run takes as meant for itself."""


@attrs.define(eq=False)
class Interrupting:
    """An observer that raises once, at the first report of a kind that `test` takes."""

    kind: str
    error: BaseException
    test: Callable[[Report], bool] = lambda report: True
    raised: bool = False
    reports: list[Report] = attrs.field(factory=list[Report])

    def __call__(self, report: Report) -> None:
        self.reports.append(report)
        if type(report).__name__ == self.kind and not self.raised and self.test(report):
            self.raised = True
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), Stop()], ids=repr)
@pytest.mark.parametrize("size", [1000, 60])
@pytest.mark.parametrize("kind", ["FlowStarted", "PartStarted", "PartFinished", "PartProgress"])
async def test_before_anything_is_decided(kind: str, size: int, error: BaseException) -> None:
    if kind == "PartProgress":
        size = 50  # parts that come whole have none
    diary = Diary()
    observer = Interrupting(kind, error)
    router = Router(observer=observer)
    router.add(diary)
    caught: BaseException | None = None
    try:
        await router.dispatch(reader(BODY, size=size))
    except BaseException as raised:
        caught = raised
    assert caught is error
    assert observer.raised
    assert diary.committed == []
    diary.check()
    end = observer.reports[-1]
    assert isinstance(end, FlowFinished)
    assert (end.outcome, end.error) == ("rolled back", error)


@pytest.mark.parametrize("name", list("abc"))
async def test_while_it_commits(name: str) -> None:
    """The commit has begun: it goes on to its end, as it does for Ctrl-C at any other place."""
    diary, stop = Diary(), Stop()
    router = Router(
        observer=Interrupting(
            "PartCommitted", stop, lambda r: isinstance(r, PartReport) and r.part.name == name
        )
    )
    router.add(diary)
    with pytest.raises(Stop) as info:
        await router.dispatch(reader(BODY))
    assert info.value is stop
    assert diary.committed == list("abc")
    assert "3 parts were committed" in notes(stop)


async def test_while_it_rolls_back() -> None:
    diary, stop = Diary(), Stop()
    router = Router(observer=Interrupting("PartRolledBack", stop))
    router.add(diary)
    with pytest.raises(Stop) as info:
        async with router.flow(reader(BODY)):
            raise ZeroDivisionError
    assert info.value is stop
    assert diary.rolled_back == list("cba")


async def test_when_the_flow_has_ended() -> None:
    diary, stop = Diary(), Stop()
    router = Router(observer=Interrupting("FlowFinished", stop))
    router.add(diary)
    with pytest.raises(Stop) as info:
        await router.dispatch(reader(BODY))
    assert info.value is stop
    assert diary.committed == list("abc")


@pytest.mark.parametrize("kind", ["PartFailed", "PartRolledBack", "FlowFinished"])
async def test_beside_a_commit_that_fails(kind: str) -> None:
    """Of the two nobody may miss what was committed."""
    diary = Diary(fails("commit", "b", OSError("disk full")))
    router = Router(observer=Interrupting(kind, Stop("now")))
    router.add(diary)
    with pytest.raises(CommitFailed) as info:
        await router.dispatch(reader(BODY))
    assert "meanwhile came Stop('now')" in notes(info.value)
    assert diary.committed == ["a"]
    assert diary.rolled_back == ["b", "c"]


async def test_beside_a_handler_that_fails() -> None:
    diary, stop = Diary(fails("stage", "b", ValueError("bad"))), Stop()
    router = Router(observer=Interrupting("PartFailed", stop))
    router.add(diary)
    with pytest.raises(Stop) as info:
        await router.dispatch(reader(BODY))
    assert info.value is stop
    assert diary.committed == []
    diary.check()


@pytest.mark.parametrize("kind", ["FlowStarted", "PartStarted", "PartFinished", "PartCommitted"])
async def test_of_a_flow_inside(kind: str) -> None:
    diary, stop = Diary(), Stop()
    observer = Interrupting(kind, stop, lambda report: report.flow.path != ())
    inner, router = Router(), Router(observer=observer)
    inner.add(diary)
    router.add(Nested(inner), name="n")
    router.add(diary)
    with pytest.raises(Stop) as info:
        await router.dispatch(
            reader(form(Field("a"), nested("n", ("x", b"1"), ("y", b"2")), Field("b")))
        )
    assert info.value is stop
    assert observer.raised
    if kind == "PartCommitted":
        assert diary.committed == ["a", "x", "y"]
        assert diary.rolled_back == ["b"]
    else:
        assert diary.committed == []
    diary.check()
    ends = [report for report in observer.reports if isinstance(report, FlowFinished)]
    assert [end.flow.path for end in ends] == [(1,), ()]


async def test_ctrl_c_within_a_commit_says_what_was_committed() -> None:
    stop = Stop()
    diary = Diary(fails("commit", "b", stop))
    router = Router(observer=(observer := Interrupting("", stop)))
    router.add(diary)
    with pytest.raises(Stop) as info:
        await router.dispatch(reader(BODY))
    assert info.value is stop
    assert "1 parts were committed before, 1 after it were rolled back" in notes(stop)
    assert diary.committed == ["a"]
    assert sum(isinstance(report, PartCommitted) for report in observer.reports) == 1
    end = observer.reports[-1]
    assert isinstance(end, FlowFinished)
    assert (end.outcome, end.error) == ("commit failed", stop)


# -- what is said of the end ------------------------------------------------------------------


@pytest.mark.parametrize("then", ["swallow", "another", "same"])
async def test_a_commit_that_failed_in_the_block(then: str) -> None:
    """Whatever the block makes of it, that is what became of the parts."""
    diary = Diary(fails("commit", "b", OSError("disk full")))
    router = Router(observer=(observer := Interrupting("", Stop())))
    router.add(diary)
    failed: CommitFailed | None = None
    raised: BaseException | None = None
    try:
        async with router.flow(reader(BODY)) as flow:
            try:
                await flow.commit()
            except CommitFailed as error:
                failed = error
                if then == "another":
                    raise KeyError from error
                if then == "same":
                    raise
    except (KeyError, CommitFailed) as error:
        raised = error
    assert type(raised) is {"swallow": type(None), "another": KeyError, "same": CommitFailed}[then]
    end = observer.reports[-1]
    assert isinstance(end, FlowFinished)
    assert (end.outcome, end.error) == ("commit failed", failed)
    assert failed is not None


@pytest.mark.parametrize("error", [None, Stop()], ids=repr)
async def test_a_message_that_is_refused_by_its_length(error: BaseException | None) -> None:
    """It had a flow, which an observer can count."""
    observer = Interrupting("FlowStarted" if error else "", error or Stop())
    router = Router(limits=Limits(max_total_bytes=100), observer=observer)
    router.add(Diary())
    headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", b"100000")]
    made = MultipartReader.from_asgi({"headers": headers}, _never)
    with pytest.raises(Stop if error else LimitExceeded):
        await router.dispatch(made)
    start, end = observer.reports
    assert isinstance(start, FlowStarted)
    assert isinstance(end, FlowFinished)
    assert (end.outcome, end.parts, end.size) == ("rolled back", 0, 0)
    assert isinstance(end.error, LimitExceeded)
    assert start.flow == end.flow


async def _never() -> dict[str, object]:
    raise AssertionError("expected nobody to read")
