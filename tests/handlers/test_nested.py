"""`Nested`: a multipart in a part, committed and rolled back with it.

Knows: two levels of one message. Must not know: how their flows run.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mpflow import (
    LimitExceeded,
    Limits,
    MultipartReader,
    NoRoute,
    Part,
    Results,
    RolledBack,
    RouteError,
    Router,
)
from mpflow.testing import Bytewise, body, content_type_of, dispatch, nested
from mpflow_handlers import Nested, Save, Text
from tests.handlers.support import names

pytestmark = pytest.mark.anyio


class Log:
    """A two-phase handler that writes down what becomes of its parts."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @asynccontextmanager
    async def __call__(self, part: Part) -> AsyncGenerator[str, None]:
        text = await part.text()
        try:
            yield text
        except RolledBack:
            self.lines.append(f"undo {text}")
            raise
        self.lines.append(f"keep {text}")


def reader_of(inner: list[tuple[str, str]], *after: tuple[str, str]) -> MultipartReader:
    parts = [nested(inner, name="inner"), *after]
    return MultipartReader(Bytewise(body(parts)), content_type_of())


async def test_gives_the_results_of_the_inner_flow() -> None:
    inner, outer = Router(), Router()
    inner.add(Text())
    route = outer.add(Nested(inner), content_type="multipart/*")
    results = await outer.dispatch(reader_of([("a", "1"), ("b", "2")]))
    assert isinstance(results[route], Results)
    assert [(item.key, item.value) for item in results[route]] == [("a", "1"), ("b", "2")]
    assert [item.part.path for item in results[route]] == [(0, 0), (0, 1)]


async def test_commits_with_its_part(tmp_path: Path) -> None:
    inner, outer = Router(), Router()
    log = Log()
    inner.add(log, name="log")
    inner.add(Save(tmp_path, lambda info: info.safe_filename))
    outer.add(Nested(inner), content_type="multipart/*")
    async with outer.flow(reader_of([("log", "1"), ("file", "2")])) as flow:
        assert log.lines == []
        saved = flow.results["inner"].all("file")
        assert [name for name in names(tmp_path) if not name.startswith(".")] == []
    assert log.lines == ["keep 1"]
    assert [one.path.read_text() for one in saved] == ["2"]


async def test_rolls_back_with_its_part(tmp_path: Path) -> None:
    inner, outer = Router(), Router()
    log = Log()
    inner.add(log, name="log")
    inner.add(Save(tmp_path))
    outer.add(Nested(inner), content_type="multipart/*")
    with pytest.raises(NoRoute):
        await outer.dispatch(reader_of([("log", "1"), ("file", "2")], ("unknown", "")))
    assert log.lines == ["undo 1"]
    assert names(tmp_path) == []


async def test_the_inner_failure_comes_out_bare() -> None:
    inner, outer = Router(), Router()

    @inner.route()
    async def fail(part: Part) -> None:
        raise ZeroDivisionError

    log = Log()
    outer.add(log, name="log")
    outer.add(Nested(inner))
    parts = [("log", "1"), nested([("a", "1")])]
    with pytest.raises(ZeroDivisionError):
        await outer.dispatch(MultipartReader(body(parts), content_type_of()))
    assert log.lines == ["undo 1"]


async def test_limits_are_shared_over_the_levels() -> None:
    inner, outer = Router(), Router(limits=Limits(max_parts=3))
    inner.add(Text())
    outer.add(Nested(inner))
    assert len((await outer.dispatch(reader_of([("a", ""), ("b", "")])))["inner"]) == 2
    with pytest.raises(LimitExceeded, match="max_parts"):
        await outer.dispatch(reader_of([("a", ""), ("b", ""), ("c", "")]))


@pytest.mark.parametrize("size", [100, 10_000])
async def test_the_total_of_an_inner_router(size: int) -> None:
    inner, outer = Router(limits=Limits(max_total_bytes=size)), Router()
    inner.add(Text())
    outer.add(Nested(inner), name="inner")
    outer.add(Text())
    reader = reader_of([("a", "x" * 5000)], ("after", "y" * 9000))
    if size > 5000:
        assert (await outer.dispatch(reader))["inner"]["a"] == "x" * 5000
        return
    with pytest.raises(LimitExceeded) as caught:
        await outer.dispatch(reader)
    assert (caught.value.limit, caught.value.value) == ("max_total_bytes", 100)


async def test_a_router_that_nests_itself() -> None:
    router = Router()
    router.add(Nested(router), content_type="multipart/*")
    router.add(Text())
    deep = nested([nested([("leaf", "1")], boundary="c", name="b")], boundary="b", name="a")
    results = await router.dispatch(MultipartReader(body([deep]), content_type_of()))
    assert results["a"]["b"]["leaf"] == "1"
    assert repr(Nested(router)).startswith("Nested(")


async def test_a_need_that_the_inner_router_cannot_have_met_is_found_before_a_byte() -> None:
    inner, outer = Router(), Router()

    @inner.route(name="x", needs="owner")
    async def handle(part: Part, owner: str) -> None: ...

    outer.add(Text(), name="owner")
    outer.add(Nested(inner), name="bad")
    outer.add(Nested(outer), name="within")  # a router inside itself is checked once
    for _ in range(2):
        with pytest.raises(RouteError, match="needs 'owner', which no route declares"):
            await dispatch(outer, [("owner", "me")])

    outer = Router()
    outer.add(Text(), name="owner")
    outer.add(Nested(inner, needs="owner"), name="good")
    assert (await dispatch(outer, [("owner", "me")]))["owner"] == "me"
