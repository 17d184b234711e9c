"""`Save`: what it stores, under which names, and that nothing else is ever left.

Knows: files, as their users see them. Must not know: which calls make them.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow import PartInfo, RolledBack, RouteError, TruncatedBody, UnsupportedCoding
from mpflow_handlers import Save, Saved, syscalls
from mpflow_handlers.batches import BATCH_BYTES
from tests.handlers.support import (
    Pieces,
    Seam,
    descriptors,
    names,
    opened_since,
    part_of,
    stage,
)

pytestmark = pytest.mark.anyio

HOLDS = pytest.mark.parametrize("hold", [True, False], ids=["held", "closed"])
LARGE = bytes(range(256)) * (BATCH_BYTES // 100)  # several batches


@pytest.fixture(params=["nameless", "temporary", "no-proc"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Seam:
    """The real system: with O_TMPFILE, without it, and where such a file can get no name."""
    seam = Seam(nameless=request.param != "temporary", proc=request.param != "no-proc")
    monkeypatch.setattr(syscalls, "system", seam)
    return seam


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


# -- what is stored ---------------------------------------------------------------------------


@HOLDS
@pytest.mark.parametrize("size", [0, 1, BATCH_BYTES, len(LARGE)])
async def test_the_file_is_the_body(tmp_path: Path, system: Seam, size: int, hold: bool) -> None:
    data = LARGE[:size]
    before = descriptors()
    save = Save(tmp_path, "file.bin", digests=("sha256", "md5"))
    async with save(part_of(cut(data, 65536), hold=hold)) as saved:
        waiting = names(tmp_path)
        assert len(waiting) == (0 if hold and system.nameless else 1)
        assert all(name.startswith(".mpflow-") and name.endswith(".part") for name in waiting)
    assert names(tmp_path) == ["file.bin"]
    assert (tmp_path / "file.bin").read_bytes() == data
    digests = {name: hashlib.new(name, data).hexdigest() for name in ("sha256", "md5")}
    assert saved == Saved(tmp_path / "file.bin", size, digests)
    assert opened_since(before) == []
    assert not system.overlaps


async def test_a_part_that_is_whole_in_hand(tmp_path: Path) -> None:
    async with Save(tmp_path, "a")(part_of(b"whole")) as saved:
        pass
    assert saved.path.read_bytes() == b"whole"


@given(pieces=st.lists(st.binary(min_size=1, max_size=300), max_size=40), most=st.integers(1, 400))
async def test_short_writes_lose_and_repeat_nothing(pieces: list[bytes], most: int) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(syscalls, "system", Seam(most=most))
        async with Save(name, "a", digests=("sha256",))(part_of(pieces)) as saved:
            pass
        assert saved.path.read_bytes() == b"".join(pieces)
        assert saved.size == len(b"".join(pieces))
        assert saved.digests["sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()


async def test_more_pieces_than_one_write_takes(tmp_path: Path) -> None:
    pieces = [bytes([number % 256]) for number in range(5000)]
    async with Save(tmp_path, "a")(part_of(pieces)) as saved:
        pass
    assert saved.path.read_bytes() == b"".join(pieces)


async def test_the_mode_is_not_the_umask_s(tmp_path: Path, system: Seam) -> None:
    old = os.umask(0o277)
    try:
        async with Save(tmp_path, "a")(part_of(b"x")) as saved:
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE(saved.path.stat().st_mode) == 0o600
    assert saved.path.stat().st_nlink == 1


@HOLDS
async def test_the_loop_never_waits_for_the_disk(tmp_path: Path, system: Seam, hold: bool) -> None:
    async with Save(tmp_path)(part_of(cut(LARGE, 65536), hold=hold)):
        pass
    with pytest.raises(ZeroDivisionError):
        async with Save(tmp_path)(part_of(cut(LARGE, 65536), hold=hold)):
            raise ZeroDivisionError
    assert threading.get_ident() not in system.threads


async def test_writes_are_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = Seam()
    monkeypatch.setattr(syscalls, "system", system)
    async with Save(tmp_path)(part_of(cut(LARGE, 1000))):
        pass
    assert system.calls.count("writev") <= len(LARGE) // BATCH_BYTES + 1


@HOLDS
async def test_synced_before_it_is_published(tmp_path: Path, system: Seam, hold: bool) -> None:
    async with Save(tmp_path, "a")(part_of(b"x", hold=hold)):
        staged = len(system.calls)
    calls = system.calls
    assert calls.index("writev") < calls.index("fsync") < staged
    commit = [call for call in calls[staged:] if call.startswith(("link", "fsync"))]
    assert commit in (["link", "fsync"], ["link_open", "fsync"])


async def test_the_content_coding_is_kept(tmp_path: Path) -> None:
    part = part_of(b"\x1f\x8b...", headers={"Content-Encoding": "gzip"})
    async with Save(tmp_path, "a")(part) as saved:
        pass
    assert saved.path.read_bytes() == b"\x1f\x8b..."


async def test_what_cannot_be_undone_is_never_stored(tmp_path: Path) -> None:
    part = part_of(b"eA==", headers={"Content-Transfer-Encoding": "x-unknown"})
    with pytest.raises(UnsupportedCoding):
        async with Save(tmp_path)(part):
            pytest.fail("the part was taken")
    assert names(tmp_path) == []


# -- what is not stored -----------------------------------------------------------------------


@HOLDS
async def test_a_rollback_leaves_nothing(tmp_path: Path, system: Seam, hold: bool) -> None:
    before = descriptors()
    reason = RolledBack()
    with pytest.raises(RolledBack) as caught:
        async with Save(tmp_path, "a")(part_of(cut(LARGE, 65536), hold=hold)) as saved:
            raise reason
    assert caught.value is reason
    assert not hasattr(reason, "__notes__")
    assert names(tmp_path) == []
    assert opened_since(before) == []
    with pytest.raises(RouteError, match="committed"):
        _ = saved.path


@pytest.mark.parametrize("size", [10, len(LARGE)])
async def test_a_cut_body_leaves_nothing(tmp_path: Path, system: Seam, size: int) -> None:
    before = descriptors()
    error = TruncatedBody("cut")
    with pytest.raises(TruncatedBody) as caught:
        async with Save(tmp_path, "a")(part_of(Pieces(cut(LARGE[:size], 65536), error=error))):
            pytest.fail("the part was taken for whole")
    assert caught.value is error
    assert names(tmp_path) == []
    assert opened_since(before) == []


async def test_a_timeout_leaves_nothing(tmp_path: Path, system: Seam) -> None:
    before = descriptors()
    with anyio.CancelScope() as scope:
        async with Save(tmp_path, "a")(part_of(b"x", hold=False)):
            scope.cancel()
            await anyio.sleep_forever()
    assert names(tmp_path) == []
    assert opened_since(before) == []


# -- names ------------------------------------------------------------------------------------

BAD_NAMES = ["", ".", "..", "a/b", "/a", "..\\a", "a\0", "a\n", "\x1b[1ma", "a\x85",
             "é" * 128, "\ud800", ".mpflow-1.part"]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
async def test_a_name_that_is_no_name_in_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(RouteError, match="expected"):
        Save(tmp_path, name)
    body = Pieces([b"x"])
    with pytest.raises(RouteError, match="expected"):
        async with Save(tmp_path, lambda info: name)(part_of(body)):
            pytest.fail("the name was taken")
    assert names(tmp_path) == []
    assert body.received == 0


async def test_a_maker_of_names_that_gives_none(tmp_path: Path) -> None:
    give_none: Callable[[PartInfo], str] = lambda info: None  # type: ignore[assignment,return-value]  # noqa: E731
    with pytest.raises(RouteError, match="expected a file's name as a str, got None"):
        async with Save(tmp_path, give_none)(part_of(b"")):
            pytest.fail("the name was taken")


async def test_a_clients_name_is_never_taken_by_itself(tmp_path: Path) -> None:
    async with Save(tmp_path)(part_of(b"x", filename="../../etc/passwd")) as saved:
        pass
    assert saved.path.parent == tmp_path
    assert len(saved.path.name) == 32
    assert int(saved.path.name, 16) >= 0


async def test_a_clients_name_made_harmless(tmp_path: Path) -> None:
    save = Save(tmp_path, lambda info: info.safe_filename)
    async with save(part_of(b"x", filename="..\\..\\CON.txt")) as saved:
        pass
    assert names(tmp_path) == ["_CON.txt"]
    assert saved.path == tmp_path / "_CON.txt"


async def test_the_longest_name(tmp_path: Path) -> None:
    name = "é" * 125 + ".text"
    for _ in range(2):
        async with Save(tmp_path, name, "suffix")(part_of(b"x")):
            pass
    assert names(tmp_path) == sorted([name, "é" * 124 + "-1.text"])


@pytest.mark.parametrize("exists", ["error", "suffix"])
async def test_path_and_name(tmp_path: Path, exists: str) -> None:
    save = Save(tmp_path, "a.txt", exists)  # type: ignore[arg-type]
    async with save(part_of(b"x")) as saved:
        with pytest.raises(RouteError, match="after the commit"):
            _ = saved.path
        if exists == "error":
            assert saved.name == "a.txt"
        else:
            with pytest.raises(RouteError, match="suffix"):
                _ = saved.name
        assert "not committed" in repr(saved)
        assert saved != Saved(tmp_path / "a.txt", 1)
    assert saved.path == tmp_path / "a.txt"
    assert saved.name == "a.txt"
    assert saved == Saved(tmp_path / "a.txt", 1)
    assert "not committed" not in repr(saved)
    with pytest.raises(AttributeError):
        saved.size = 2


# -- names that are taken ---------------------------------------------------------------------


def plant_file(path: Path) -> None:
    path.write_text("theirs")


def plant_link(path: Path) -> None:
    (path.parent.parent / "target").write_text("theirs")
    path.symlink_to("../target")


def plant_dangling_link(path: Path) -> None:
    path.symlink_to("../nowhere")


def plant_directory(path: Path) -> None:
    path.mkdir()


PLANTS = pytest.mark.parametrize(
    "plant", [plant_file, plant_link, plant_dangling_link, plant_directory]
)


@PLANTS
async def test_a_taken_name_is_refused_before_the_body_is_read(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    directory = tmp_path / "in"
    directory.mkdir()
    plant(directory / "a")
    body = Pieces([b"x"])
    with pytest.raises(FileExistsError, match="in/a"):
        async with Save(directory, "a")(part_of(body)):
            pytest.fail("the part was taken")
    assert body.received == 0
    assert names(directory) == ["a"]


@HOLDS
@PLANTS
async def test_a_name_taken_meanwhile_is_refused_at_commit(
    tmp_path: Path, system: Seam, plant: Callable[[Path], None], hold: bool
) -> None:
    directory = tmp_path / "in"
    directory.mkdir()
    before = descriptors()
    part = part_of(b"ours", hold=hold)
    with pytest.raises(FileExistsError, match="in/a"):
        await stage(Save(directory, "a"), part, lambda: plant(directory / "a"))
    assert names(directory) == ["a"]
    for path in (directory / "a", tmp_path / "target"):
        assert not path.is_file() or path.read_text() == "theirs"
    assert not (tmp_path / "nowhere").exists()
    assert opened_since(before) == []


@HOLDS
@PLANTS
async def test_a_taken_name_gets_a_suffix(
    tmp_path: Path, system: Seam, plant: Callable[[Path], None], hold: bool
) -> None:
    directory = tmp_path / "in"
    directory.mkdir()
    plant(directory / "a.tar.gz")
    plant_file(directory / "a.tar-1.gz")
    save = Save(directory, "a.tar.gz", "suffix")
    async with save(part_of(b"ours", hold=hold)) as saved:
        pass
    assert saved.path == directory / "a.tar-2.gz"
    assert saved.path.read_bytes() == b"ours"
    assert names(directory) == ["a.tar-1.gz", "a.tar-2.gz", "a.tar.gz"]


async def _save_at_once(save: Save, count: int, *, hold: bool) -> tuple[list[Saved], int]:
    """Stage `count` parts, each with a body of its own, then commit at once what was staged."""
    saved: list[Saved] = []
    refused = 0
    tried = 0
    all_tried = anyio.Event()

    def one_more() -> None:
        nonlocal tried
        tried += 1
        if tried == count:
            all_tried.set()

    async def one(number: int) -> None:
        nonlocal refused
        try:
            async with save(part_of(b"%d" % number, hold=hold, index=number)) as value:
                one_more()
                await all_tried.wait()
            saved.append(value)
            assert value.path.read_bytes() == b"%d" % number
        except FileExistsError:
            refused += 1
            one_more()

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(one, number)
    return saved, refused


@HOLDS
async def test_many_at_once_each_get_a_name(tmp_path: Path, hold: bool) -> None:
    saved, refused = await _save_at_once(Save(tmp_path, "a.txt", "suffix"), 12, hold=hold)
    assert refused == 0
    expected = ["a.txt", *(f"a-{number}.txt" for number in range(1, 12))]
    assert names(tmp_path) == sorted(expected)
    assert sorted(one.path.read_text() for one in saved) == sorted(map(str, range(12)))


@HOLDS
async def test_many_at_once_and_one_gets_the_name(tmp_path: Path, hold: bool) -> None:
    saved, refused = await _save_at_once(Save(tmp_path, "a.txt"), 12, hold=hold)
    assert (len(saved), refused) == (1, 11)
    assert names(tmp_path) == ["a.txt"]


async def test_parts_that_wait_hold_one_descriptor_together(tmp_path: Path) -> None:
    before = descriptors()
    async with anyio.create_task_group() as tasks:
        done = anyio.Event()

        async def one(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            async with Save(tmp_path)(part_of(b"x", hold=False)):
                task_status.started()
                await done.wait()

        for _ in range(100):
            await tasks.start(one)
        assert len(opened_since(before)) == 1
        done.set()
    assert len(names(tmp_path)) == 100
    assert opened_since(before) == []


# -- the directory ----------------------------------------------------------------------------


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    body = Pieces([b"x"])
    with pytest.raises(FileNotFoundError, match=r"missing'$"):
        async with Save(tmp_path / "missing", "a")(part_of(body)):
            pytest.fail("the part was taken")
    assert body.received == 0


async def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"file'$"):
        async with Save(tmp_path / "file", "a")(part_of(b"")):
            pytest.fail("the part was taken")


@HOLDS
async def test_a_directory_that_is_swapped_leads_no_file_astray(
    tmp_path: Path, system: Seam, hold: bool
) -> None:
    directory, elsewhere, moved = tmp_path / "in", tmp_path / "elsewhere", tmp_path / "moved"
    directory.mkdir()
    elsewhere.mkdir()
    async with Save(directory, "a")(part_of(b"x", hold=hold)):
        directory.rename(moved)
        directory.symlink_to(elsewhere)
    assert names(elsewhere) == []
    assert (moved / "a").read_bytes() == b"x"
    assert names(moved) == ["a"]


async def test_a_directory_that_vanishes(tmp_path: Path) -> None:
    directory = tmp_path / "in"
    directory.mkdir()
    before = descriptors()
    with pytest.raises(FileNotFoundError, match="in/a"):
        async with Save(directory, "a")(part_of(b"x")):
            directory.rmdir()
    assert names(tmp_path) == []
    assert opened_since(before) == []


def temporary_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


async def test_a_temporary_file_that_was_cleaned_away(tmp_path: Path) -> None:
    part = part_of(b"x", hold=False)
    with pytest.raises(FileNotFoundError, match=r"a'$"):
        await stage(Save(tmp_path, "a"), part, lambda: temporary_file(tmp_path).unlink())
    assert names(tmp_path) == []


async def test_a_temporary_file_that_was_replaced_is_not_published(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    directory = tmp_path / "in"
    directory.mkdir()
    theirs.write_text("theirs")
    part = part_of(b"x", hold=False)
    with pytest.raises(OSError, match="replaced"):
        await stage(Save(directory, "a"), part, lambda: theirs.replace(temporary_file(directory)))
    assert names(directory) == []


# -- the handler itself -----------------------------------------------------------------------


def test_it_is_a_value(tmp_path: Path) -> None:
    assert Save(tmp_path, "a") == Save(str(tmp_path), "a", "error", digests=[])
    assert Save(tmp_path, digests=["sha256"]).digests == ("sha256",)


@pytest.mark.parametrize(
    "options",
    [
        {"exists": "overwrite"},
        {"digests": ("none-such",)},
        {"digests": "sha256"},
        {"digests": ("shake_128",)},
        {"name": 5},
    ],
    ids=str,
)
def test_options_that_cannot_work(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(RouteError, match="expected"):
        Save(tmp_path, **options)  # type: ignore[arg-type]
