"""JSON into classes of pydantic's and through cattrs: what clients send wrong is told as such."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import cattrs
import pydantic
import pydantic.dataclasses
import pytest

from mpflow import InvalidContent, Router
from mpflow.testing import dispatch
from mpflow_handlers import Json

pytestmark = pytest.mark.anyio


class Model(pydantic.BaseModel):
    n: int
    m: str


@pydantic.dataclasses.dataclass
class Record:
    n: pydantic.PositiveInt


@attrs.frozen
class Plain:
    n: int
    m: str


@attrs.frozen
class Around:
    items: list[Plain]


async def made(into: Any, data: str) -> Any:
    router = Router()
    router.add(Json(into), name="a")
    return (await dispatch(router, [("a", data)]))["a"]


@pytest.mark.parametrize(
    ("into", "data", "value"),
    [
        (Model, '{"n": 1, "m": "x"}', Model(n=1, m="x")),
        (list[Model], '[{"n": 1, "m": "x"}]', [Model(n=1, m="x")]),
        (Model | None, "null", None),
        (Record, '{"n": 1}', Record(1)),
    ],
)
async def test_classes_of_pydantic(into: Any, data: str, value: object) -> None:
    assert await made(into, data) == value


@pytest.mark.parametrize(
    ("into", "data"),
    [
        (Model, '{"n": "zz", "m": "x"}'),
        (Model, "[]"),
        (list[Model], "[1]"),
        (Record, '{"n": -1}'),
    ],
)
async def test_what_pydantic_refuses(into: Any, data: str) -> None:
    with pytest.raises(InvalidContent) as caught:
        await made(into, data)
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)


def by_cattrs(cls: type[Any], **options: Any) -> Callable[[Any], Any]:
    converter = cattrs.Converter(**options)
    return lambda value: converter.structure(value, cls)


async def test_through_cattrs() -> None:
    assert await made(by_cattrs(Plain), '{"n": 1, "m": "x"}') == Plain(1, "x")


@pytest.mark.parametrize(
    ("into", "data", "told"),
    [
        (by_cattrs(Plain), '{"n": "zz", "m": "x"}', "invalid literal.*attribute n"),
        (by_cattrs(Plain), "{}", "KeyError"),
        (by_cattrs(Plain), "[]", "TypeError"),
        (by_cattrs(Around), '{"items": [{"n": "zz", "m": ""}]}', "invalid literal"),
        (by_cattrs(Plain, forbid_extra_keys=True), '{"n": 1, "m": "", "o": 2}', "[Ee]xtra"),
    ],
)
async def test_what_cattrs_refuses(into: Callable[[Any], Any], data: str, told: str) -> None:
    with pytest.raises(InvalidContent, match=told) as caught:
        await made(into, data)
    assert caught.value.status == 422
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value.__cause__.__cause__, ExceptionGroup)


async def test_a_fault_of_the_application_comes_out_as_it_is() -> None:
    def into(value: object) -> object:
        raise ExceptionGroup("two", [ValueError("its"), ZeroDivisionError()])

    with pytest.raises(ExceptionGroup):
        await made(into, "1")
