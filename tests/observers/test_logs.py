"""`LogObserver`: a line for each part and each flow, and the facts beside it."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from mpflow import CommitFailed, Part, Router
from mpflow.observers import LogObserver
from mpflow_handlers import Nested
from tests.clock import virtual_time
from tests.flow.support import Diary, Field, fails, form, nested, read, reader

pytestmark = [pytest.mark.anyio, virtual_time]

BODY = form(("a", b"1"), Field("b", b"22", filename="b.txt", content_type="text/x-b"))


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.fixture(autouse=True)
def _capture(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mpflow.flow")


async def sleepy(part: Part) -> None:
    await anyio.sleep(2)


async def test_lines(caplog: pytest.LogCaptureFixture) -> None:
    router = Router(observer=LogObserver(), max_handlers=1)
    router.add(sleepy)
    await router.dispatch(reader(BODY))
    assert lines(caplog) == [
        "part 0 'a' was handled by sleepy in 2.000 s (1 bytes)",
        "part 1 'b' (file 'b.txt') was handled by sleepy in 2.000 s (2 bytes) after waiting "
        "2.000 s for its slot",
        "flow of 'multipart/form-data': committed after 4.000 s, 2 parts, 3 bytes",
    ]
    assert {(record.name, record.levelno) for record in caplog.records} == {
        ("mpflow.flow", logging.INFO)
    }


def facts(record: logging.LogRecord) -> dict[str, Any]:
    found = {k.removeprefix("mpflow_"): v for k, v in vars(record).items() if "mpflow_" in k}
    del found["flow"], found["root"]
    return found


async def test_facts(caplog: pytest.LogCaptureFixture) -> None:
    router = Router(observer=LogObserver())
    router.add(sleepy, name="a")
    router.add(sleepy, filename=True, key="files")
    await router.dispatch(reader(BODY))
    *parts, flow = caplog.records
    (part,) = (record for record in parts if facts(record)["part"] == "1")
    assert facts(part) == {
        "event": "part finished",
        "path": "",
        "part": "1",
        "name": "'b'",
        "filename": "'b.txt'",
        "content_type": "'text/x-b'",
        "size": 2,
        "route": "sleepy",
        "key": "files",
        "seconds": pytest.approx(2, abs=0.1),
        "waited": {},
        "error": None,
    }
    assert facts(flow) == {
        "event": "flow finished",
        "path": "",
        "content_type": "'multipart/form-data'",
        "parts": 2,
        "size": 3,
        "seconds": pytest.approx(2, abs=0.1),
        "outcome": "committed",
        "error": None,
    }
    assert part.mpflow_flow == part.mpflow_root == flow.mpflow_flow  # type: ignore[attr-defined]


async def test_failures(caplog: pytest.LogCaptureFixture) -> None:
    router = Router(observer=LogObserver(level=logging.DEBUG, failure_level=logging.ERROR))

    @router.route(name="a", on_error="collect")
    async def collected(part: Part) -> None:
        raise ValueError("bad\nline")

    @router.route(name="b")
    async def fatal(part: Part) -> None:
        await anyio.sleep(1)
        raise KeyError

    @router.route(name="c")
    async def cancelled(part: Part) -> None:
        await anyio.sleep_forever()

    with pytest.raises(KeyError):
        await router.dispatch(reader(form(("a", b""), ("b", b""), ("c", b""))))
    here = "test_failures.<locals>."
    told = [(r.levelname, r.getMessage().replace(here, "")) for r in caplog.records]
    assert told == [
        ("ERROR", "part 0 'a' failed in collected after 0.000 s (0 bytes): ValueError: "
                  r"'bad\nline'"),
        ("ERROR", "part 1 'b' failed in fatal after 1.000 s (0 bytes): KeyError"),
        ("DEBUG", "part 2 'c' was cancelled in cancelled (0 bytes)"),
        ("ERROR", "flow of 'multipart/form-data': rolled back after 1.000 s, 3 parts, 0 bytes: "
                  "KeyError"),
    ]  # fmt: skip
    assert [facts(record)["event"] for record in caplog.records] == [
        "part collected", "part failed", "part cancelled", "flow finished",
    ]  # fmt: skip
    assert [facts(record)["error"] for record in caplog.records] == [
        "ValueError", "KeyError", None, "KeyError",
    ]  # fmt: skip


class Unshowable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


async def test_a_failure_that_cannot_show_itself(caplog: pytest.LogCaptureFixture) -> None:
    router = Router(observer=LogObserver())

    @router.route()
    async def fails_(part: Part) -> None:
        raise Unshowable

    with pytest.raises(Unshowable):
        await router.dispatch(reader(form(("a", b""))))
    assert lines(caplog)[-1].endswith("0 bytes: Unshowable")


async def test_a_commit_and_a_rollback_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    async def step(what: str, name: str) -> None:
        await fails("commit", "a", OSError("full"))(what, name)
        await fails("rollback", "b", OSError("gone"))(what, name)

    router = Router(observer=LogObserver())
    router.add(Diary(step))
    with pytest.raises(CommitFailed):
        await router.dispatch(reader(BODY))
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert [text.partition(" Diary")[0] for text in warned] == [
        "part 0 'a' failed in",
        "part 1 'b' (file 'b.txt') was not rolled back cleanly by",
        "flow of 'multipart/form-data': commit failed after 0.000 s, 2 parts, 3 bytes: "
        'CommitFailed: "a commit failed: 0 parts were committed before it, 1 were rolled back '
        "after it (in part 0 'a')\"",
    ]


async def test_what_clients_send_is_escaped_and_bounded(caplog: pytest.LogCaptureFixture) -> None:
    router = Router(observer=LogObserver())
    router.add(read)
    evil = "a\u202e\n" + "x" * 500
    await router.dispatch(reader(form(Field(evil, b"1", filename=evil))))
    text = str([vars(record) for record in caplog.records]) + "".join(lines(caplog))
    assert "\u202e" not in text
    assert "\n" not in text
    assert len(lines(caplog)[0]) < 300


async def test_flows_inside(caplog: pytest.LogCaptureFixture) -> None:
    inner, router = Router(), Router(observer=LogObserver())
    inner.add(read)
    router.add(Nested(inner))
    await router.dispatch(reader(form(nested("n", ("x", b"1")))))
    assert lines(caplog)[0].startswith("part 0.0 'x' was handled by read")
    assert lines(caplog)[2].startswith("flow of 'multipart/mixed' in part 0: committed")
    x, n, mixed, form_data = caplog.records
    assert (facts(x)["part"], facts(x)["path"]) == ("0.0", "0")
    assert (facts(n)["part"], facts(n)["path"]) == ("0", "")
    assert mixed.mpflow_root == form_data.mpflow_flow  # type: ignore[attr-defined]


async def test_a_logger_of_ones_own(caplog: pytest.LogCaptureFixture) -> None:
    quiet = logging.getLogger("uploads")
    quiet.setLevel(logging.WARNING)
    for logger in ("uploads", quiet):
        router = Router(observer=LogObserver(logger))
        router.add(read)
        await router.dispatch(reader(BODY))
    assert caplog.records == []
    router = Router(observer=LogObserver(quiet, level=logging.WARNING))
    router.add(read)
    await router.dispatch(reader(BODY))
    assert {record.name for record in caplog.records} == {"uploads"}
    assert len(caplog.records) == 3


async def test_nothing_is_kept_of_flows_that_have_ended() -> None:
    observer = LogObserver()
    router = Router(observer=observer, max_handlers=1)

    @router.route()
    async def fails_(part: Part) -> None:
        await anyio.sleep(1)
        raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            await router.dispatch(reader(BODY))
    assert not observer._since
    assert not observer._waited
