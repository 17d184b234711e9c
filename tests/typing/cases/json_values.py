"""What a type checker knows of `part.json(into=...)`: what comes of it.

A type that is no class is left out: until type checkers know `TypeForm` (PEP 747), mypy takes
neither `int | None` nor `Optional[int]` for a `type[T]`, though pyright does.
"""

from __future__ import annotations

from typing import Any, assert_type, cast

from mpflow import Part


def as_text(value: object) -> str:
    return str(value)


async def read(part: Part) -> None:
    assert_type(await part.json(), Any)
    assert_type(await part.json(into=int), int)
    assert_type(await part.json(into=list[int]), list[int])
    assert_type(await part.json(into=dict[str, list[int]]), dict[str, list[int]])
    assert_type(await part.json(into=as_text), str)
    # How the two are told of any other type.
    optional = cast("type[int | None]", int | None)
    assert_type(await part.json(into=optional), int | None)
    await part.json(into=3)  # error: neither a type nor a callable
