"""What is proven about predicates: true for every part, or not claimed."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow.info import PartInfo
from mpflow.predicates import (
    Predicate,
    any_part,
    as_predicate,
    content_type,
    depth,
    disposition,
    filename,
    header,
    index,
    name,
    path,
)
from mpflow.predicates.implication import (
    excludes,
    implies,
    literal_name,
    never_matches,
    split_name,
)

FIELD = PartInfo.of(name="note")
PHOTO = PartInfo.of(name="photo", filename="Me.JPG", content_type="image/jpeg", index=2)


def yes(info: PartInfo) -> bool:
    return True


@attrs.frozen
class Own(Predicate):
    """Somebody's own kind of predicate: it may be impure, however equal two of them are."""

    def __call__(self, info: PartInfo, /) -> bool:
        return info.index == 2


def test_nothing_follows_from_a_kind_of_ones_own() -> None:
    assert Own() == Own()
    assert not implies(Own(), Own())
    assert not never_matches(Own() & ~Own())
    assert implies(Own(), any_part())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (name("a"), any_part()),
        (as_predicate(yes), any_part()),
        (name("a"), name("a")),
        (name("a") & filename(True), name("a")),
        (name("a") & yes, name("a")),
        (name("a") & yes, filename(True) | name("a")),
        (name("a"), name("a") | yes),
        (name("a") | name("b"), name("b") | name("a") | name("c")),
        (filename("*.jpg"), filename(True)),
        (filename("a.JPG"), filename("*.jpg")),
        (content_type("image/png"), content_type("image/*")),
        (content_type("text/plain; charset=utf-8"), content_type("text/*")),
        (content_type("text/plain; charset=UTF-8; a=b"), content_type("*/*; charset=utf-8")),
        (path(1, 0), path(1, None)),
        (path(1, 0), path(1, 0)),
        (path(1, 0), ~path(2, None)),
        (header("X", "abc"), header("x", "a*")),
        (header("X", "a*"), header("X")),
        (name("a"), ~name("b")),
        (content_type("image/png"), ~content_type("text/*")),
        (~filename(True), ~filename("*.jpg")),
        (name("a") & name("b"), index(3)),
        (name("a") & index(0) & depth(1), depth(1) & name("a")),
        (name("a") & (index(0) | index(1)), name("a") & (index(1) | index(0))),
    ],
)
def test_implies(one: Predicate, other: Predicate) -> None:
    assert implies(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (any_part(), name("a")),
        (name("a"), name("b")),
        (name("a"), name("a") & filename(True)),
        (as_predicate(yes), as_predicate(yes)),  # the second time it may say otherwise
        (~as_predicate(yes), ~as_predicate(yes)),
        (name("a") & yes, name("a") & yes),
        (filename(True), filename("*.jpg")),
        (filename("a*"), filename("*") & filename("ab*")),
        (filename("a[bc]"), filename("a[bc]d")),
        (content_type("image/*"), content_type("image/png")),
        (content_type("text/plain"), content_type("text/plain; charset=utf-8")),
        (content_type("*/*; charset=utf-8"), content_type("text/*")),
        (path(1, None), path(1, 0)),
        (path(None), path(None, None)),
        (header("X", "abc"), header("Y", "a*")),
        (header("X", "abc"), ~header("X", "xyz")),  # it may come twice
        (name("a") | name("b"), name("a")),
        (~name("b"), name("a")),
        (~name("a"), ~name("b")),
    ],
)
def test_does_not_imply(one: Predicate, other: Predicate) -> None:
    assert not implies(one, other)


@pytest.mark.parametrize(
    "predicate",
    [
        ~any_part(),
        name("a") & name("b"),
        name("a") & ~name("a"),
        yes & (name("a") & name("b")),
        filename(True) & filename(False),
        filename("a.jpg") & filename("*.png"),
        filename("*.png") & filename("a.jpg"),
        content_type("image/png") & content_type("text/*"),
        content_type("image/png") & content_type("image/gif"),
        (name("a") | name("b")) & name("c"),
        name("c") & ((name("a") & index(0)) | name("b")),
        (name("a") & name("b")) | (index(0) & index(1)),
        header("X", "a") & ~header("X"),
        disposition("inline") & disposition("attachment"),
        depth(0) & depth(1),
        content_type("*/*; a=b") & content_type("text/*; a=c"),
        path(0) & path(0, 0),
        path(0, None) & path(1, None),
    ],
)
def test_never_matches(predicate: Predicate) -> None:
    assert never_matches(predicate)
    assert not any(predicate(info) for info in (FIELD, PHOTO))


