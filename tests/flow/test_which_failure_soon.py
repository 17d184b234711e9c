"""Rule 12 of a flow, for what fails in one chunk of the body: chance decides nothing.

Knows: which part comes first. Must not know: in how many passes its failure shows.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from anyio.lowlevel import checkpoint

from mpflow import LimitExceeded, MissingParts, NoRoute, Part, PartInfo, Rejected, Router
from mpflow_handlers import Discard, Nested, Tee
from tests.flow.support import Field, form, nested, notes, read, reader

pytestmark = pytest.mark.anyio

Handler: TypeAlias = (
    Callable[[Part], Awaitable[Any]] | Callable[[Part], AbstractAsyncContextManager[Any]]
)
RUNS = 20


class First(Exception):
    """Of the earliest part: it has to win."""


class Later(Exception):
    """Of a part behind it."""


async def plain(part: Part) -> None:
    await part.read()
    raise First


async def slow(part: Part) -> None:
    for _ in range(6):
        await checkpoint()
    raise First


@asynccontextmanager
async def staged(part: Part) -> AsyncGenerator[None, None]:
    await part.read()
    raise First
    yield


@asynccontextmanager
async def kept(part: Part) -> AsyncGenerator[None, None]:
    """One that takes some passes to roll back."""
    await part.read()
    try:
        yield
    finally:
        await checkpoint()
        await checkpoint()


async def later(part: Part) -> None:
    raise Later


def inside(*handlers: Handler) -> Nested:
    router = Router()
    for number, handler in enumerate(handlers):
        router.add(handler, name=str(number))
    return Nested(router)


TWO = nested("a", ("0", b"1"), ("1", b"1"))
DEEP = nested("a", nested("0", ("0", b"1"), ("1", b"1"), boundary="deeper"))
FIRST: dict[str, tuple[Handler, Field]] = {
    "plain": (plain, Field("a")),
    "slow": (slow, Field("a")),
    "staged": (staged, Field("a")),
    "tee": (Tee(Discard(), staged), Field("a")),
    "children": (Tee(slow, later), Field("a")),
    "nested": (inside(kept, staged), TWO),
    "nested twice": (inside(inside(kept, staged)), DEEP),
    "nested in a tee": (Tee(inside(kept, slow), Discard()), TWO),
}


@pytest.mark.parametrize("second", ["plain", "staged", "tee", "nested"])
@pytest.mark.parametrize("first", FIRST)
async def test_the_earlier_of_two_parts(first: str, second: str) -> None:
    handler, field = FIRST[first]
    others: dict[str, Handler] = {
        "plain": later,
        "staged": _staged_later,
        "tee": Tee(later),
        "nested": inside(later),
    }
    router = Router()
    router.add(handler, name="a")
    router.add(others[second], name="b")
    body = form(field, nested("b", ("0", b"1"), boundary="other"))
    for _ in range(RUNS):
        with pytest.raises(First):
            await router.dispatch(reader(body))


@asynccontextmanager
async def _staged_later(part: Part) -> AsyncGenerator[None, None]:
    await part.read()
    raise Later
    yield


def _refuse(info: PartInfo) -> bool:
    raise Rejected(422, "no such part")


@pytest.mark.parametrize("own", [NoRoute, MissingParts, Rejected, LimitExceeded])
@pytest.mark.parametrize("first", FIRST)
async def test_before_what_the_flow_itself_fails_with(first: str, own: type[Exception]) -> None:
    handler, field = FIRST[first]
    router = Router()
    router.add(handler, name="a")
    if own is MissingParts:
        router.add(read, name="b")
        router.add(read, name="c", required=True)
    elif own is Rejected:
        router.add(read, _refuse)
    elif own is LimitExceeded:
        router.add(read, name="b", max_bytes=1)
    for _ in range(RUNS):
        with pytest.raises(First) as info:
            await router.dispatch(reader(form(field, ("b", b"22"))))
        assert f"also failed: {own.__name__}(" in notes(info.value)


async def test_one_that_waits_for_something_outside_is_not_waited_for() -> None:
    """Nor one that goes on and on: the flow ends, and both are cancelled."""

    async def busy(part: Part) -> None:
        while True:
            await checkpoint()

    inner = Router()
    inner.add(busy)
    for handler in (busy, Nested(inner)):
        router = Router()
        router.add(handler, name="a")
        with pytest.raises(NoRoute):
            await router.dispatch(reader(form(TWO, ("b", b"22"))))
