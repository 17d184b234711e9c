"""`Staged`: what `Save` asks of it out of turn, and systems that lack something.

Knows: the order of its methods. Must not know: parts, event loops.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mpflow_handlers import staging, syscalls
from mpflow_handlers.staging import Staged
from mpflow_handlers.syscalls import Syscalls
from tests.handlers.support import descriptors, names, opened_since


def staged_in(directory: Path, name: str = "a.txt", *, suffix: bool = False) -> Staged:
    return Staged(directory, name, suffix=suffix, hashes={})


def save(staged: Staged, data: bytes = b"x") -> str:
    staged.open()
    staged.finish([data], hold=True)
    return staged.publish()


def test_a_system_without_nameless_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    staged = staged_in(tmp_path)
    staged.open()
    (temporary,) = names(tmp_path)
    assert temporary.startswith(staging.TEMPORARY_PREFIX)
    staged.finish([b"x"], hold=True)
    staged.publish()
    assert names(tmp_path) == ["a.txt"]


def test_all_suffixes_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_TRIES", 3)
    before = descriptors()
    published = [save(staged_in(tmp_path, suffix=True)) for _ in range(3)]
    assert published == ["a.txt", "a-1.txt", "a-2.txt"]
    one_more = staged_in(tmp_path, suffix=True)
    with pytest.raises(FileExistsError, match=r"a\.txt"):
        save(one_more)
    one_more.discard()
    assert names(tmp_path) == sorted(published)
    assert opened_since(before) == []


def test_a_discarded_file_is_not_written(tmp_path: Path) -> None:
    """A thread that begins too late, as after a cancellation, opens and writes nothing."""
    before = descriptors()
    staged = staged_in(tmp_path)
    staged.discard()
    for late in (staged.open, staged.publish, lambda: staged.write([b"x"])):
        with pytest.raises(ValueError, match="discarded before"):
            late()
    staged.discard()
    assert names(tmp_path) == []
    assert opened_since(before) == []


def test_a_published_file_is_not_discarded(tmp_path: Path) -> None:
    staged = staged_in(tmp_path)
    save(staged)
    staged.discard()
    assert names(tmp_path) == ["a.txt"]


def test_one_directory_by_two_ways_is_opened_once(tmp_path: Path) -> None:
    directory, other = tmp_path / "in", tmp_path / "other"
    directory.mkdir()
    other.symlink_to(directory)
    before = descriptors()
    one, two = staged_in(directory, "1"), staged_in(other, "2")
    for staged in (one, two):
        staged.open()
        staged.finish([b"x"], hold=False)
    assert len(opened_since(before)) == 1
    one.discard()
    assert len(opened_since(before)) == 1
    two.publish()
    assert opened_since(before) == []
    assert names(directory) == ["2"]


def test_a_name_is_promised_to_one_file_at_a_time(tmp_path: Path) -> None:
    before = descriptors()
    first, second = staged_in(tmp_path), staged_in(tmp_path)
    first.open()
    with pytest.raises(FileExistsError, match=r"another part .*a\.txt"):
        second.open()
    second.discard()  # it gives up nothing that is not its own
    third = staged_in(tmp_path)
    with pytest.raises(FileExistsError, match="another part"):
        third.open()
    third.discard()
    first.discard()
    assert save(staged_in(tmp_path)) == "a.txt"
    assert opened_since(before) == []


def test_a_promised_name_is_promised_by_every_way_to_its_directory(tmp_path: Path) -> None:
    directory, other = tmp_path / "in", tmp_path / "other"
    directory.mkdir()
    other.symlink_to(directory)
    first, second, elsewhere = staged_in(directory), staged_in(other), staged_in(tmp_path)
    first.open()
    with pytest.raises(FileExistsError, match="another part"):
        second.open()
    assert save(elsewhere) == "a.txt"
    for staged in (first, second):
        staged.discard()


def test_a_suffix_leaves_promised_names_alone(tmp_path: Path) -> None:
    promised = staged_in(tmp_path)
    promised.open()
    promised.finish([b"promised"], hold=True)
    assert save(staged_in(tmp_path, suffix=True)) == "a-1.txt"
    assert promised.publish() == "a.txt"
    assert (tmp_path / "a.txt").read_bytes() == b"promised"


class Counting(Syscalls):
    """Counts what a name costs."""

    def __init__(self) -> None:
        self.looks = 0

    def lstat(self, name: str, *, dir_fd: int) -> os.stat_result:
        self.looks += 1
        return super().lstat(name, dir_fd=dir_fd)

    def link(self, name: str, new: str, *, dir_fd: int) -> None:
        self.looks += 1
        super().link(name, new, dir_fd=dir_fd)

    def link_open(self, fd: int, new: str, *, dir_fd: int) -> None:
        self.looks += 1
        super().link_open(fd, new, dir_fd=dir_fd)

    def fsync(self, fd: int) -> None: ...  # for speed alone


def test_many_of_one_name_cost_little_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = Counting()
    monkeypatch.setattr(syscalls, "system", system)
    most = 0
    for number in range(300):
        before = system.looks
        assert save(staged_in(tmp_path, suffix=True)) == (f"a-{number}.txt" if number else "a.txt")
        most = max(most, system.looks - before)
    assert most <= 2 * 10 + 3  # up to 512 and back by halves; links, and a look at what was linked


@pytest.mark.parametrize("taken", [{1, 2, 4}, {1, 2, 3, 4, 5, 6, 8}, {2, 4, 8}, {1, 2, 4, 7, 8}])
def test_any_gap_is_as_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: set[int]
) -> None:
    monkeypatch.setattr(staging, "_TRIES", 9)
    everything = {"a.txt"} | {f"a-{number}.txt" for number in range(1, 9)}
    theirs = {"a.txt"} | {f"a-{number}.txt" for number in taken}
    for name in theirs:
        (tmp_path / name).write_text("theirs")
    published = {save(staged_in(tmp_path, suffix=True)) for _ in everything - theirs}
    assert published == everything - theirs
    assert {(tmp_path / name).read_text() for name in theirs} == {"theirs"}
    one_more = staged_in(tmp_path, suffix=True)
    with pytest.raises(FileExistsError, match=r"a\.txt"):
        save(one_more)
    one_more.discard()
