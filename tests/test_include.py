"""`router.include`: the routes of another router, taken over."""

from __future__ import annotations

from typing import Any

import pytest

from mpflow import Part, PartInfo, RouteError, Router
from mpflow.predicates import content_type, name
from tests.flow.support import Diary, Field, form, read, reader


async def meta(part: Part) -> str:
    return await part.text()


async def photo(part: Part, meta: str) -> tuple[str, bytes]:
    return meta, await part.read()


def photos() -> Router:
    made = Router()
    made.add(meta, name="meta", required=True, max_bytes=10)
    made.add(photo, content_type="image/*", key="photos", needs="meta", on_error="collect")
    return made


def test_routes_are_taken_over_in_order() -> None:
    other, router = photos(), Router()
    first = router.add(read, name="first")
    included = router.include(other)
    router.add(read)
    assert router.routes[:3] == (first, *included)
    assert [route.predicate for route in included] == [route.predicate for route in other.routes]
    assert router.keys == {"first", "meta", "photos"}


def test_policies_stay() -> None:
    router = Router()
    for mine, theirs in zip(router.include(photos()), photos().routes, strict=True):
        for policy in ("key", "required", "max_count", "max_bytes", "timeout", "on_error",
                       "decode", "needs", "order", "two_phase", "handler", "name"):  # fmt: skip
            assert getattr(mine, policy) == getattr(theirs, policy)


def test_a_predicate_and_keywords_narrow_every_route() -> None:
    other = photos()
    other.add(read)
    router = Router()
    included = router.include(other, content_type("image/png") | name("meta"), depth=1)
    assert [repr(route.predicate) for route in included] == [
        "depth(1) & (content_type('image/png') | name('meta')) & name('meta')",
        "depth(1) & (content_type('image/png') | name('meta')) & content_type('image/*')",
        "depth(1) & (content_type('image/png') | name('meta'))",
    ]
    assert router.match(PartInfo.of(name="meta", path=(0, 1))) is included[0]
    assert router.match(PartInfo.of(name="meta")) is None
    assert router.match(PartInfo.of(content_type="image/gif", path=(0, 1))) is None


def test_later_routes_hooks_and_the_rest_are_not_taken() -> None:
    other = Router(max_handlers=3, observer=lambda report: None)
    other.add(meta, name="meta")
    other.before(lambda headers: None)
    router = Router()
    router.include(other)
    other.add(read)
    assert len(router.routes) == 1
    assert router.hooks == ()
    assert (router.max_handlers, router.observer) == (16, None)


def test_a_route_that_can_never_match_is_refused_and_none_is_taken() -> None:
    router = Router()
    router.add(read, content_type="image/*")
    before = router.routes, router.keys
    with pytest.raises(RouteError, match="the route to photo can never match: every part"):
        router.include(photos())
    with pytest.raises(RouteError, match="the route to meta can never match: no part fits"):
        router.include(photos(), name="other")
    assert (router.routes, router.keys) == before
    assert router.match(PartInfo.of(name="meta")) is None


def test_twice_is_once_too_often_but_for_two_sorts_of_parts() -> None:
    router = Router()
    router.include(photos(), depth=0)
    router.include(photos(), depth=1)
    with pytest.raises(RouteError, match="can never match"):
        router.include(photos(), depth=1)
    assert len(router.routes) == 4


def test_a_router_includes_itself_in_vain() -> None:
    router = photos()
    with pytest.raises(RouteError, match="can never match"):
        router.include(router)


def test_a_size_past_the_routers_own_total() -> None:
    from mpflow import Limits

    other = Router()
    other.add(read, max_bytes=2000)
    router = Router(limits=Limits(max_part_bytes=1000, max_total_bytes=1000))
    with pytest.raises(RouteError, match="max_bytes = 2000 of the route to read"):
        router.include(other)
    assert router.routes == ()


@pytest.mark.parametrize("other", [None, "photos", meta])
def test_only_routers_are_included(other: Any) -> None:
    with pytest.raises(RouteError, match="expected a router to include"):
        Router().include(other)


@pytest.mark.anyio
async def test_dispatch() -> None:
    diary = Diary()
    router = Router()
    taken = router.include(photos())
    router.add(diary)
    body = form(("meta", b"me"), Field("p", b"1", content_type="image/png"), ("else", b"?"))
    results = await router.dispatch(reader(body))
    assert results["meta"] == results[meta] == results[taken[0]] == "me"
    assert results["photos"] == results[photo] == ("me", b"1")
    assert diary.committed == ["else"]


@pytest.mark.anyio
async def test_results_are_found_by_the_route_of_the_other_router() -> None:
    other, between, router = Router(), Router(), Router()
    own = other.add(read, filename=True)
    (first,) = between.include(other, content_type="text/*")
    (second,) = router.include(between)
    plain = router.add(read)
    results = await router.dispatch(reader(form(Field("a", b"1", filename="f"), ("b", b"2"))))
    assert results.all(own) == results.all(first) == results.all(second) == [b"1"]
    assert results[own] == b"1"
    assert results.all(plain) == [b"2"]
    assert own.included is None
