"""What a type checker knows of routes and results."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, assert_type

from mpflow.observers import LogObserver, all_of
from mpflow.part import Part, PartInfo
from mpflow.predicates import Predicate, any_part, content_type, filename, name
from mpflow.reports import PartFinished, Report
from mpflow.results import Handled, Results
from mpflow.router import Route, RouteTable

router = RouteTable()


class Stored:
    path: str


class Json:
    async def __call__(self, part: Part) -> dict[str, int]:
        return {}


class Save:
    def __call__(self, part: Part) -> AbstractAsyncContextManager[Stored]:
        raise NotImplementedError


class Service:
    async def keep(self, part: Part) -> int:
        return 1


# A decorated function keeps its type.
@router.route(name="count", required=True, max_bytes="1 MiB")
async def count(part: Part) -> int:
    return part.bytes_received


@router.route(filename=True, key="photos", on_error="collect")
@asynccontextmanager
async def photo(part: Part) -> AsyncGenerator[Stored, None]:
    yield Stored()


async def with_option(part: Part, mode: str = "r") -> bytes:
    return b""


def late(info: PartInfo) -> bool:
    return info.index > 3


async def called(part: Part) -> None:
    assert_type(await count(part), int)
    async with photo(part) as stored:
        assert_type(stored, Stored)


# `add` gives a route of what its handler gives.
assert_type(router.add(count), Route[int])
assert_type(router.add(photo), Route[Stored])
assert_type(router.add(Json(), name="meta"), Route[dict[str, int]])
assert_type(router.add(Save(), filename("*.png")), Route[Stored])
assert_type(router.add(Service().keep), Route[int])
assert_type(router.add(with_option), Route[bytes])
assert_type(router.add(functools.partial(with_option, mode="w")), Route[bytes])
assert_type(router.routes, tuple[Route[Any], ...])

# Predicates compose with each other and with plain callables.
assert_type(name("a") & (content_type("image/*") | ~filename(True)), Predicate)
assert_type(name("a") & late, Predicate)
assert_type(late | name("a"), Predicate)
router.add(count, lambda info: info.filename == "x")
router.add(count, header={"X-Kind": "a*", "X-Other": None})
assert_type(any_part()(PartInfo.of(name="a")), bool)

router.add(count, path=(1, None), content_type="text/*; charset=utf-8")


# Hooks and observers.
@router.before
async def looks(headers: Mapping[str, str]) -> None: ...


@router.before
def looks_too(headers: Mapping[str, str]) -> None: ...


def observe(report: Report) -> None:
    if isinstance(report, PartFinished):
        assert_type(report.seconds, float)
        assert_type(report.part, PartInfo)


RouteTable(observer=all_of(observe, LogObserver("uploads", level=10)))
assert_type(router.include(RouteTable(), name("a"), depth=0), tuple[Route[Any], ...])
assert_type(router.explain(PartInfo.of()).route, Route[Any] | None)

meta = router.add(Json())
saved = router.add(Save())


# A route covers the routes of what is less precise.
def describe(route: Route[object]) -> str:
    return route.name


describe(meta)


def look_up(results: Results) -> None:
    assert_type(results["count"], Any)
    assert_type(results[meta], dict[str, int])
    assert_type(results[saved], Stored)
    assert_type(results[count], int)
    assert_type(results[photo], Stored)
    assert_type(results[Service().keep], int)
    assert_type(results.all("count"), list[Any])
    assert_type(results.all(meta), list[dict[str, int]])
    assert_type(results.all(photo), list[Stored])
    assert_type(results.all(count), list[int])
    assert_type(results.get("count"), Any)
    assert_type(results.get("count", 0), Any)
    assert_type(results.get(meta), dict[str, int] | None)
    assert_type(results.get(photo), Stored | None)
    assert_type(results.get(count), int | None)
    assert_type(results.get(count, "none"), int | str)
    assert_type(results.get(photo, 3), Stored | int)
    assert_type(results.get(saved, False), Stored | bool)
    for item in results:
        assert_type(item, Handled)
        assert_type(item.part.size, int | None)
        assert_type(item.error, BaseException | None)
    assert_type(results.errors, list[BaseException])
