"""`ProgressObserver`: a bar for each part under way, drawn by the real rich."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from rich.console import Console

from mpflow import Part, Router
from mpflow.observers import ProgressObserver
from mpflow_handlers import Nested
from tests.flow.support import Chunks, Field, cut, form, nested, read, reader

pytestmark = pytest.mark.anyio


def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, _environ={})


def drawn(observer: ProgressObserver) -> str:
    file: Any = observer._bars.console.file
    return str(file.getvalue())


def tasks(observer: ProgressObserver) -> list[tuple[str, float, float | None]]:
    return [(task.description, task.completed, task.total) for task in observer._bars.tasks]


async def test_a_bar_while_the_handler_is_at_work() -> None:
    observer = ProgressObserver(console())
    seen: list[list[tuple[str, float, float | None]]] = []
    router = Router(observer=observer)

    @router.route()
    async def watch(part: Part) -> None:
        async for _ in part:
            observer._bars.refresh()
            seen.append(tasks(observer))

    await router.dispatch(reader(form(Field("f", b"x" * 3000, filename="big.bin")), size=500))
    completed = [task[1] for (task,) in seen]
    assert completed == sorted(completed)
    assert completed[-1] == 3000
    assert {(task[0], task[2]) for (task,) in seen} == {("'big.bin'", None)}
    assert tasks(observer) == []
    assert not observer._bars.live.is_started
    assert "big.bin" in drawn(observer)


async def test_a_length_that_is_declared() -> None:
    observer = ProgressObserver(console())
    seen: list[float | None] = []
    router = Router(observer=observer)

    @router.route()
    async def watch(part: Part) -> None:
        seen.extend(task[2] for task in tasks(observer))

    lengths = ["5", "x", "-1", "9" * 30, "\u0665", ""]
    head = (
        '--b0undary\r\nContent-Disposition: form-data; name="{}"\r\nContent-Length: {}\r\n\r\n\r\n'
    )
    body = "".join(head.format(i, length) for i, length in enumerate(lengths)) + "--b0undary--\r\n"
    await router.dispatch(reader(body.encode()))
    assert seen == [5, None, None, None, None, None]


async def test_flows_inside_are_indented_and_bars_go_with_the_last_flow() -> None:
    observer = ProgressObserver(console())
    labels: list[list[str]] = []
    inner, router = Router(), Router(observer=observer)

    @inner.route()
    async def watch(part: Part) -> None:
        assert observer._bars.live.is_started
        labels.append([task[0] for task in tasks(observer)])

    router.add(Nested(inner))
    await router.dispatch(reader(form(nested("n", Field("x", b"1", filename="y")))))
    assert labels == [["'n'", "  'y'"]]
    assert not observer._bars.live.is_started


async def test_a_flow_that_fails_leaves_no_bar() -> None:
    observer = ProgressObserver(console())
    router = Router(observer=observer)

    @router.route(name="a")
    async def fails(part: Part) -> None:
        raise KeyError

    router.add(read)
    for _ in range(2):  # and draws again
        with pytest.raises(KeyError):
            await router.dispatch(reader(form(("a", b"1"), ("b", b"x" * 500)), size=50))
        assert tasks(observer) == []
        assert not observer._flows
        assert not observer._bars.live.is_started


async def test_names_cannot_draw() -> None:
    observer = ProgressObserver(console())
    labels: list[str] = []
    router = Router(observer=observer)

    @router.route()
    async def watch(part: Part) -> None:
        labels.extend(task[0] for task in tasks(observer))
        observer._bars.refresh()

    evil = "[red]\u202e\n" + "x" * 200
    await router.dispatch(reader(form(Field("f", b"", filename=evil))))
    (label,) = labels
    assert label.isascii()
    assert label.isprintable()
    assert len(label) < 50
    assert "[red]" in drawn(observer)


async def test_nothing_is_drawn_where_nobody_sees_it() -> None:
    observer = ProgressObserver(Console(file=io.StringIO(), width=100, _environ={}))
    router = Router(observer=observer)
    router.add(read)
    await router.dispatch(reader(form(("a", b"x" * 500)), size=50))
    assert drawn(observer) == ""
    assert tasks(observer) == []


def test_without_rich() -> None:
    code = (
        "import sys; sys.modules['rich'] = None\n"
        "import mpflow.observers\n"
        "try: mpflow.observers.ProgressObserver()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "expected rich for bars: install multipart-flow[cli]\n"


async def test_no_bar_while_the_rest_of_a_part_is_drained() -> None:
    observer = ProgressObserver(console())
    seen: list[int] = []
    router = Router(observer=observer)

    @router.route(name="a")
    async def answer(part: Part) -> None:
        await part.receive()

    router.add(read)

    async def count() -> None:
        await checkpoint()
        seen.append(len(tasks(observer)))

    body = form(("a", b"x" * 400_000), ("b", b"1"))
    await router.dispatch(reader(Chunks(cut(body, 10_000), count)))
    assert sum(seen) <= 3
    assert seen[-30:] == [0] * 30
    assert observer._ended == set()
