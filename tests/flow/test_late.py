"""What fails, or ends the program, while a failure is judged or undone.

Knows: sources that stall, handlers that fail as they are cancelled, cancellations that come late.
Must not know: how a verdict is found.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    BrokenSource,
    DependencyFailed,
    LimitExceeded,
    Limits,
    MultipartError,
    MultipartReader,
    Part,
    RolledBack,
    Router,
)
from mpflow.flow.verdict import GRACE, MAX_GRACE
from mpflow_handlers import Nested, Tee
from tests.clock import virtual_time
from tests.flow.support import form, nested, notes, reader

pytestmark = pytest.mark.anyio

TYPE = "multipart/form-data; boundary=b"


class Boom(Exception):
    """A failure on purpose."""


async def boom(part: Part) -> None:
    await part.receive(1)
    raise Boom


async def take(part: Part, **needs: Any) -> bytes:
    return await part.read()


# -- a collected part that turns out to be too large ------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_while_it_is_undone_ends_the_flow() -> None:
    """asyncio's own `cancel`, which knows no shield, and a client that stalls."""

    @asynccontextmanager
    async def early(part: Part) -> AsyncGenerator[int, None]:
        await part.receive(1)
        try:
            yield 1
        except RolledBack:
            await checkpoint()
            raise

    async def source() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + b"x" * 50
        for _ in range(20):
            await checkpoint()
        yield b"x" * 100
        stalled.set()
        await anyio.sleep_forever()

    for passes in range(4):
        stalled = anyio.Event()
        router = Router()
        router.add(early, name="f", max_bytes=100, on_error="collect")
        task = asyncio.create_task(router.dispatch(MultipartReader(source(), TYPE)))
        await stalled.wait()
        for _ in range(passes):
            await checkpoint()
        task.cancel()
        with anyio.fail_after(5), pytest.raises(asyncio.CancelledError):
            await task


async def test_its_dependents_get_nothing_of_it() -> None:
    rows: list[str] = []
    files: set[str] = set()

    @asynccontextmanager
    async def early(part: Part) -> AsyncGenerator[str, None]:
        await part.receive(1)
        files.add("f")
        try:
            yield "f"
        except RolledBack:
            files.discard("f")
            raise

    @asynccontextmanager
    async def row(part: Part, file: str) -> AsyncGenerator[str, None]:
        yield file
        rows.append(file)

    router = Router()
    router.add(row, name="meta", needs="file", order="spool", on_error="collect")
    router.add(early, name="file", max_bytes=100, on_error="collect")
    for size in (None, 60, 7):
        results = await router.dispatch(
            reader(form(("meta", b"1"), ("file", b"x" * 400)), size=size)
        )
        assert [type(error) for error in results.errors] == [DependencyFailed, LimitExceeded]
        assert not rows
        assert not files


async def test_its_dependents_get_it_where_it_is_not() -> None:
    async def early(part: Part) -> bytes:
        return await part.receive(1)

    async def dependent(part: Part, file: bytes) -> bytes:
        return file

    router = Router()
    router.add(dependent, name="meta", needs="file", order="spool")
    router.add(early, name="file", max_bytes=100, on_error="collect")
    router.add(dependent, name="late", needs="file")
    for size in (None, 60, 7):
        body = form(("meta", b"1"), ("file", b"x" * 90), ("late", b""))
        results = await router.dispatch(reader(body, size=size))
        assert results["meta"] == results["late"] == b"x"


async def test_that_is_its_failure_whatever_its_need_becomes() -> None:
    async def fails_late(part: Part) -> None:
        for _ in range(30):
            await checkpoint()
        raise Boom

    router = Router()
    router.add(fails_late, name="b", on_error="collect")
    router.add(take, name="a", needs="b", max_bytes=100, on_error="collect")
    for size in (None, 60):
        results = await router.dispatch(reader(form(("b", b""), ("a", b"x" * 400)), size=size))
        assert [type(error) for error in results.errors] == [Boom, LimitExceeded]


