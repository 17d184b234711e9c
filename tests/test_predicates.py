"""Predicates: what each asks, how they compose and print, and what is proven about them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from mpflow.errors import Rejected, RouteError
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
    keywords,
    name,
    path,
)
from mpflow.predicates.implication import excludes

FIELD = PartInfo.of(name="note")
PHOTO = PartInfo.of(name="photo", filename="Me.JPG", content_type="image/jpeg", index=2)
INNER = PartInfo.of(
    [("X-Kind", "Draft"), ("X-Kind", "final"), ("Content-Disposition", "attachment")],
    content_type="application/json; charset=utf-8",
    path=(1, 0),
)


def yes(info: PartInfo) -> bool:
    return True


# -- what each asks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicate", "fits"),
    [
        (any_part(), [FIELD, PHOTO, INNER]),
        (name("note"), [FIELD]),
        (name("Note"), []),
        (filename(True), [PHOTO]),
        (filename(False), [FIELD, INNER]),
        (filename("*.jpg"), [PHOTO]),
        (filename("me.[Jj]PG"), [PHOTO]),
        (filename("*.png"), []),
        (filename("*"), [PHOTO]),
        (content_type("image/jpeg"), [PHOTO]),
        (content_type("IMAGE/*"), [PHOTO]),
        (content_type("text/plain"), [FIELD]),
        (content_type("application/json"), [INNER]),
        (content_type("*/*"), [FIELD, PHOTO, INNER]),
        (content_type("imag/*"), []),
        (content_type("application/json; charset=UTF-8"), [INNER]),
        (content_type('Application/*;Charset="utf-8"'), [INNER]),
        (content_type("*/*; charset=utf-8"), [INNER]),
        (content_type("application/json; charset=latin-1"), []),
        (content_type("application/json; version=1"), []),
        (content_type("text/plain; charset=utf-8"), []),
        (header("x-kind"), [INNER]),
        (header("X-KIND", "final"), [INNER]),
        (header("X-Kind", "D*"), [INNER]),
        (header("X-Kind", "d*"), []),
        (header("Content-Disposition"), [FIELD, PHOTO, INNER]),
        (disposition("form-data"), [FIELD, PHOTO]),
        (disposition("ATTACHMENT"), [INNER]),
        (index(2), [PHOTO]),
        (depth(0), [FIELD, PHOTO]),
        (depth(1), [INNER]),
        (path(2), [PHOTO]),
        (path(None), [FIELD, PHOTO]),
        (path(1, 0), [INNER]),
        (path(1, None), [INNER]),
        (path(None, 1), []),
        (name("photo") & filename(True), [PHOTO]),
        (name("photo") & filename(False), []),
        (name("note") | depth(1), [FIELD, INNER]),
        (~name("note"), [PHOTO, INNER]),
        (~(name("note") | depth(1)), [PHOTO]),
        (as_predicate(lambda info: info.index == 2), [PHOTO]),
        (name("photo") & (lambda info: info.filename is not None), [PHOTO]),
        ((lambda info: info.name == "note") | depth(1), [FIELD, INNER]),
        ((lambda info: info.name == "note") & depth(1), []),
        (depth(1) | (lambda info: info.name == "note"), [FIELD, INNER]),
    ],
)
def test_fits(predicate: Predicate, fits: list[PartInfo]) -> None:
    assert [info for info in (FIELD, PHOTO, INNER) if predicate(info)] == fits
    assert [info for info in (FIELD, PHOTO, INNER) if not (~predicate)(info)] == fits


def test_an_empty_filename_is_one() -> None:
    unchosen = PartInfo.of(name="file", filename="")
    assert filename(True)(unchosen)
    assert filename("")(unchosen)
    assert not filename("?*")(unchosen)


def test_keywords_are_joined() -> None:
    assert keywords() == any_part()
    assert keywords(name="a") == name("a")
    joined = keywords(yes, content_type="image/*", name="a", filename="*.png", index=0, depth=0)
    assert repr(joined) == (
        "name('a') & filename('*.png') & content_type('image/*') & index(0) & depth(0) & yes"
    )
    assert keywords(header="X-A") == header("X-A")
    assert keywords(header={"X-A": "1", "X-B": None}) == header("X-A", "1") & header("X-B")
    assert keywords(path=(1, None)) == path(1, None)
    assert keywords(disposition="inline", filename=None) == disposition("inline")


def test_an_unknown_keyword_is_refused() -> None:
    options: dict[str, Any] = {"names": "a"}
    with pytest.raises(TypeError, match="unexpected keyword 'names' of a route"):
        keywords(**options)


# -- composing --------------------------------------------------------------------------------


def test_the_left_side_is_asked_first() -> None:
    def refuse(info: PartInfo) -> bool:
        raise Rejected(403, "not you")

    assert not (name("a") & refuse)(FIELD)
    assert (name("note") | refuse)(FIELD)
    with pytest.raises(Rejected):
        (refuse & name("a"))(FIELD)
    with pytest.raises(Rejected):
        (~as_predicate(refuse))(FIELD)


def test_values() -> None:
    assert name("a") & filename(True) == name("a") & filename(True)
    assert hash(content_type("a/*")) == hash(content_type("A/*"))
    assert filename("*.JPG") == filename("*.jpg")
    assert ~~name("a") == name("a")
    with pytest.raises(AttributeError):
        name("a").value = "b"  # type: ignore[attr-defined] # that is the point


def test_a_predicate_is_no_truth() -> None:
    with pytest.raises(TypeError, match=r"compose with & \| ~"):
        bool(name("a"))


@pytest.mark.parametrize(
    ("predicate", "text"),
    [
        (name("a") & (filename(True) | ~index(0)), "name('a') & (filename(True) | ~index(0))"),
        (~(name("a") & header("X", "y*")), "~(name('a') & header('x', 'y*'))"),
        (any_part() & content_type("a/*"), "any_part() & content_type('a/*')"),
        (disposition("inline") | header("X"), "disposition('inline') | header('x')"),
        (name("x" * 100), f"name('{'x' * 40}'...)"),
        (as_predicate(yes), "yes"),
        (path(1, None), "path(1, None)"),
        (content_type("a/*; b=C"), "content_type('a/*; b=c')"),
    ],
)
def test_repr(predicate: Predicate, text: str) -> None:
    assert repr(predicate) == text


# -- what is refused --------------------------------------------------------------------------


async def handler(part: object) -> None: ...


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: name(3), "expected name as a str, got '3'"),
        (lambda: filename(3), "expected filename as True, False or a glob"),
        (lambda: content_type("image"), "expected a content type such as"),
        (lambda: content_type("image/png; q=1"), "expected a content type such as"),
        (lambda: content_type("image/png;"), "expected a content type such as"),
        (lambda: content_type("image/png; v"), "expected a content type such as"),
        (lambda: content_type("image/png; v=1; v=2"), "expected a content type such as"),
        (lambda: path(), "expected the indexes of a path, got none"),
        (lambda: path(-1), "expected path as an int of at least 0"),
        (lambda: keywords(path=3), "expected path as a tuple of indexes"),
        (lambda: keywords(path=()), "expected the indexes of a path, got none"),
        (lambda: content_type("*/png"), "expected a content type such as"),
        (lambda: content_type("image/p*"), "expected a content type such as"),
        (lambda: header("X Y"), "expected the name of a header"),
        (lambda: header("X", 3), "expected header as a str"),
        (lambda: keywords(header=[]), "expected header= as a name or a mapping"),
        (lambda: keywords(header={}), "expected header= as a name or a mapping"),
        (lambda: index(-1), "expected index as an int of at least 0"),
        (lambda: depth(True), "expected depth as an int of at least 0"),
        (lambda: disposition(b"x"), "expected disposition as a str"),
        (lambda: as_predicate("metadata"), "is name='metadata' meant"),
        (lambda: as_predicate(3), "expected a predicate, got '3'"),
        (lambda: name("a") & 3, "expected a predicate, got '3'"),
        (lambda: as_predicate(handler), "expected a sync predicate, and handler is async"),
        (lambda: as_predicate(any_part), "expected a predicate that takes one PartInfo"),
        (lambda: as_predicate(lambda a, b: True), "missing a required argument: 'b'"),
    ],
    ids=itertools.count(),
)
def test_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(RouteError, match=message.replace("*", r"\*")):
        make()


def test_a_callable_without_a_signature_is_taken() -> None:
    assert as_predicate(bool)(FIELD)


@attrs.frozen
class Own(Predicate):
    """Somebody's own kind of predicate."""

    def __call__(self, info: PartInfo, /) -> bool:
        return info.index == 2


