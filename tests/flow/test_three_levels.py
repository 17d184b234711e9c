"""Rules 10 and 16 to 21 together: needs, nested flows, a Tee and files, on three levels at once.

Knows: in which order all of it commits, and what is left where one of it fails.
Must not know: which handler is in charge of what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import pytest

from mpflow import CommitFailed, Handled, PartInfo, Results, RolledBack, Router
from mpflow_handlers import Nested, Save, Saved, Tee
from tests.flow.support import Diary, Field, fails, form, nested, reader
from tests.handlers.support import descriptors, opened_since

pytestmark = pytest.mark.anyio

ORDER = ["owner", "late", "key", "middle", "leaf-1", "leaf-2", "last"]
"""Needed parts first, then as they stand on the wire, each level in the place of its part."""
DEPTH = {"owner": 0, "late": 0, "key": 1, "middle": 1, "leaf-1": 2, "leaf-2": 2, "last": 0}
FILES = ["late", "middle", "leaf-1", "leaf-2"]
BOOM = ZeroDivisionError()

# What is needed comes last on each level, so that all of it waits in the spool.
BODY = form(
    ("late", b"1" * 3000),
    nested(
        "nested",
        ("middle", b"2" * 3000),
        nested("nested", ("leaf-1", b"3" * 3000), ("leaf-2", b"4"), boundary="deep"),
        ("key", b"k"),
    ),
    ("owner", b"me"),
    Field("last", b"5"),
)


@attrs.define(eq=False)
class Upload:
    """Three routers, each of which needs what stands above it."""

    folder: Path
    diary: Diary
    router: Router = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Each part in question is a file and an entry in the diary, under its own name.
        both = Tee(Save(self.folder, self._name, digests=["md5"]), self.diary)
        inner, middle, outer = Router(), Router(max_handlers=1), Router()
        inner.add(both, name="leaf-1", needs=["owner", "key"])
        inner.add(both, name="leaf-2", needs="owner")
        middle.add(self.diary, name="key", key="key")
        middle.add(both, name="middle", needs=["owner", "key"], order="spool")
        middle.add(Nested(inner, needs=["owner", "key"]), name="nested", order="spool")
        outer.add(self.diary, name="owner", key="owner")
        outer.add(both, name="late", needs="owner", order="spool")
        outer.add(Nested(middle, needs="owner"), name="nested", order="spool")
        outer.add(self.diary, name="last")
        self.router = outer

    @staticmethod
    def _name(info: PartInfo, owner: bytes, key: bytes = b"") -> str:
        return f"{owner.decode()}{key.decode()}-{info.name}"

    def files(self) -> dict[str, bytes]:
        return {path.name.partition("-")[2]: path.read_bytes() for path in self.folder.iterdir()}


def rolled_back_after(name: str) -> list[str]:
    """The level whose commit fails rolls back what it has left; then the one around it does."""
    rest = ORDER[: ORDER.index(name) : -1]
    return sorted(rest, key=lambda one: -min(DEPTH[one], DEPTH[name]))


def committed_by(error: BaseException | None) -> list[str | None]:
    """The parts that a `CommitFailed` names, those of its inner levels too."""
    found: list[str | None] = []
    while isinstance(error, CommitFailed):
        found += _names(error.committed)
        error = error.__cause__
    assert error is BOOM
    return found


def _names(items: Iterable[Handled]) -> list[str | None]:
    return [
        name
        for item in items
        for name in (_names(item.value) if isinstance(item.value, Results) else [item.part.name])
    ]


def values(items: Iterable[Handled]) -> Iterator[object]:
    for item in items:
        if isinstance(item.value, Results):
            yield from values(item.value)
        elif isinstance(item.value, tuple):
            yield from item.value
        else:
            yield item.value


@pytest.mark.parametrize("size", [None, 7, 1000])
async def test_all_of_it_commits_in_order(tmp_path: Path, size: int | None) -> None:
    upload, before = Upload(tmp_path, Diary()), descriptors()
    async with upload.router.flow(reader(BODY, size=size)) as flow:
        assert upload.files() == {}
        assert upload.diary.committed == []
        saved = [value for value in values(flow.results) if isinstance(value, Saved)]
    assert upload.diary.committed == ORDER
    assert [one.path.name for one in saved] == ["me-late", "mek-middle", "mek-leaf-1", "me-leaf-2"]
    assert sorted(upload.files()) == sorted(FILES)
    assert upload.files()["leaf-1"] == b"3" * 3000
    assert opened_since(before) == []


@pytest.mark.parametrize("size", [None, 1000])
@pytest.mark.parametrize("name", ORDER)
async def test_one_that_fails_leaves_nothing(tmp_path: Path, name: str, size: int | None) -> None:
    upload, before = Upload(tmp_path, Diary(fails("stage", name, BOOM))), descriptors()
    with pytest.raises(ZeroDivisionError) as caught:
        await upload.router.dispatch(reader(BODY, size=size))
    assert caught.value is BOOM
    assert upload.files() == {}
    assert upload.diary.committed == []
    upload.diary.check()
    assert all(isinstance(reason, RolledBack) for reason in upload.diary.reasons)
    assert opened_since(before) == []
    BOOM.__notes__ = []


@pytest.mark.parametrize("size", [None, 1000])
async def test_a_block_that_fails_rolls_back_in_reverse(tmp_path: Path, size: int | None) -> None:
    upload, before = Upload(tmp_path, Diary()), descriptors()
    with pytest.raises(ZeroDivisionError) as caught:
        async with upload.router.flow(reader(BODY, size=size)):
            raise BOOM
    assert caught.value is BOOM
    assert upload.diary.rolled_back == ORDER[::-1]
    assert upload.files() == {}
    assert opened_since(before) == []


@pytest.mark.parametrize("name", ORDER)
async def test_a_commit_that_fails_stops_there(tmp_path: Path, name: str) -> None:
    """What comes after it is rolled back, at every level; what came before it is told and stays."""
    upload, before = Upload(tmp_path, Diary(fails("commit", name, BOOM))), descriptors()
    with pytest.raises(CommitFailed) as caught:
        await upload.router.dispatch(reader(BODY))
    done = ORDER[: ORDER.index(name)]
    assert upload.diary.committed == done
    assert upload.diary.rolled_back == [name, *rolled_back_after(name)]
    # The file of a Tee commits before the diary that fails beside it.
    kept = [one for one in [*done, name] if one in FILES]
    assert sorted(upload.files()) == sorted(kept)
    assert {*committed_by(caught.value)} - {name} == {*done}
    assert opened_since(before) == []


@pytest.mark.parametrize("cut_at", [0.2, 0.5, 0.8, 0.95])
async def test_a_body_that_is_cut_leaves_nothing(tmp_path: Path, cut_at: float) -> None:
    upload, before = Upload(tmp_path, Diary()), descriptors()
    with pytest.raises(Exception, match=r"close delimiter|ended"):
        await upload.router.dispatch(reader(BODY[: int(len(BODY) * cut_at)], size=500))
    assert upload.files() == {}
    assert upload.diary.committed == []
    upload.diary.check()
    assert opened_since(before) == []