async def test_its_error_is_not_its_own_cause() -> None:
    router = Router()
    router.add(take, name="a", needs="b", order="spool", max_bytes=100, on_error="collect")
    router.add(take, name="b")
    results = await router.dispatch(reader(form(("a", b"x" * 400), ("b", b"1"))))
    (error,) = results.errors
    assert isinstance(error, LimitExceeded)
    assert error.__cause__ is None


# -- the source, once a handler has failed ----------------------------------------------------


@virtual_time
@pytest.mark.parametrize("how", ["reset", "end", "more", "idle"])
async def test_what_the_source_does_afterwards_says_nothing(how: str) -> None:
    began: list[str | None] = []

    async def slow(part: Part) -> None:
        await anyio.sleep(5)

    async def late(part: Part) -> None:
        began.append(part.name)

    body = form(("a", b"1"), ("b", b"2" * 20), ("c", b"3"))
    first, rest = body[: body.index(b"22")] + b"2", body[body.index(b"22") + 1 :]

    async def source() -> AsyncIterator[bytes]:
        yield first
        await anyio.sleep(0.1)
        if how == "reset":
            raise ConnectionResetError
        if how == "more":
            yield rest
        if how != "end":
            await anyio.sleep(5)

    router = Router()
    router.add(slow, name="a")
    router.add(boom, name="b")
    router.add(late)
    limits = Limits(idle_timeout=0.1) if how == "idle" else None
    content_type = reader(body).headers["Content-Type"]
    with pytest.raises(Boom):
        await router.dispatch(MultipartReader(source(), content_type, limits=limits))
    assert began == []


# -- handlers that fail as they are cancelled -------------------------------------------------


@pytest.mark.parametrize("two_phase", [False, True])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, OSError])
async def test_what_is_raised_in_a_cancelled_handler(
    kind: type[BaseException], two_phase: bool
) -> None:
    async def cleans_up(part: Part) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise kind("cleaning")

    @asynccontextmanager
    async def staged(part: Part) -> AsyncGenerator[None, None]:
        await cleans_up(part)
        yield

    router = Router()
    router.add(boom, name="a")
    router.add(staged if two_phase else cleans_up, name="b")
    with pytest.raises(Boom if kind is OSError else kind) as caught:
        await router.dispatch(reader(form(("a", b"1"), ("b", b"1"))))
    if kind is OSError:
        assert "also failed: part 1 'b': OSError('cleaning')" in notes(caught.value)


# -- flows inside that were dealt with --------------------------------------------------------


@virtual_time
async def test_a_collected_failure_inside_holds_up_no_verdict() -> None:
    async def slow(part: Part) -> None:
        await anyio.sleep(30)

    async def later(part: Part) -> None:
        await anyio.sleep(1)
        raise Boom

    inner = Router()
    inner.add(boom)
    router = Router()
    router.add(Tee(Tee.collect(Nested(inner)), slow), name="a")
    router.add(later, name="b")
    since = anyio.current_time()
    with pytest.raises(Boom):
        await router.dispatch(reader(form(nested("a", ("x", b"1"), boundary="i"), ("b", b"1"))))
    assert 1 + GRACE <= anyio.current_time() - since < 1 + MAX_GRACE / 2


# -- the flow's own file ----------------------------------------------------------------------


async def test_what_cannot_be_read_again_ends_the_flow_though_a_handler_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def defaults(part: Part, b: bytes) -> bytes:
        try:
            return await part.read()
        except MultipartError:
            return b"default"

    def broken(*args: Any) -> bytes:
        raise OSError(5, "EIO")

    router = Router()
    router.add(defaults, name="a", needs="b", order="spool", on_error="collect")
    router.add(take, name="b")
    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(BrokenSource):
        await router.dispatch(reader(form(("a", b"x" * 400), ("b", b"1"))))
