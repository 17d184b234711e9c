"""`Results`: wire order, look-ups by key, handler and route, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from mpflow.errors import NoResult
from mpflow.info import PartInfo
from mpflow.part import Part
from mpflow.results import Handled, Results
from mpflow.router import Route, RouteTable


class Store:
    async def keep(self, part: Part) -> int:
        return 0

    async def drop(self, part: Part) -> None: ...


@attrs.frozen
class Equal:
    """Two of these are equal, and are two handlers all the same."""

    async def __call__(self, part: Part) -> int:
        return 0


@attrs.define
class Unhashable:
    async def __call__(self, part: Part) -> int:
        return 0


async def count(part: Part) -> int:
    return 0


async def other(part: Part) -> str:
    return ""


def results(table: RouteTable, parts: Sequence[tuple[PartInfo, Any]]) -> Results:
    """What a flow would make of these parts; an exception stands for a collected failure."""
    handled: list[Handled] = []
    for info, outcome in parts:
        route = table.match(info)
        assert route is not None
        failed = isinstance(outcome, BaseException)
        handled.append(
            Handled(
                info,
                table.key_of(route, info),
                route,
                None if failed else outcome,
                outcome if failed else None,
            )
        )
    return Results(handled)


def part(name: str | None, index: int = 0) -> PartInfo:
    return PartInfo.of(name=name, index=index, size=3)


@pytest.fixture
def table() -> RouteTable:
    table = RouteTable()
    table.add(count, name="one")
    table.add(count, name="two", key="numbers")
    table.add(other, name="three", key="numbers")
    table.add(other)
    return table


def test_wire_order(table: RouteTable) -> None:
    parts = [(part("two", 0), 2), (part("x", 1), "x"), (part("one", 2), 1)]
    found = results(table, parts)
    assert len(found) == 3
    assert [item.value for item in found] == [2, "x", 1]
    assert [item.part.index for item in found] == [0, 1, 2]
    assert [item.part.size for item in found] == [3, 3, 3]
    assert [item.key for item in found] == ["numbers", "x", "one"]
    assert [item.route for item in found] == [table.routes[1], table.routes[3], table.routes[0]]
    assert list(found) == list(found)  # it can be iterated again


def test_by_key(table: RouteTable) -> None:
    found = results(table, [(part("one"), 1), (part("two", 1), 2), (part("x", 2), "x")])
    assert found["one"] == 1
    assert found["numbers"] == 2
    assert found["x"] == "x"
    assert found.all("numbers") == [2]
    assert found.all("absent") == []
    assert found.get("absent") is None
    assert found.get("absent", 7) == 7
    assert found.get("one", 7) == 1
    assert "one" in found
    assert "absent" not in found
    assert "two" not in found  # it went to a route with a key of its own


def test_a_client_cannot_choose_a_declared_key(table: RouteTable) -> None:
    found = results(table, [(part("numbers"), "forged"), (part("two", 1), 2)])
    assert found["numbers"] == 2
    assert [item.key for item in found] == [None, "numbers"]
    assert found[table.routes[3]] == "forged"


def test_by_handler_and_by_route(table: RouteTable) -> None:
    found = results(table, [(part("one"), 1), (part("two", 1), 2), (part("x", 2), "x")])
    one, two, three, rest = table.routes
    assert found[one] == 1
    assert found[two] == 2
    assert found[rest] == "x"
    assert found.all(count) == [1, 2]  # both routes lead to it
    assert found[other] == "x"
    assert found.get(three) is None
    assert found.get(three, "none") == "none"
    assert three not in found
    assert other in found
    with pytest.raises(NoResult, match="one part of handler count, got 2, the first two are"):
        found[count]


def test_methods_and_equal_handlers() -> None:
    store, first, second, odd = Store(), Equal(), Equal(), Unhashable()
    table = RouteTable()
    table.add(store.keep, name="keep")
    table.add(first, name="first")
    table.add(second, name="second")
    table.add(odd, name="odd")
    names = ["keep", "first", "second", "odd"]
    found = results(table, [(part(name, i), i) for i, name in enumerate(names)])
    assert found[store.keep] == 0
    assert found.get(store.drop) is None
    assert found.get(Store().keep) is None  # another object's method
    assert found[first] == 1
    assert found[second] == 2
    assert found[odd] == 3


def test_none_says_what_came(table: RouteTable) -> None:
    found = results(table, [(part("one"), 1), (part("x", 1), "x"), (part(None, 2), "?")])
    with pytest.raises(NoResult) as caught:
        found["absent"]
    assert str(caught.value) == (
        "expected one part of key 'absent', got none; the keys that came: 'one', 'x'"
    )
    assert isinstance(caught.value, KeyError)
    assert caught.value.status == 500
    with pytest.raises(NoResult, match="the route to other, got none"):
        found[table.routes[2]]
    with pytest.raises(NoResult, match="the keys that came: none"):
        Results()["absent"]
    many = results(table, [(part(f"n{i}", i), i) for i in range(20)])
    with pytest.raises(NoResult, match=r"'n9', \.\.\.$"):
        many["absent"]


def test_several_say_which(table: RouteTable) -> None:
    found = results(table, [(part("two", 0), 2), (part("three", 4), "3")])
    for look_up in (found.__getitem__, found.get):
        with pytest.raises(NoResult) as caught:
            look_up("numbers")
        assert str(caught.value) == (
            "expected one part of key 'numbers', got 2, the first two are part 0 'two' and "
            "part 4 'three': results.all() gives the values of all"
        )
    assert found.all("numbers") == [2, "3"]


def test_what_failed(table: RouteTable) -> None:
    error, late = ValueError("no number"), OSError("disk full")
    found = results(table, [(part("one"), error), (part("two", 1), 2), (part("three", 2), late)])
    assert found.errors == [error, late]
    assert "one" in found
    for look_up in (found.__getitem__, found.get):
        with pytest.raises(ValueError, match="no number") as caught:
            look_up("one")
        assert caught.value is error
    assert found.all("one") == []
    assert found.all("numbers") == [2]
    with pytest.raises(NoResult):
        found["numbers"]  # two parts came, though one of them failed
    with pytest.raises(ExceptionGroup, match="2 of 3 parts failed") as group:
        found.raise_for_errors()
    assert group.value.exceptions == (error, late)


def test_nothing_failed(table: RouteTable) -> None:
    found = results(table, [(part("one"), 1)])
    assert found.errors == []
    found.raise_for_errors()
    Results().raise_for_errors()


def test_what_is_no_key(table: RouteTable) -> None:
    found: Any = results(table, [(part("one"), 1)])
    with pytest.raises(TypeError, match="expected a key, a handler or a route, got '0'"):
        found[0]


def test_repr(table: RouteTable) -> None:
    found = results(table, [(part("one"), 1), (part("x", 1), ValueError("no"))])
    assert repr(found) == "<Results of 2 parts, 1 failed>"
    good, bad = found
    assert repr(good) == "<Handled part 0 'one' by count: value=1>"
    assert repr(bad) == "<Handled part 1 'x' by other: error=ValueError('no')>"
    assert str(good.ref) == "part 0 'one'"
    with pytest.raises(NoResult, match=r"handler .*Equal"):
        found[Equal()]
    assert isinstance(good.route, Route)