@pytest.mark.parametrize(
    "predicate",
    [
        any_part(),
        as_predicate(yes),
        as_predicate(yes) & ~as_predicate(yes),  # it may say otherwise the second time
        header("X", "a") & header("X", "b"),
        filename("a*") & filename("*b"),
        content_type("image/*") & content_type("image/png"),
        content_type("*/*; a=b") & content_type("image/png; c=d"),
        path(0, None) & path(None, 1),
        (name("a") | name("b")) & name("b"),
        name("a") & filename(False) & index(0) & depth(0),
    ],
)
def test_may_match(predicate: Predicate) -> None:
    assert not never_matches(predicate)


def test_literal_name() -> None:
    assert literal_name(name("a")) == "a"
    assert literal_name(yes & name("a") & filename(True)) == "a"
    assert literal_name(name("a") | name("b")) is None
    assert literal_name(~name("a")) is None


def test_split_name() -> None:
    assert split_name(any_part()) == (None, None)
    assert split_name(name("a")) == ("a", None)
    assert split_name(name("a") & filename(True)) == ("a", filename(True))
    assert split_name(filename(True) & ~index(0) & name("a")) == (
        "a",
        filename(True) & ~index(0),
    )
    assert split_name(filename(True)) == (None, filename(True))
    first = (index(0) | yes) & name("a")  # `yes` is asked of parts of every name
    assert split_name(first) == (None, first)


NAMES = ["a", "b"]
FILENAMES = ["A.png", "b.jpg", ""]
TYPES = ["image/png", "image/gif", "text/plain", "text/plain; charset=utf-8", "text/plain; a=B"]
KINDS = ["", "1", "2"]


def every_part() -> Iterator[PartInfo]:
    for part_name in (None, *NAMES):
        for file in (None, *FILENAMES):
            for kind in TYPES:
                for values in ([], ["1"], ["1", "2"], ["22"]):
                    pairs = [("X-Kind", value) for value in values]
                    yield PartInfo.of(
                        pairs,
                        name=part_name,
                        filename=file,
                        content_type=kind,
                        index=len(values) % 2,
                        path=(0,) * (1 + len(values)),
                    )


PARTS = list(every_part())
simple = st.one_of(
    st.just(any_part()),
    st.sampled_from(NAMES).map(name),
    st.booleans().map(filename),
    st.sampled_from(["*.png", "a.PNG", "?*", "*", "", "b.*", "[ab].*"]).map(filename),
    st.sampled_from([*TYPES, "image/*", "text/*", "*/*"]).map(content_type),
    st.sampled_from(["*/*; a=b", "text/*; charset=UTF-8", "*/*; a=b; c=d"]).map(content_type),
    st.sampled_from([(0,), (None,), (0, None), (None, 0), (None, 1)]).map(lambda at: path(*at)),
    st.sampled_from(["1", "2", "2*", "?", None]).map(lambda glob: header("X-Kind", glob)),
    st.sampled_from(["form-data", "inline"]).map(disposition),
    st.integers(0, 1).map(index),
    st.integers(0, 2).map(depth),
)
predicates = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        inner.map(lambda a: ~a),
    ),
    max_leaves=6,
)


@given(predicates, predicates)
def test_a_proof_is_never_wrong(one: Predicate, other: Predicate) -> None:
    ones = [one(info) for info in PARTS]
    others = [other(info) for info in PARTS]
    if implies(one, other):
        assert all(b for a, b in zip(ones, others, strict=True) if a)
    if excludes(one, other):
        assert not any(a and b for a, b in zip(ones, others, strict=True))
    if never_matches(one):
        assert not any(ones)
    part_name, rest = split_name(one)
    if part_name is not None:
        again = [info.name == part_name and (rest is None or rest(info)) for info in PARTS]
        assert again == ones