def test_a_kind_of_ones_own() -> None:
    assert (name("photo") & Own())(PHOTO)
    assert not (~Own())(PHOTO)
    with pytest.raises(TypeError, match="abstract"):
        Predicate()


def test_a_parameter_that_is_empty_is_not_one_that_is_absent() -> None:
    empty = content_type('text/plain; charset=""')
    assert not empty(PartInfo.of(content_type="text/plain"))
    assert not empty(PartInfo.of(content_type="text/plain; charset=utf-8"))
    assert empty(PartInfo.of(content_type='text/plain; charset=""'))


@pytest.mark.parametrize(
    "glob", ["????.txt", "wei?.txt", "wei[!a].txt", "weiß.*", "WEISS.TXT", "*s.txt"]
)
def test_a_letter_that_folds_to_two_is_one_as_well(glob: str) -> None:
    assert filename(glob)(PartInfo.of(filename="weiß.txt"))


def test_a_glob_of_letters_one_by_one_excludes_no_literal() -> None:
    both = filename("weiss.txt") & filename("????.txt")
    assert both(PartInfo.of(filename="Weiß.txt"))
    assert keywords(both) == both
    assert not excludes(filename("weiss.txt"), filename("????.txt"))
    assert excludes(filename("weiss.txt"), filename("*.jpg"))
