"""Handlers at their registration: which shapes are taken, as what, and what is refused."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Literal

import anyio.lowlevel
import attrs
import pytest

from mpflow.errors import RouteError
from mpflow.part import Part
from mpflow.router import RouteTable


async def one(part: Part) -> int:
    return 1


@asynccontextmanager
async def staged(part: Part) -> AsyncIterator[str]:
    yield "staged"


@pytest.fixture
def table() -> RouteTable:
    return RouteTable()


class Handlers:
    """Handlers of every shape that a class can give."""

    async def method(self, part: Part) -> int:
        return 1

    @asynccontextmanager
    async def two_phase(self, part: Part) -> AsyncIterator[int]:
        yield 1

    @classmethod
    async def of_class(cls, part: Part) -> int:
        return 1

    @staticmethod
    async def static(part: Part) -> int:
        return 1

    async def __call__(self, part: Part) -> int:
        return 1


class Managed:
    """Made with the part, entered to handle it."""

    def __init__(self, part: Part) -> None:
        self.part = part

    async def __aenter__(self) -> int:
        return 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Awaited:
    """Made with the part, awaited to handle it."""

    def __init__(self, part: Part) -> None:
        self.part = part

    def __await__(self) -> Iterator[Any]:
        return anyio.lowlevel.checkpoint().__await__()


class CalledTwoPhase:
    @asynccontextmanager
    async def __call__(self, part: Part) -> AsyncIterator[int]:
        yield 1


def gives_manager(part: Part) -> AbstractAsyncContextManager[int]:
    return CalledTwoPhase()(part)


def gives_managed(part: Part) -> Managed:
    return Managed(part)


def gives_awaitable(part: Part) -> Awaitable[int]:
    return one(part)


def gives_unknown(part):  # type: ignore[no-untyped-def] # that is the point
    return one(part)


def gives_unresolved(part: Nowhere) -> Nothing:  # type: ignore[name-defined] # noqa: F821
    return one(part)


def gives_union(part: Part) -> Awaitable[int] | Managed:
    return one(part)


def gives_literal(part: Part) -> Literal[1]:
    return 1


@functools.wraps(one)
def wrapped(part: Part) -> Awaitable[int]:
    return one(part)


async def with_option(part: Part, store: str = "default", *, mode: int = 0) -> int:
    return 1


async def with_anything(*args: Any, **kwargs: Any) -> int:
    return 1


async def positional(part: Part, /) -> int:
    return 1


async def two_required(part: Part, store: str) -> int:
    return 1


@pytest.mark.parametrize(
    ("handler", "two_phase"),
    [
        (one, False),
        (staged, True),
        (Handlers().method, False),
        (Handlers().two_phase, True),
        (Handlers.of_class, False),
        (Handlers.static, False),
        (Handlers(), False),
        (CalledTwoPhase(), True),
        (functools.partial(one), False),
        (functools.partial(two_required, store="s"), False),
        (functools.partial(functools.partial(staged)), True),
        (functools.partial(Handlers()), False),
        (Managed, True),
        (Awaited, False),
        (gives_manager, True),
        (gives_managed, True),
        (gives_awaitable, False),
        (gives_unknown, None),
        (gives_unresolved, None),
        (gives_union, None),
        (gives_literal, None),
        (wrapped, None),
        (lambda part: one(part), None),
        (with_option, False),
        (with_anything, False),
        (positional, False),
        (min, None),
    ],
)
def test_phases(table: RouteTable, handler: Any, two_phase: bool | None) -> None:
    assert table.add(handler).two_phase is two_phase


async def bare_generator(part: Part) -> AsyncIterator[int]:
    yield 1


class CalledGenerator:
    async def __call__(self, part: Part) -> AsyncGenerator[int, None]:
        yield 1


def sync_generator(part: Part) -> Iterator[int]:
    yield 1


@contextmanager
def sync_manager(part: Part) -> Iterator[int]:
    yield 1


def sync(part: Part) -> int:
    return 1


def sync_none(part: Part) -> None: ...


def sync_list(part: Part) -> list[int]:
    return []


async def no_parameter() -> int:
    return 1


async def keyword_part(*, part: Part) -> int:
    return 1


async def keyword_required(part: Part, *, store: str) -> int:
    return 1


class Uncalled:
    async def __call__(self, part: Part) -> int:
        return 1


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (3, "expected a handler, async (part) -> result, got 3"),
        ("json", "expected a handler, async (part) -> result, got 'json'"),
        ("x" * 99, "expected a handler, async (part) -> result, got \"'xxx"),
        (Uncalled, "expected a handler, got the class Uncalled: is Uncalled(...) meant?"),
        (
            bare_generator,
            "expected a handler, and bare_generator is a bare async generator: "
            "decorate it with contextlib.asynccontextmanager",
        ),
        (CalledGenerator(), "expected a handler, and CalledGenerator is a bare async generator"),
        (sync_generator, "expected a handler, and sync_generator is a sync generator"),
        (sync_manager, "expected a handler, and sync_manager is a sync generator"),
        (sync, "expected a handler, and sync is a sync function that returns int"),
        (sync_none, "expected a handler, and sync_none is a sync function that returns NoneType"),
        (sync_list, "expected a handler, and sync_list is a sync function that returns list"),
        (two_required, "unknown or unfilled parameter 'store' of two_required"),
        (keyword_required, "unknown or unfilled parameter 'store' of keyword_required"),
        (no_parameter, "expected a handler that takes the part first, and no_parameter does not"),
        (keyword_part, "expected a handler that takes the part first, and keyword_part does not"),
        (functools.partial(one, None), "expected a handler that takes the part first"),
    ],
)
def test_what_is_no_handler(table: RouteTable, handler: Any, message: str) -> None:
    with pytest.raises(RouteError) as caught:
        table.add(handler)
    assert str(caught.value).startswith(message)
    assert table.routes == ()


@attrs.frozen
class Configured:
    option: str

    async def __call__(self, part: Part) -> str:
        return self.option


def test_names_of_handlers(table: RouteTable) -> None:
    def name_of(handler: Any, number: int) -> str:
        return table.add(handler, index=number).name

    assert name_of(functools.partial(two_required, store="s"), 0) == "two_required"
    assert name_of(Handlers().method, 1) == "Handlers.method"
    assert name_of(Handlers(), 2) == "Handlers"
    assert name_of(Configured("a"), 3) == "Configured(option='a')"
    assert len(name_of(Configured("a" * 99), 4)) < 80


@pytest.mark.anyio
async def test_the_handlers_above_answer_as_detected(table: RouteTable) -> None:
    """What was told from the outside is what a call gives."""
    part: Any = None
    for number, handler in enumerate((one, staged, Managed, Awaited, gives_unknown)):
        route = table.add(handler, index=number)
        answer: Any = route.handler(part)
        entered = hasattr(answer, "__aenter__")
        assert route.two_phase in (None, entered)
        if entered:
            async with answer:
                pass
        else:
            assert inspect.isawaitable(answer)
            await answer
