"""One part, of which two things fail: its handler by itself, and then the part.

Knows: that the handler wins, however the body is cut and whatever runs its code.
Must not know: how that is seen to.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from mpflow import (
    Branches,
    InvalidContent,
    LimitExceeded,
    Limits,
    Part,
    Rejected,
    RolledBack,
    Router,
    TruncatedBody,
)
from mpflow_handlers import Nested, SyncHandler, Tee
from tests.clock import virtual_time
from tests.flow.support import form, nested, reader

pytestmark = pytest.mark.anyio

SIZES = (None, 200, 70, 7, 1)
BODY = b"0123456789!" + b"x" * 300


class Own(Exception):
    """What the handler finds wrong with the first bytes."""


async def one_phase(part: Part) -> None:
    seen = b""
    async for chunk in part:
        seen += chunk
        await checkpoint()
        if b"!" in seen:
            raise Own


@asynccontextmanager
async def two_phases(part: Part) -> AsyncGenerator[None, None]:
    await one_phase(part)
    yield


async def in_a_thread(part: Part) -> None:
    seen = b""
    async for chunk in part:
        seen = await to_thread.run_sync(lambda chunk=chunk, seen=seen: seen + chunk)
        if b"!" in seen:
            raise Own


def from_a_file(file: Any, part: Part) -> None:
    if b"!" in file.read(11):
        raise Own


HANDLERS: dict[str, Callable[[], Any]] = {
    "one phase": lambda: one_phase,
    "two phases": lambda: two_phases,
    "thread": lambda: in_a_thread,
    "file": lambda: SyncHandler(from_a_file),
    "tee": lambda: Tee(_reads, in_a_thread),
}


async def _reads(part: Part) -> None:
    await part.read()


@pytest.mark.parametrize("kind", HANDLERS)
async def test_a_part_that_is_cut(kind: str) -> None:
    router = Router()
    router.add(HANDLERS[kind]())
    cut = form(("a", BODY))[:-40]
    for size in SIZES:
        with pytest.raises(Own):
            await router.dispatch(reader(cut, size=size))


@pytest.mark.parametrize("own_limit", [False, True])
@pytest.mark.parametrize("kind", HANDLERS)
async def test_a_part_that_is_too_large(kind: str, own_limit: bool) -> None:
    router = Router(limits=Limits(max_part_bytes=None if own_limit else 20))
    router.add(HANDLERS[kind](), max_bytes=20 if own_limit else None)
    for size in SIZES:
        with pytest.raises(Own):
            await router.dispatch(reader(form(("a", BODY)), size=size))


@pytest.mark.parametrize("own_limit", [False, True])
async def test_what_comes_after_the_limit_is_nobody_s_failure(own_limit: bool) -> None:
    """The handler sees exactly what fits."""
    router = Router(limits=Limits(max_part_bytes=None if own_limit else 10))
    router.add(one_phase, max_bytes=10 if own_limit else None)
    for size in SIZES:
        with pytest.raises(LimitExceeded):
            await router.dispatch(reader(form(("a", BODY)), size=size))


async def test_a_handler_inside_a_nested_flow() -> None:
    inner = Router()
    inner.add(in_a_thread, name="x")
    inner.add(_reads)
    router = Router()
    router.add(Nested(inner))
    cut = form(nested("n", ("x", BODY), ("y", BODY), boundary="i"))[:-100]
    for size in SIZES:
        with pytest.raises(Own):
            await router.dispatch(reader(cut, size=size))


async def _says_so(part: Part) -> None:
    try:
        await part.read()
    except TruncatedBody as error:
        raise InvalidContent("expected the whole part") from error


async def _forgets_the_cause(part: Part) -> None:
    try:
        await part.read()
    except TruncatedBody:
        raise InvalidContent("expected the whole part") from None


async def _has_another_cause(part: Part) -> None:
    try:
        await part.read()
    except TruncatedBody:
        raise InvalidContent("expected the whole part") from KeyError("its checksum")


async def _cleans_up(part: Part) -> None:
    try:
        await part.read()
    finally:
        raise InvalidContent("expected the whole part")


async def _swallows(part: Part) -> None:
    data = None
    with suppress(TruncatedBody):
        data = await part.read()
    if data is None:
        raise InvalidContent("expected the whole part")


async def _branches(part: Part) -> None:
    failed = False
    with suppress(TruncatedBody):
        async with Branches(part, [(_swallows, "abort")]):
            failed = True
    assert not failed
    raise InvalidContent("expected the whole part")


async def _flows_inside(part: Part) -> None:
    inner = Router()
    inner.add(_says_so)
    try:
        async with inner.flow(part.multipart(), independent=True):
            raise AssertionError
    except TruncatedBody:
        pass
    raise InvalidContent("expected the whole part")


ECHOES = [
    _says_so,
    _forgets_the_cause,
    _has_another_cause,
    _cleans_up,
    _swallows,
    Tee(_swallows),
    _branches,
    _flows_inside,
]


@pytest.mark.parametrize("handler", ECHOES)
async def test_what_a_handler_makes_of_the_cut(handler: Any) -> None:
    """That is no failure of its own: the caller learns what came."""
    router = Router()
    router.add(handler)
    for size in SIZES:
        with pytest.raises(TruncatedBody):
            await router.dispatch(
                reader(form(nested("a", ("x", BODY), boundary="i"))[:-40], size=size)
            )


async def test_what_a_flow_inside_had_failed_with_before() -> None:
    """What the handler makes of that stands, though its part will never be whole."""

    async def own(part: Part) -> None:
        raise Own

    async def branches(part: Part) -> None:
        failed = False
        with suppress(Own):
            async with Branches(part, [(own, "abort")]):
                pass
            failed = True
        assert not failed
        with suppress(TruncatedBody):
            await part.drain()
        raise InvalidContent("expected something else")

    router = Router()
    router.add(branches)
    for size in SIZES:
        with pytest.raises(InvalidContent):
            await router.dispatch(reader(form(("a", BODY))[:-40], size=size))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("error", [Rejected(422, "a virus"), SystemExit(3), KeyboardInterrupt()])
async def test_what_no_route_collects_in_a_part_that_is_too_large(
    error: BaseException, inside: bool
) -> None:
    undone: list[str] = []

    @asynccontextmanager
    async def staged(part: Part) -> AsyncGenerator[None, None]:
        try:
            yield
        except RolledBack:
            undone.append(part.name or "")
            raise

    async def refuses(part: Part) -> None:
        async for _ in part:
            raise error

    router = Router()
    router.add(staged, name="s")
    handler: Any = Tee(refuses) if inside else refuses
    router.add(handler, name="a", on_error="collect", max_bytes=200)
    for size in SIZES:
        with pytest.raises(type(error)):
            await router.dispatch(reader(form(("s", b"1"), ("a", BODY)), size=size))
    assert undone == ["s"] * len(SIZES)


@virtual_time
async def test_what_ends_the_program_beside_a_timeout() -> None:
    async def exits(part: Part) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise SystemExit(3)

    for on_error in ("abort", "collect"):
        router = Router()
        router.add(exits, timeout=0.5, on_error=on_error)
        with pytest.raises(SystemExit):
            await router.dispatch(reader(form(("a", b"1"))))
