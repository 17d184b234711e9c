"""`Tee`: one part to several handlers, which share its fate.

Knows: handlers with one phase and with two. Must not know: how a body is copied.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from obstore.store import LocalStore

from mpflow import MultipartReader, Part, RouteError, Router
from mpflow.testing import Bytewise, PartSpec, body, content_type_of, nested
from mpflow_handlers import Collect, Digest, Discard, Nested, ObjectStore, Save, Tee, Text
from tests.handlers.support import descriptors, names, opened_since, part_of

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 5000


async def scan(part: Part) -> str:
    """A scanner that knows a virus when its first bytes come."""
    if (await part.receive()).startswith(b"virus"):
        raise ZeroDivisionError("a virus")
    return "clean"


async def test_each_gets_the_whole_part(tmp_path: Path) -> None:
    tee = Tee(Save(tmp_path, "a"), Digest(), Collect(None), Discard(), scan)
    pieces = [DATA[start : start + 50_000] for start in range(0, len(DATA), 50_000)]
    async with tee(part_of(pieces)) as (saved, digests, data, nothing, verdict):
        assert names(tmp_path) == []
        assert digests == {"sha256": hashlib.sha256(DATA).hexdigest()}
        assert data == DATA
        assert nothing is None
        assert verdict == "clean"
    assert saved.path.read_bytes() == DATA


@pytest.mark.parametrize("source", [bytes, Bytewise], ids=["whole", "bytewise"])
async def test_on_a_router(tmp_path: Path, source: Any) -> None:
    router = Router()
    router.add(Tee(Save(tmp_path, "a"), Text()), name="f")
    message = source(body([PartSpec(b"text", name="f", filename="f")]))
    results = await router.dispatch(MultipartReader(message, content_type_of()))
    saved, text = results["f"]
    assert (saved.path.read_bytes(), text) == (b"text", "text")


async def test_one_failure_fails_the_part(tmp_path: Path) -> None:
    before = descriptors()
    router = Router()
    router.add(Tee(Save(tmp_path, "a"), scan), name="f")
    message = body([("f", b"virus" + DATA)])
    with pytest.raises(ZeroDivisionError, match="a virus"):
        await router.dispatch(MultipartReader(message, content_type_of()))
    assert names(tmp_path) == []
    assert opened_since(before) == []


async def test_one_that_may_fail(tmp_path: Path) -> None:
    router = Router()
    router.add(Tee(Save(tmp_path, "a"), Tee.collect(scan)), name="f")
    results = await router.dispatch(MultipartReader(body([("f", b"virus")]), content_type_of()))
    saved, error = results["f"]
    assert saved.path.read_bytes() == b"virus"
    assert isinstance(error, ZeroDivisionError)


async def test_a_rollback_reaches_all(tmp_path: Path) -> None:
    before = descriptors()
    tee = Tee(Save(tmp_path, "a"), Save(tmp_path, "b"))
    reason = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError) as caught:
        async with tee(part_of([DATA[:1000]])):
            raise reason
    assert caught.value is reason
    assert names(tmp_path) == []
    assert opened_since(before) == []


@pytest.mark.parametrize("kind", ["save", "objectstore", "nested"])
async def test_of_children_that_want_one_name_the_first_gets_it(tmp_path: Path, kind: str) -> None:
    for run in range(5):  # trio begins tasks in any order
        directory = tmp_path / str(run)
        directory.mkdir()

        child: Any = Save(directory, "a")
        if kind == "objectstore":
            child = ObjectStore(LocalStore(directory), "a")
        elif kind == "nested":
            inner = Router()
            inner.add(child)
            child = Nested(inner)
        router = Router()
        router.add(Tee(child, *[Tee.collect(child)] * 5), name="f")
        part = nested([("g", b"text")], name="f", boundary="in")
        results = await router.dispatch(MultipartReader(body([part]), content_type_of()))
        first, *others = results["f"]
        assert not isinstance(first, BaseException)
        assert all(isinstance(other, FileExistsError) for other in others)
        assert names(directory) == ["a"]


async def test_places_of_parts_and_of_branches() -> None:
    seen: list[tuple[int, ...]] = []

    async def look(part: Part) -> None:
        seen.append(part.place)

    async def by_hand(part: Part) -> None:
        seen.extend([inside.place async for inside in part.multipart()])

    inner = Router()
    inner.add(look)
    router = Router()
    router.add(look, name="plain")
    router.add(Tee(look, Tee(Nested(inner), look), by_hand), name="tee")
    parts = [("plain", "1"), nested([("a", "1"), ("b", "2")], name="tee", boundary="in")]
    await router.dispatch(MultipartReader(body(parts), content_type_of()))
    assert sorted(seen) == [
        (0,),
        (1, 0),
        (1, 1, 0, 0),
        (1, 1, 0, 1),
        (1, 1, 1),
        (1, 2, 0),
        (1, 2, 1),
    ]


def test_children_that_cannot_be() -> None:
    with pytest.raises(RouteError, match="at least one"):
        Tee()
    with pytest.raises(RouteError, match="expected handlers"):
        Tee(5)  # type: ignore[arg-type]
    with pytest.raises(RouteError, match="expected handlers"):
        Tee.collect("save")  # type: ignore[arg-type]


def test_it_is_a_value() -> None:
    assert Tee(Digest(), Tee.collect(Text())) == Tee(Digest(), Tee.collect(Text()))
    assert Tee(Digest()) != Tee(Tee.collect(Digest()))
    assert "Digest" in repr(Tee(Digest()))
