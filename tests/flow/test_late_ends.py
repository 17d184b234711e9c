"""What is known late of a handler: that it ends the program, has two phases, or had too much.

Knows: what the caller gets, and what an observer is told. Must not know: how a flow makes sure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import HandlerTimeout, LimitExceeded, Part, Router, TruncatedBody
from mpflow.reports import PartFailed, PartFinished, PartReport, PartStarted, Report
from mpflow_handlers import Nested, Tee
from tests.clock import virtual_time
from tests.flow.support import Field, form, nested, notes, paced, read, reader
from tests.observers.test_telemetry import Telemetry

pytestmark = pytest.mark.anyio


# -- what ends the program, beside a cancellation ----------------------------------------------


class Ending:
    """Handlers that raise SystemExit once they are cancelled or rolled back; `at` tells where."""

    def __init__(self) -> None:
        self.at = anyio.Event()
        self.error = SystemExit(3)

    async def one_phase(self, part: Part) -> None:
        try:
            self.at.set()
            await anyio.sleep_forever()
        finally:
            raise self.error

    @asynccontextmanager
    async def entered(self, part: Part) -> AsyncGenerator[None, None]:
        await self.one_phase(part)
        yield

    @asynccontextmanager
    async def entered_late(self, part: Part) -> AsyncGenerator[None, None]:
        try:
            self.at.set()
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            pass  # it answers though it was cancelled
        try:
            yield
        finally:
            raise self.error

    @asynccontextmanager
    async def parked(self, part: Part) -> AsyncGenerator[None, None]:
        await part.read()
        try:
            self.at.set()
            yield
        finally:
            raise self.error


KINDS = ("one_phase", "entered", "entered_late", "parked")


async def forever(part: Part) -> None:
    await anyio.sleep_forever()


def ending_router(ending: Ending, kind: str, inside: str) -> tuple[Router, bytes]:
    handler = getattr(ending, kind)
    router = Router()
    if inside == "tee":
        router.add(Tee(handler, forever) if kind != "parked" else Tee(handler), name="a")
    elif inside == "nested":
        inner = Router()
        inner.add(handler)
        router.add(Nested(inner), name="a")
    else:
        router.add(handler, name="a")
    router.add(forever)
    a = nested("a", ("x", b"1")) if inside == "nested" else Field("a", b"1")
    return router, form(a, ("b", b"2"))


@pytest.mark.parametrize("inside", ["", "nested", "tee"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_scope_around_is_cancelled(kind: str, inside: str) -> None:
    ending = Ending()
    router, data = ending_router(ending, kind, inside)

    async def cancel(scope: anyio.CancelScope) -> None:
        await ending.at.wait()
        for _ in range(10):
            await checkpoint()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()
        tasks.start_soon(cancel, scope)
        with pytest.raises(SystemExit) as info, scope:
            await router.dispatch(reader(data))
        assert info.value is ending.error


@pytest.mark.parametrize("anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})])
@pytest.mark.parametrize("kind", KINDS)
async def test_the_task_is_cancelled(kind: str) -> None:
    ending = Ending()
    router, data = ending_router(ending, kind, "")

    async def dispatch() -> BaseException:
        with pytest.raises(SystemExit) as info:  # here: asyncio would end the loop with it
            await router.dispatch(reader(data))
        return info.value

    task = asyncio.create_task(dispatch())
    await ending.at.wait()
    for _ in range(10):
        await checkpoint()
    task.cancel()
    assert await task is ending.error


@pytest.mark.parametrize("at_once", [True, False])
async def test_it_fails_by_itself_as_a_scope_is_cancelled(at_once: bool) -> None:
    error, scope = SystemExit(3), anyio.CancelScope()
    router = Router()

    @router.route(name="a")
    async def handle(part: Part) -> None:
        await part.read()
        scope.cancel()
        try:
            if not at_once:
                await checkpoint()
        finally:
            raise error

    router.add(forever)
    with pytest.raises(SystemExit) as info, scope:
        await router.dispatch(reader(form(("a", b"1"), ("b", b"2"))))
    assert info.value is error


class Ends(BaseException):
    """Ends the program. Asyncio lets SystemExit itself out of a task before anybody sees it."""


@pytest.mark.parametrize("own", [True, False])
async def test_one_that_waits_fails_while_the_block_does(own: bool) -> None:
    error, go = Ends(), anyio.Event()
    router = Router()

    @router.route()
    @asynccontextmanager
    async def handle(part: Part) -> AsyncGenerator[None, None]:
        async def fail() -> None:
            await go.wait()
            raise error

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            yield

    async def block() -> None:
        async with router.flow(reader(form(("a", b"1")))):
            go.set()
            for _ in range(10):
                await checkpoint()
            if own:
                raise KeyError
            scope.cancel()
            await checkpoint()

    scope = anyio.CancelScope()
    with pytest.raises(Ends) as info, scope:
        await block()
    assert info.value is error


async def test_a_cancellation_alone_stays_one() -> None:
    router = Router()
    router.add(forever)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await router.dispatch(reader(form(("a", b"1"))))
    assert scope.cancelled_caught


async def test_a_collected_part_ends_the_program_in_its_rollback() -> None:
    error = SystemExit(3)
    router = Router()

    @router.route(max_bytes=200, on_error="collect")
    @asynccontextmanager
    async def handle(part: Part) -> AsyncGenerator[None, None]:
        with pytest.raises(LimitExceeded):
            await part.read()
        try:
            yield
        finally:
            raise error

    with pytest.raises(SystemExit) as info:
        await router.dispatch(reader(form(("a", b"x" * 300)), size=50))
    assert info.value is error


# -- two phases, as is seen by what a handler gives --------------------------------------------


@asynccontextmanager
async def two_phases(part: Part) -> AsyncGenerator[bytes, None]:
    yield await part.read()


async def test_a_handler_is_started_once() -> None:
    telemetry, told = Telemetry(), list[str]()

    def observe(report: Report) -> None:
        told.append(type(report).__name__)
        telemetry.observer(report)

    router = Router(observer=observe)
    router.add(lambda part: two_phases(part))
    await router.dispatch(reader(form(("a", b"1"))))
    assert told == ["FlowStarted", "PartStarted", "PartFinished", "PartCommitted", "FlowFinished"]
    assert set(telemetry.spans) == {"flow", "part 0"}
    assert not telemetry.observer._parts
    assert not telemetry.observer._places


async def test_it_is_called_once_for_its_timeout() -> None:
    called: list[tuple[float, Any]] = []
    router = Router()

    @asynccontextmanager
    async def handle(part: Part) -> AsyncGenerator[None, None]:
        record: Any = part.holder
        called.append((record.called_at, record))
        yield

    def make(part: Part) -> Any:
        record: Any = part.holder
        called.append((record.called_at, record))
        record.called_at -= 1.0
        return handle(part)

    router.add(make)
    await router.dispatch(reader(form(("a", b"1"))))
    (at, record), again = called
    assert again == (at - 1.0, record)


@virtual_time
async def test_its_timeout() -> None:
    router = Router()

    @asynccontextmanager
    async def handle(part: Part) -> AsyncGenerator[None, None]:
        await anyio.sleep_forever()
        yield

    router.add(lambda part: handle(part), timeout=5)
    start = anyio.current_time()
    with pytest.raises(HandlerTimeout):
        await router.dispatch(reader(form(("a", b"1"))))
    assert 5 <= anyio.current_time() - start < 6


# -- a part that is too large, as is seen once its handler has ended ---------------------------


async def early(part: Part) -> bytes:
    return await part.receive(1)


@asynccontextmanager
async def early_in_two_phases(part: Part) -> AsyncGenerator[bytes, None]:
    yield await part.receive(1)


async def early_failure(part: Part) -> None:
    await part.receive(1)
    raise KeyError


EARLY = {"one": early, "two": early_in_two_phases, "failing": early_failure}
SIZES = (None, 200, 50, 7, 1)


def collecting(handler: Any, observer: Any) -> Router:
    router = Router(observer=observer)
    router.add(handler, name="f", max_bytes=100, on_error="collect")
    router.add(read)
    return router


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", EARLY)
async def test_it_is_told_as_a_failure_once(kind: str, size: int | None) -> None:
    telemetry, told = Telemetry(), list[Report]()

    def observe(report: Report) -> None:
        told.append(report)
        telemetry.observer(report)

    router = collecting(EARLY[kind], observe)
    results = await router.dispatch(reader(form(("f", b"x" * 400), ("g", b"1")), size=size))
    ours = [r for r in told if isinstance(r, PartReport) and r.part.name == "f"]
    kinds = [type(r).__name__ for r in ours]
    assert [k for k in kinds if k not in ("PartProgress", "PartWaited")] == [
        "PartStarted",
        "PartFailed",
    ]
    failed = next(r for r in ours if isinstance(r, PartFailed))
    assert failed.error is results.errors[0]
    assert isinstance(failed.error, LimitExceeded)
    assert (failed.is_collected, failed.part.size) == (True, 400)
    counted = {point["mpflow.outcome"]: n for point, n in telemetry.metric("mpflow.parts")}
    assert counted == {"failed": 1, "finished": 1}
    assert set(telemetry.spans) == {"flow", "part 0", "part 1"}


@pytest.mark.parametrize("size", SIZES)
async def test_one_that_fits_has_answered_when_it_has(size: int | None) -> None:
    told: list[Report] = []
    router = collecting(early, told.append)
    await router.dispatch(reader(form(("f", b"x" * 100)), size=size))
    kinds = [type(r).__name__ for r in told]
    assert [k for k in kinds if k not in ("PartProgress", "PartWaited")] == [
        "FlowStarted", "PartStarted", "PartFinished", "FlowFinished",
    ]  # fmt: skip
    assert [r.part.size for r in told if isinstance(r, PartFinished)] == [100]


@virtual_time
async def test_how_long_it_took_does_not_count_the_rest_of_the_part() -> None:
    told: list[Report] = []
    router = collecting(early, told.append)
    await router.dispatch(reader(paced(form(("f", b"x" * 100)), 0, 0, 5.0, size=60)))
    finished = next(r for r in told if isinstance(r, PartFinished))
    started = next(r for r in told if isinstance(r, PartStarted))
    assert finished.seconds < 1
    assert finished.at - started.at >= 5


@pytest.mark.parametrize("kind", ["one", "two"])
async def test_the_flow_ends_before_the_part_is_whole(kind: str) -> None:
    told: list[Report] = []
    router = collecting(EARLY[kind], told.append)
    with pytest.raises(TruncatedBody):
        await router.dispatch(reader(form(("f", b"x" * 100))[:-40], size=10))
    kinds = [type(r).__name__ for r in told]
    assert [k for k in kinds if k not in ("PartProgress", "PartWaited")] == [
        "FlowStarted", "PartStarted", "PartFinished",
        *(["PartRolledBack"] if kind == "two" else []), "FlowFinished",
    ]  # fmt: skip


async def test_one_that_waits_fails_before_its_part_is_whole() -> None:
    told: list[Report] = []

    @asynccontextmanager
    async def handle(part: Part) -> AsyncGenerator[None, None]:
        async def fail() -> None:
            await checkpoint()
            raise KeyError

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            yield

    router = collecting(handle, told.append)
    with pytest.raises(ExceptionGroup):
        await router.dispatch(reader(form(("f", b"x" * 100)), size=1))
    kinds = [type(r).__name__ for r in told]
    assert [k for k in kinds if k not in ("PartProgress", "PartWaited", "PartRolledBack")] == [
        "FlowStarted", "PartStarted", "PartFinished", "PartFailed", "FlowFinished",
    ]  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
async def test_who_needs_it_is_told_after_it(size: int | None) -> None:
    told: list[tuple[str, str | None]] = []

    def observe(report: Report) -> None:
        if isinstance(report, PartFailed):
            told.append((type(report.error).__name__, report.part.name))

    router = Router(observer=observe)
    router.add(early, name="f", key="f", max_bytes=100, on_error="collect")

    async def handle(part: Part, f: bytes) -> None: ...

    router.add(handle, name="g", needs="f", on_error="collect", order="spool")
    await router.dispatch(reader(form(("g", b"1"), ("f", b"x" * 400)), size=size))
    assert told == [("LimitExceeded", "f"), ("DependencyFailed", "g")]


async def test_a_rollback_that_fails_is_a_note_on_it() -> None:
    told: list[Report] = []

    @asynccontextmanager
    async def handle(part: Part) -> AsyncGenerator[None, None]:
        await part.receive(1)
        try:
            yield
        finally:
            raise KeyError

    results = await collecting(handle, told.append).dispatch(
        reader(form(("f", b"x" * 400)), size=1)
    )
    assert "the rollback of part 0 'f' failed: KeyError" in notes(results.errors[0])
    assert "PartRolledBack" not in [type(r).__name__ for r in told]
