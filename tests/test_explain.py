"""`router.explain`: which route takes a part, and why each of the others does not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow import Explanation, Part, PartInfo, Rejected, RouteError, Router
from mpflow.predicates import (
    NeedBytes,
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
    sniff,
)
from mpflow.predicates.reasons import why_not
from tests.test_implication import PARTS, predicates

PHOTO = PartInfo.of(
    [("X-Id", "abc"), ("X-Id", "d\te")],
    name="photo",
    filename="Me.JPG",
    content_type="image/jpeg; q=1",
    index=2,
)
BARE = PartInfo.of()


def is_signed(info: PartInfo) -> bool:
    return "X-Signature" in info.headers


def refuse(info: PartInfo) -> bool:
    raise Rejected(403, "not you\n")


def is_png(head: bytes) -> bool:
    return head == b"\x89PNG"


async def keep(part: Part) -> bytes:
    return await part.read()


async def drop(part: Part) -> None: ...


@attrs.frozen(repr=False)
class Own(Predicate):
    answer: Any = False

    def __call__(self, info: PartInfo, /) -> bool:
        return bool(self.answer)

    def __repr__(self) -> str:
        return "Own()\n"


class Unshowable:
    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("predicate", "reason"),
    [
        (name("meta"), "name is 'photo', not 'meta'"),
        (filename(False), "there is a filename"),
        (filename("*.png"), "filename is 'Me.JPG', which does not fit '*.png'"),
        (content_type("text/*"), "content type is 'image/jpeg', not 'text/*'"),
        (content_type("image/*; v=1"), "content type is 'image/jpeg', not 'image/*; v=1'"),
        (header("X-No"), "there is no header x-no"),
        (header("X-Id", "z*"), r"header x-id is 'abc', 'd\te', which does not fit 'z*'"),
        (~header("X-Id"), "there is a header x-id"),
        (disposition("inline"), "disposition is 'form-data', not 'inline'"),
        (index(0), "index is 2, not 0"),
        (depth(1), "depth is 0, not 1"),
        (path(None, 1), "path is (2,), not (any, 1)"),
        (path(1), "path is (2,), not (1,)"),
        (~name("photo"), "it fits name('photo')"),
        (~any_part(), "it fits any_part()"),
        (~(name("photo") & index(2)), "it fits name('photo') & index(2)"),
        (name("photo") & index(0) & depth(1), "index is 2, not 0"),
        (name("a") | name("b"), "name is 'photo', not 'a', and name is 'photo', not 'b'"),
        (index(0) | (name("photo") & index(0)), "index is 2, not 0"),
        (as_predicate(is_signed), "is_signed gave False"),
        (~as_predicate(lambda info: "yes"), "it fits "),
        (as_predicate(lambda info: None), "gave None"),
        (as_predicate(lambda info: ""), "gave ''"),
        (as_predicate(lambda info: Unshowable()), "gave a Unshowable"),
        (Own(), r"'Own()\n' says no"),
    ],
)
def test_reasons(predicate: Predicate, reason: str) -> None:
    said = why_not(predicate, PHOTO)
    assert said is not None
    assert reason in said
    assert said.isprintable()
    assert why_not(~predicate, PHOTO) is None


@pytest.mark.parametrize(
    ("predicate", "reason"),
    [
        (name("meta"), "there is no name, and 'meta' is asked for"),
        (filename(True), "there is no filename"),
        (filename("*.png"), "there is no filename"),
        (disposition("inline"), "there is no disposition, and 'inline' is asked for"),
        (content_type("image/png"), "content type is 'text/plain', not 'image/png'"),
    ],
)
def test_what_is_not_there(predicate: Predicate, reason: str) -> None:
    assert why_not(predicate, BARE) == reason


def test_what_clients_send_is_bounded_and_escaped() -> None:
    info = PartInfo.of({"X-Id": "i" * 500}, name="n" * 500, filename="\u202eexe.png" * 50)
    router = Router()
    router.add(keep, name="a")
    router.add(keep, filename="*.png")
    router.add(keep, header={"X-Id": "j*"})
    text = str(router.explain(info))
    assert len(text) < 800
    assert "\u202e" not in text


@given(predicates)
def test_the_reason_agrees_with_the_predicate(predicate: Predicate) -> None:
    for info in PARTS:
        assert (why_not(predicate, info) is None) == predicate(info)


# -- routes -----------------------------------------------------------------------------------


def router() -> Router:
    made = Router()
    made.add(keep, name="meta")
    made.add(keep, filename=True, content_type="image/*")
    made.add(drop, filename=True)
    made.add(drop)
    return made


def test_the_route_that_takes_it() -> None:
    explained = router_explained(PHOTO)
    assert [verdict.reason for verdict in explained.verdicts] == [
        "name is 'photo', not 'meta'",
        None,
        "an earlier route takes it: keep",
        "an earlier route takes it: keep",
    ]
    assert explained.route is explained.verdicts[1].route
    assert explained.error is None
    assert explained.needs_bytes is None
    assert str(explained).splitlines() == [
        "part 2 'photo' (file 'Me.JPG') of 'image/jpeg' goes to keep",
        "  no  keep: name is 'photo', not 'meta'",
        "  yes keep: filename(True) & content_type('image/*')",
        "  no  drop: an earlier route takes it: keep",
        "  no  drop: an earlier route takes it: keep",
    ]


def router_explained(info: PartInfo) -> Explanation:
    made = router()
    explained = made.explain(info)
    assert explained.info is info
    assert explained.route is made.match(info)
    assert tuple(verdict.route for verdict in explained.verdicts) == made.routes
    return explained


def test_no_route() -> None:
    made = Router()
    made.add(keep, name="meta")
    explained = made.explain(PHOTO)
    assert explained.route is None
    assert str(explained).startswith("part 2 'photo' (file 'Me.JPG') of 'image/jpeg' goes nowhere")
    assert str(Router().explain(PHOTO)).count("\n") == 0


def test_a_predicate_that_refuses() -> None:
    made = Router()
    made.add(keep, name="meta")
    made.add(keep, refuse)
    made.add(drop)
    explained = made.explain(PHOTO)
    assert explained.route is None
    assert isinstance(explained.error, Rejected)
    assert [verdict.reason for verdict in explained.verdicts] == [
        "name is 'photo', not 'meta'",
        r"its predicate raised Rejected: 'not you\n'",
        "an earlier route ends the flow",
    ]
    assert r"ends the flow: Rejected: 'not you\n'" in str(explained)


def test_a_predicate_that_fails_and_cannot_say_so() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    def fail(info: PartInfo) -> bool:
        raise Mute

    made = Router()
    made.add(keep, fail)
    assert "its predicate raised Mute" in str(made.explain(PHOTO))


def test_one_that_sniffs() -> None:
    made = Router()
    made.add(keep, filename(True) & sniff(4, is_png))
    made.add(drop)
    explained = made.explain(PHOTO)
    assert (explained.route, explained.needs_bytes) == (None, 4)
    assert [verdict.reason for verdict in explained.verdicts] == [
        "needs the first 4 bytes of the part (PartInfo.sniffed)",
        "an earlier route is to be decided first",
    ]
    assert "is decided by its first 4 bytes" in str(explained)
    with pytest.raises(NeedBytes):
        made.match(PHOTO)

    text = PartInfo.of(filename="a.txt", sniffed=b"some text")
    explained = made.explain(text)
    assert explained.route is made.routes[1]
    assert explained.verdicts[0].reason == "sniff(4, is_png) says no to 'some'"
    assert made.explain(PartInfo.of(filename="a", sniffed=b"\x89PNG...")).route is made.routes[0]
    assert made.explain(PartInfo.of(filename="a", sniffed=b"")).route is made.routes[1]


def test_predicates_are_asked_once_and_only_as_far_as_it_matters() -> None:
    asked: list[str] = []

    def ask(which: str, answer: bool) -> Predicate:
        def test(info: PartInfo) -> bool:
            asked.append(which)
            return answer

        return as_predicate(test)

    made = Router()
    made.add(keep, ask("a", False) & ask("b", True))
    made.add(keep, ask("c", True) | ask("d", True))
    made.add(drop, ask("e", True))
    assert made.explain(PHOTO).route is made.routes[1]
    assert asked == ["a", "c"]


@given(st.lists(predicates, max_size=4))
def test_it_agrees_with_the_dispatch(wanted: list[Predicate]) -> None:
    made = Router()
    for predicate in wanted:
        with suppress(RouteError):  # of one that can never match
            made.add(keep, predicate)
    for info in PARTS[::7]:
        assert made.explain(info).route is made.match(info)


def test_the_charset_of_a_form() -> None:
    """RFC 7578, 4.6: a dispatch gives it to no handler, unless a route names it."""
    info = PartInfo.of(name="_charset_")
    router = Router()
    router.add(keep)
    told = router.explain(info)
    assert told.is_charset
    assert told.route is None
    assert "names the charset of the fields after it" in str(told)
    assert [verdict.reason is None for verdict in told.verdicts] == [False]
    assert router.explain(PartInfo.of(name="_charset_", filename="a")).route is not None
    mixed = PartInfo.of([("Content-Disposition", 'attachment; name="_charset_"')])
    assert router.explain(mixed).route is not None

    router = Router()
    named = router.add(keep, name="_charset_")
    assert router.explain(info).route is named
    assert not router.explain(info).is_charset
