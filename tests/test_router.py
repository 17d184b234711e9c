"""Registering routes: what is refused, what is detected, and which route takes a part."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow.errors import Rejected, RouteError
from mpflow.info import PartInfo
from mpflow.part import Part
from mpflow.predicates import Predicate, any_part, content_type, filename, header, index, name
from mpflow.router import Route, RouteTable
from mpflow.wire.limits import Limits


async def one(part: Part) -> int:
    return 1


async def two(part: Part) -> str:
    return "2"


async def rest(part: Part) -> None: ...


@asynccontextmanager
async def staged(part: Part) -> AsyncIterator[str]:
    yield "staged"


@pytest.fixture
def table() -> RouteTable:
    return RouteTable()


# -- registering ------------------------------------------------------------------------------


def test_add_returns_the_route(table: RouteTable) -> None:
    route = table.add(
        one,
        filename(True),
        name="photo",
        required=True,
        max_count=3,
        max_bytes="1 MiB",
        timeout=2.5,
        on_error="collect",
    )
    assert table.routes == (route,)
    assert route.handler is one
    assert route.predicate == name("photo") & filename(True)
    assert (route.key, route.required, route.max_count) == ("photo", True, 3)
    assert (route.max_bytes, route.timeout, route.on_error) == (1 << 20, 2.5, "collect")
    assert route.two_phase is False
    assert route.name == "one"
    assert route.label == "'photo'"
    assert repr(route) == "<Route name('photo') & filename(True) to one>"


def test_defaults(table: RouteTable) -> None:
    route = table.add(rest)
    assert route.predicate == any_part()
    assert (route.key, route.required, route.max_count) == (None, False, None)
    assert (route.max_bytes, route.timeout, route.on_error) == (None, None, "abort")
    assert route.label == "any_part()"
    assert table.limits is None
    assert table.max_handlers == 16


def test_route_returns_the_function(table: RouteTable) -> None:
    decorated = table.route(name="a", key="b")(one)
    assert decorated is one
    assert table.route(content_type("text/*"))(staged) is staged
    assert [route.handler for route in table.routes] == [one, staged]
    assert table.routes[0].key == "b"
    assert table.routes[1].two_phase is True


def test_keys(table: RouteTable) -> None:
    table.add(one, name("a") & filename(True))
    table.add(one, name="b", key="k")
    table.add(two, name="c", key="k")  # routes may share a key
    table.add(two, name("d") | name("e"))
    table.add(rest)
    assert [route.key for route in table.routes] == ["a", "k", "k", None, None]
    assert table.keys == {"a", "k"}


def test_key_of(table: RouteTable) -> None:
    table.add(one, name="a", key="k")
    table.add(rest)
    keys: list[str | None] = []
    for part_name in ("a", "b", "k", None):
        info = PartInfo.of(name=part_name)
        route = table.match(info)
        assert route is not None
        keys.append(table.key_of(route, info))
    assert keys == ["k", "b", None, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_count": 0}, "expected max_count as an int of at least 1, got '0'"),
        ({"max_count": True}, "expected max_count as an int"),
        ({"timeout": 0}, "expected timeout as seconds above 0, got '0'"),
        ({"timeout": -1.5}, "expected timeout as seconds above 0"),
        ({"timeout": float("nan")}, "expected timeout as seconds above 0"),
        ({"timeout": "3"}, "expected timeout as seconds above 0"),
        ({"on_error": "ignore"}, "expected on_error='abort' or 'collect', got \"'ignore'\""),
        ({"max_bytes": "a lot"}, "max_bytes of a route: expected a size such as"),
        ({"max_bytes": -1}, "max_bytes of a route: expected a size of at least 0"),
        ({"max_bytes": 1.5}, "max_bytes of a route: expected a size as int"),
        ({"key": 3}, "expected key as a str, got '3'"),
        ({"required": "yes"}, "expected required as a bool"),
        ({"content_type": "image"}, "expected a content type such as"),
    ],
)
def test_options_that_make_no_sense(
    table: RouteTable, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RouteError) as caught:
        table.add(one, **options)
    assert str(caught.value).startswith(message)
    assert caught.value.status == 500
    assert table.routes == ()


def test_an_unknown_option(table: RouteTable) -> None:
    options: dict[str, Any] = {"max_size": 3}
    with pytest.raises(TypeError, match="unexpected keyword 'max_size'"):
        table.add(one, **options)


@pytest.mark.parametrize("number", [0, -1, True, 1.5])
def test_max_handlers(number: Any) -> None:
    with pytest.raises(RouteError, match="expected max_handlers as an int of at least 1"):
        RouteTable(max_handlers=number)


def test_max_bytes_that_the_total_makes_unreachable() -> None:
    table = RouteTable(limits=Limits(max_part_bytes=10, max_total_bytes=1000))
    with pytest.raises(RouteError, match=r"max_bytes = 1001 .* below max_total_bytes = 1000"):
        table.add(one, max_bytes=1001)
    table.add(one, name="a", max_bytes=1000)  # in place of max_part_bytes
    RouteTable(limits=Limits()).add(one, max_bytes="5 GiB")  # a default gives way
    RouteTable(limits=Limits(max_total_bytes=None)).add(one, max_bytes="5 GiB")


def test_the_decorator_without_parentheses(table: RouteTable) -> None:
    bare: Any = table.route
    for handler in (one, staged):
        with pytest.raises(RouteError, match=r"`@router.route\(\)`, with the parentheses"):
            bare(handler)


# -- routes that can never match --------------------------------------------------------------


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (None, name("a")),
        (any_part(), any_part()),
        (name("a"), name("a")),
        (name("a"), name("a") & filename(True)),
        (content_type("image/*"), content_type("image/png")),
        (content_type("*/*"), header("X")),
        (name("a") | name("b"), name("b")),
        (name("a"), name("a") & (lambda info: True)),
    ],
)
def test_taken_by_an_earlier_route(
    table: RouteTable, earlier: Predicate | None, later: Predicate
) -> None:
    table.add(two, index(100) & filename("only.one"))
    table.add(one, earlier)
    with pytest.raises(RouteError, match="the route to rest can never match") as caught:
        table.add(rest, later)
    before = table.routes[1].predicate
    assert f"goes to one, which was registered before it for {before!r}" in str(caught.value)
    assert len(table.routes) == 2


def test_contradiction(table: RouteTable) -> None:
    with pytest.raises(RouteError, match=r"no part fits name\('a'\) & name\('b'\)"):
        table.add(one, name("b"), name="a")


def test_what_may_still_match(table: RouteTable) -> None:
    def sometimes(info: PartInfo) -> bool:
        return info.index % 2 == 0

    table.add(one, sometimes)
    table.add(two, sometimes)  # a callable may say otherwise the second time
    table.add(one, name("a") & filename(True))
    table.add(one, name("a"))
    table.add(one, content_type("image/png"))
    table.add(one, content_type("image/*"))
    table.add(rest)
    assert len(table.routes) == 7


# -- matching ---------------------------------------------------------------------------------


def test_the_first_match_wins(table: RouteTable) -> None:
    a_file = table.add(one, name("a") & filename(True))
    text = table.add(one, content_type("text/html"))
    a = table.add(one, name="a")
    b = table.add(one, name="b")
    assert table.match(PartInfo.of(name="a", filename="f", content_type="text/html")) is a_file
    assert table.match(PartInfo.of(name="a", content_type="text/html")) is text
    assert table.match(PartInfo.of(name="a")) is a
    assert table.match(PartInfo.of(name="b", content_type="text/html")) is text
    assert table.match(PartInfo.of(name="b")) is b
    assert table.match(PartInfo.of(name="c")) is None
    assert table.match(PartInfo.of()) is None
    fallback = table.add(rest)  # a table may grow after its first use
    assert table.match(PartInfo.of(name="c")) is fallback
    assert table.match(PartInfo.of()) is fallback
    assert RouteTable().match(PartInfo.of()) is None


def test_what_a_predicate_raises_goes_through(table: RouteTable) -> None:
    def refuse(info: PartInfo) -> bool:
        raise Rejected(403, "no files here")

    table.add(one, name="a")
    table.add(one, refuse, filename=True)
    table.add(rest)
    assert table.match(PartInfo.of(name="a", filename="f")) is table.routes[0]
    assert table.match(PartInfo.of(name="b")) is table.routes[2]
    with pytest.raises(Rejected):
        table.match(PartInfo.of(name="b", filename="f"))


def test_a_callable_before_the_name_is_asked_of_every_part(table: RouteTable) -> None:
    seen: list[str | None] = []

    def look(info: PartInfo) -> bool:
        seen.append(info.name)
        return False

    table.add(one, (lambda info: look(info)) & name("a"))
    table.add(two, look, name="b")
    table.add(rest)
    for part_name in ("a", "b", "c"):
        table.match(PartInfo.of(name=part_name))
    assert seen == ["a", "b", "b", "c"]


def test_a_literal_name_costs_one_look_up(table: RouteTable) -> None:
    asked: list[str] = []

    def counting(label: str) -> Callable[[PartInfo], bool]:
        def test(info: PartInfo) -> bool:
            asked.append(label)
            return True

        return test

    for number in range(20):
        table.add(one, counting(str(number)), name=f"field{number}")
    assert table.match(PartInfo.of(name="field19")) is table.routes[19]
    assert asked == ["19"]


NAMES = ["a", "b", "c"]
conjunctions = st.lists(
    st.one_of(
        st.sampled_from(NAMES).map(name),
        st.booleans().map(filename),
        st.integers(0, 1).map(index),
        st.sampled_from(NAMES).map(lambda value: ~name(value)),
        st.sampled_from(NAMES).map(lambda value: lambda info: info.name == value),
    ),
    min_size=1,
    max_size=3,
)


@given(st.lists(conjunctions, max_size=8))
def test_matching_is_asking_one_route_after_the_other(tests: list[list[Any]]) -> None:
    table = RouteTable()
    for items in tests:
        with contextlib.suppress(RouteError):  # one that can never match is no route
            table.add(one, functools.reduce(lambda a, b: a & b, items, any_part()))
    for part_name in (None, *NAMES, "d"):
        for file in (None, "f"):
            for place in range(2):
                info = PartInfo.of(name=part_name, filename=file, index=place)
                slowly = (route for route in table.routes if route.predicate(info))
                assert table.match(info) is next(slowly, None)


def test_routes_are_frozen_and_equal_to_themselves_alone(table: RouteTable) -> None:
    first, second = table.add(one, index=0), table.add(one, index=1)
    assert first != second
    assert {first: 1}[first] == 1
    with pytest.raises(AttributeError):
        first.key = "other"  # type: ignore[misc] # that is the point
    assert isinstance(first, Route)
