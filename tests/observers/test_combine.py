"""`all_of`: several observers as one."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mpflow import RouteError, Router
from mpflow.observers import all_of
from mpflow.reports import Report
from tests.flow.support import form, read, reader

pytestmark = pytest.mark.anyio

BODY = form(("a", b"1"))


async def test_each_is_told_everything_in_order() -> None:
    told: list[tuple[str, Report]] = []
    router = Router(
        observer=all_of(lambda r: told.append(("one", r)), lambda r: told.append(("two", r)))
    )
    router.add(read)
    await router.dispatch(reader(BODY))
    assert [who for who, _ in told] == ["one", "two"] * 4
    assert [report for who, report in told if who == "one"] == [
        report for who, report in told if who == "two"
    ]


async def test_one_that_fails_keeps_none_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Report] = []

    def broken(report: Report) -> None:
        raise RuntimeError("of the observer")

    router = Router(observer=all_of(broken, told.append))
    router.add(read)
    with caplog.at_level(logging.ERROR, "mpflow"):
        await router.dispatch(reader(BODY))
    assert len(told) == 4
    assert [record.getMessage() for record in caplog.records] == [
        f"an observer failed on a {type(report).__name__}" for report in told
    ]


def test_one_alone_is_itself_and_none_is_silent() -> None:
    def only(report: Report) -> None: ...

    assert all_of(only) is only
    report: Any = None
    all_of()(report)


async def later(report: Report) -> None: ...


@pytest.mark.parametrize("observer", [3, later])
def test_what_is_no_observer(observer: Any) -> None:
    with pytest.raises(RouteError, match="observer"):
        all_of(observer)
