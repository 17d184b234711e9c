"""What a type checker knows of results that were put into a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, assert_type

import attrs

from mpflow import MultipartReader, Results, Router

T = TypeVar("T")


@attrs.frozen
class Upload:
    title: str
    photos: list[bytes]


@dataclass
class Plain:
    title: str


@attrs.frozen
class Box(Generic[T]):
    value: T


async def dispatched(router: Router, reader: MultipartReader) -> None:
    assert_type(await router.dispatch(reader), Results)
    assert_type(await router.dispatch(reader, into=None), Results)
    assert_type(await router.dispatch(reader, into=Upload), Upload)
    assert_type((await router.dispatch(reader, into=Upload)).photos, list[bytes])
    assert_type(await router.dispatch(reader, into=Plain), Plain)
    assert_type(await router.dispatch(reader, into=Box[int], given={"a": 1}), Box[int])
    async with router.flow(reader, into=Upload) as flow:
        assert_type(flow.results.into(Upload), Upload)
        assert_type(flow.results.into(Box[str]).value, str)
        assert_type(flow.results["title"], Any)


async def mistaken(router: Router, reader: MultipartReader, results: Results) -> None:
    await router.dispatch(reader, into=Upload("t", []))  # error: an instance
    await router.dispatch(reader, into="Upload")  # error: a name
    wrong: Plain = await router.dispatch(reader, into=Upload)  # error: another class
    results.into(3)  # error: no class
    (await router.dispatch(reader, into=Upload))["title"]  # error: no longer results
