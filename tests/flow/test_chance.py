"""What must not hang on chance, on threads, or on how the body is cut.

Knows: many runs of one message, and that they end alike. Must not know: how that is seen to.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mpflow import DependencyFailed, LimitExceeded, Part, RolledBack, Router
from mpflow_handlers import Json, Nested, Save, SyncHandler, Tee
from tests.clock import virtual_time
from tests.flow.support import form, nested, read, reader

pytestmark = pytest.mark.anyio

RUNS = 25


class First(Exception):
    """Of the earliest part."""


class Later(Exception):
    """Of a part behind it."""


# -- who is first -----------------------------------------------------------------------------


@virtual_time
async def test_of_many_flows_inside_the_earliest_begin() -> None:
    async def wait(part: Part) -> None:
        await anyio.sleep(1)
        raise First(part.path)

    inner = Router()
    inner.add(wait)
    router = Router()
    router.add(Nested(inner))
    body = form(*(nested(f"n{i}", ("x", b"1"), boundary=f"i{i}") for i in range(7)))
    for _ in range(RUNS):
        with pytest.raises(First) as caught:
            await router.dispatch(reader(body))
        assert caught.value.args == ((0, 0),)


async def test_a_spooled_part_that_fails_before_a_later_one() -> None:
    """It is read from the disk by a thread first."""

    async def first(part: Part, b: bytes) -> None:
        await part.read()
        raise First

    async def later(part: Part) -> None:
        raise Later

    router = Router()
    router.add(first, name="a", needs="b", order="spool")
    router.add(read, name="b")
    router.add(later, name="c")
    body = form(("a", b"1"), ("b", b"2"), ("c", b"3"))
    for size in (None, 20):
        for _ in range(RUNS):
            with pytest.raises(First):
                await router.dispatch(reader(body, size=size))


def _refuse(file: object, part: Part) -> None:
    raise First


@pytest.mark.parametrize("inside", [False, True])
async def test_a_handler_that_fails_in_a_thread_before_a_later_part(
    inside: bool, tmp_path: Path
) -> None:
    (tmp_path / "taken").touch()
    for handler, kind in [
        (Save(tmp_path, "taken"), FileExistsError),
        (SyncHandler(_refuse), First),
    ]:
        router = Router()
        router.add(Tee(handler) if inside else handler, name="a")
        router.add(Json(), name="b")
        for size in (None, 50):
            for _ in range(RUNS):
                with pytest.raises(kind):
                    await router.dispatch(reader(form(("a", b"1"), ("b", b"{")), size=size))


# -- how it is cut ----------------------------------------------------------------------------


async def test_a_collected_part_that_is_too_large() -> None:
    """Whatever its handler did before that was seen."""
    undone: list[BaseException | None] = []

    async def fails(part: Part) -> None:
        raise First

    async def answers(part: Part) -> int:
        return 1

    @asynccontextmanager
    async def staged(part: Part) -> AsyncGenerator[int, None]:
        try:
            yield 1
        except RolledBack as error:
            undone.append(error.__cause__)
            raise

    for handler in (fails, answers, read, staged):
        router = Router()
        router.add(handler, max_bytes=3, on_error="collect")
        for size in (None, 50, 7, 1):
            results = await router.dispatch(reader(form(("a", b"1234"), ("b", b"")), size=size))
            (error,) = results.errors if handler is not fails else results.errors[:1]
            assert isinstance(error, LimitExceeded)
            assert error.limit == "max_bytes"
            assert next(iter(results)).value is None
    assert all(isinstance(error, LimitExceeded) for error in undone)


async def test_a_part_that_is_too_large_and_whose_need_has_failed() -> None:
    async def fails(part: Part) -> None:
        raise First

    async def take(part: Part, a: int) -> None:
        await part.read()

    router = Router()
    router.add(fails, name="a", on_error="collect")
    router.add(take, name="b", needs="a", max_bytes=1, on_error="collect")
    for size in (None, 60, 1):
        results = await router.dispatch(reader(form(("a", b""), ("b", b"22")), size=size))
        assert [type(error) for error in results.errors] == [First, LimitExceeded]
        assert not isinstance(results.errors[1], DependencyFailed)


# -- Ctrl-C while it is undone ----------------------------------------------------------------


async def _fail(part: Part) -> None:
    raise Later


@pytest.mark.parametrize("shape", ["plain", "tee", "nested"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_what_ends_the_program_in_a_rollback(kind: type[BaseException], shape: str) -> None:
    undone: list[str] = []

    @asynccontextmanager
    async def staged(part: Part) -> AsyncGenerator[None, None]:
        await part.read()
        try:
            yield
        except RolledBack:
            undone.append("staged")
            raise kind from None

    @asynccontextmanager
    async def other(part: Part) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            undone.append("other")

    inner = Router()
    inner.add(staged, name="x")
    shapes: dict[str, Any] = {"plain": staged, "tee": Tee(staged), "nested": Nested(inner)}
    router = Router()
    router.add(other, name="first")
    router.add(shapes[shape], name="a")
    router.add(_fail, name="b")
    part = nested("a", ("x", b"1"), boundary="i") if shape == "nested" else ("a", b"1")
    with pytest.raises(kind):
        await router.dispatch(reader(form(("first", b""), part, ("b", b"")), size=10))
    assert undone == ["staged", "other"]


# -- misuse -----------------------------------------------------------------------------------


async def test_a_reason_that_is_no_exception() -> None:
    undone: list[str] = []

    @asynccontextmanager
    async def staged(part: Part) -> AsyncGenerator[None, None]:
        try:
            yield
        except RolledBack as error:
            undone.append(str(error.__cause__))
            raise

    router = Router()
    router.add(staged)
    reason: Any = "no"
    async with router.flow(reader(form(("a", b"")))) as flow:
        with pytest.raises(TypeError, match="expected an exception as the reason, got str"):
            await flow.abort(reason)
        await flow.abort(ValueError("yes"))
    assert undone == ["yes"]
