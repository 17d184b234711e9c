"""What a part's headers say, and where the part stands."""

from __future__ import annotations

import pickle

import attrs
import pytest

from mpflow import PartInfo
from mpflow.info import part_info
from mpflow.wire import Head


def test_an_info_of_nothing() -> None:
    info = PartInfo.of()
    assert dict(info.headers) == {}
    assert (info.name, info.filename, info.disposition, info.charset) == (None, None, None, None)
    assert (info.content_type, dict(info.content_type_params)) == ("text/plain", {})
    assert (info.index, info.path, info.depth, info.size) == (0, (0,), 0, None)
    assert not info.is_multipart
    assert str(info.ref) == "part 0"


def test_an_info_of_words() -> None:
    info = PartInfo.of(name="n", filename="f.txt", content_type="Text/CSV; Charset=X", size=3)
    assert (info.name, info.filename, info.disposition) == ("n", "f.txt", "form-data")
    assert (info.content_type, info.charset) == ("text/csv", "X")
    assert info.content_type_params == {"charset": "X"}
    assert info.size == 3
    assert list(info.headers) == ["Content-Disposition", "Content-Type"]
    assert str(info.ref) == "part 0 'n' (file 'f.txt')"


def test_an_info_of_a_name_or_a_filename_alone() -> None:
    assert PartInfo.of(name="").name == ""
    assert PartInfo.of(name="n").filename is None
    assert PartInfo.of(filename="f").name is None
    assert PartInfo.of(filename="f").filename == "f"


@pytest.mark.parametrize(
    "headers", [{"X-Own": "1", "Content-Type": "a/b"}, [("X-Own", "1"), ("Content-Type", "a/b")]]
)
def test_an_info_of_headers(headers: dict[str, str] | list[tuple[str, str]]) -> None:
    info = PartInfo.of(headers)
    assert list(info.headers.items()) == [("X-Own", "1"), ("Content-Type", "a/b")]
    assert info.headers["x-own"] == "1"
    assert info.content_type == "a/b"


def test_headers_come_before_the_words() -> None:
    info = PartInfo.of([("X", "1"), ("X", "2")], name="n", content_type="a/b")
    names = [name for name, _ in info.headers.items()]
    assert names == ["X", "X", "Content-Disposition", "Content-Type"]
    assert info.headers.getall("x") == ["1", "2"]


@pytest.mark.parametrize("bad", [{"X": "a\r\nY: b"}, {"X Y": "1"}, {"X": "\0"}])
def test_headers_that_cannot_stand_on_the_wire(bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        PartInfo.of(bad)


def test_names_that_need_escapes_come_back() -> None:
    info = PartInfo.of(name='a"\r\n\\;é', filename="日本;.txt")
    assert (info.name, info.filename) == ('a"\r\n\\;é', "日本;.txt")


def test_where_a_part_stands() -> None:
    info = PartInfo.of(index=2)
    assert (info.index, info.path, info.depth) == (2, (2,), 0)
    inner = PartInfo.of(name="x", index=1, path=(2, 0, 1))
    assert (inner.path, inner.depth) == ((2, 0, 1), 2)
    assert str(inner.ref) == "part 2.0.1 'x'"


def test_multiparts() -> None:
    assert PartInfo.of(content_type="Multipart/Mixed; boundary=b").is_multipart
    assert not PartInfo.of(content_type="application/multipart").is_multipart


def test_a_filename_is_data_and_a_safe_one_can_be_made() -> None:
    info = PartInfo.of(filename="../../etc/passwd")
    assert info.filename == "../../etc/passwd"
    assert "/" not in info.safe_filename
    assert PartInfo.of().safe_filename


def test_an_info_is_a_frozen_value() -> None:
    info = PartInfo.of(name="n")
    assert info == PartInfo.of(name="n")
    assert hash(info) == hash(PartInfo.of(name="n"))
    assert info != PartInfo.of(name="m")
    assert info != PartInfo.of(name="n", index=1)
    assert attrs.evolve(info, size=7).size == 7
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        info.index = 3  # type: ignore[misc]


def test_an_info_of_a_head() -> None:
    info = PartInfo(Head.of({"Content-Type": "a/b"}))
    assert (info.content_type, info.path) == ("a/b", (0,))
    assert repr(info) == "PartInfo(index=0, path=(0,), size=None)"


def test_one_that_is_made_quickly_is_as_any_other() -> None:
    head = Head.of([("Content-Disposition", 'form-data; name="a"')])
    quick, usual = part_info(head, 2, (1, 2), 5), PartInfo(head, 2, (1, 2), 5)
    assert type(quick) is PartInfo
    assert quick == usual
    assert hash(quick) == hash(usual)
    assert repr(quick) == repr(usual)
    assert pickle.loads(pickle.dumps(attrs.evolve(quick, size=6))) == attrs.evolve(usual, size=6)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        quick.size = 6  # type: ignore[misc]
