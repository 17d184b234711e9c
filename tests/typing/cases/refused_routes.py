"""Mistakes with routes and results that a type checker catches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from mpflow.part import Part, PartInfo
from mpflow.predicates import filename, index, name
from mpflow.results import Results
from mpflow.router import Route, RouteTable

router = RouteTable()


async def count(part: Part) -> int:
    return 1


async def generator(part: Part) -> AsyncIterator[int]:
    yield 1


def sync_generator(part: Part) -> Iterator[int]:
    yield 1


def sync(part: Part) -> int:
    return 1


async def no_parameter() -> int:
    return 1


async def of_text(part: str) -> int:
    return 1


async def async_predicate(info: PartInfo) -> bool:
    return True


class Json:
    async def __call__(self, part: Part) -> int:
        return 1


router.add(generator)  # error: a bare async generator
router.add(sync_generator)  # error: a sync generator
router.add(sync)  # error: a sync function
router.add(no_parameter)  # error: takes no part
router.add(of_text)  # error: takes something else
router.add(Json)  # error: the class, not an object of it
router.add("json")  # error: not callable
router.route()(generator)  # error: a bare async generator
router.route()(sync)  # error: a sync function

router.add(count, "metadata")  # error: a name is given as name=
router.add(count, async_predicate)  # error: predicates are sync
router.add(count, name=3)  # error: a name is a str
router.add(count, max_count="3")  # error: a count is an int
router.add(count, max_bytes=1.5)  # error: a size is an int or a str
router.add(count, on_error="ignore")  # error: abort or collect
router.add(count, names="a")  # error: no such option
router.route(timeout="3")  # error: seconds are a number
router.route(path=3)  # error: a path is a tuple of indexes
router.include("other")  # error: a router
RouteTable(observer=3)  # error: an observer is called
RouteTable(observer=async_predicate)  # error: an observer takes a report
router.before(async_predicate)  # error: a hook takes headers, and gives None
RouteTable(max_handlers="16")  # error: a number of handlers
name("a") & 3  # error: not a predicate
name(3)  # error: a name is a str
filename(3)  # error: True, False or a glob
index("1")  # error: an index is an int

route = router.add(count)
route.key = "other"  # error: a route is frozen
wrong: Route[str] = route  # error: it gives an int


def look_up(results: Results) -> Any:
    results[0]  # error: not a key
    results.errors = []  # error: read only
    text: str = results[count]  # error: it gives an int
    other: int = results.get(route)  # error: it may be None
    return text, other
