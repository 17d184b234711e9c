"""Rule 17 of a flow: rollback.

Knows: two-phase handlers that fail, hang and shield themselves when they are told.
Must not know: how the decision reaches them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    HandlerTimeout,
    Part,
    RolledBack,
    Router,
)
from mpflow.flow import ROLLBACK_TIMEOUT
from mpflow_handlers import Nested, Tee
from tests.clock import virtual_time
from tests.flow.support import Diary, fails, form, nested, notes, reader, routed

pytestmark = pytest.mark.anyio

BODY = form(*[(name, name.encode()) for name in "abcd"])


class TestRollback:
    """Rule 17."""

    async def test_in_reverse_order_with_a_fresh_reason_each(self) -> None:
        diary = Diary()
        reason = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError) as info:
            async with routed(diary).flow(reader(BODY)):
                raise reason
        assert info.value is reason
        assert diary.rolled_back == list("dcba")
        assert [type(e) for e in diary.reasons] == [RolledBack] * 4
        assert len({id(e) for e in diary.reasons}) == 4
        assert all(e.__cause__ is reason for e in diary.reasons)

    async def test_swallowing_it_saves_nothing(self) -> None:
        ended: list[str | None] = []
        router = Router()

        @router.route()
        @asynccontextmanager
        async def swallow(part: Part) -> AsyncIterator[None]:
            try:
                yield
            except RolledBack:
                ended.append(part.name)

        error = KeyError()
        with pytest.raises(KeyError) as info:
            async with router.flow(reader(BODY)):
                raise error
        assert info.value is error
        assert ended == list("dcba")

    async def test_an_error_in_it_is_a_note(self) -> None:
        diary = Diary(fails("rollback", "c", OSError("disk")))
        error = KeyError()
        with pytest.raises(KeyError) as info:
            async with routed(diary).flow(reader(BODY)):
                raise error
        assert info.value is error
        assert "the rollback of part 2 'c' failed: OSError('disk')" in notes(error)
        assert diary.rolled_back == list("dba")

    @virtual_time
    async def test_one_that_hangs_starves_none(self) -> None:
        async def step(what: str, name: str) -> None:
            if what == "rollback" and name in "cb":
                await anyio.sleep_forever()
            if what == "rollback":
                await anyio.sleep(ROLLBACK_TIMEOUT - 1)

        diary = Diary(step)
        error = KeyError()
        start = anyio.current_time()
        with pytest.raises(KeyError) as info:
            async with routed(diary).flow(reader(BODY)):
                raise error
        assert info.value is error
        assert anyio.current_time() - start == pytest.approx(4 * ROLLBACK_TIMEOUT - 2)
        assert diary.rolled_back == ["d", "a"]
        assert notes(error).count("did not end its rollback in time") == 2

    @virtual_time
    async def test_one_that_shields_itself_starves_none(self) -> None:
        async def step(what: str, name: str) -> None:
            if (what, name) == ("rollback", "c"):
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1000)

        diary = Diary(step)
        start = anyio.current_time()
        with pytest.raises(KeyError):
            async with routed(diary).flow(reader(BODY)):
                raise KeyError
        assert diary.rolled_back[:3] == ["d", "b", "a"]
        # The task is waited for, as structured concurrency has it.
        assert anyio.current_time() - start == pytest.approx(1000, abs=1)

    async def test_under_the_callers_cancellation(self) -> None:
        """Each in a shield: a rollback goes through checkpoints though the caller is cancelled."""

        async def step(what: str, name: str) -> None:
            for _ in range(10):
                await checkpoint()

        diary = Diary(step)
        with anyio.CancelScope() as scope:
            async with routed(diary).flow(reader(BODY)):
                scope.cancel()
                await checkpoint()
        assert diary.rolled_back == list("dcba")

    async def test_a_handler_that_is_cancelled_while_it_stages(self) -> None:
        """It gets the cancellation where it is; those that wait get RolledBack."""
        diary = Diary()
        seen: list[BaseException] = []
        router = Router()
        router.add(diary, name="a")
        staged = anyio.Event()

        @router.route(name="b")
        @asynccontextmanager
        async def slow(part: Part) -> AsyncIterator[None]:
            try:
                staged.set()
                await anyio.sleep_forever()
                yield
            except BaseException as error:
                seen.append(error)
                raise

        @router.route()
        async def fail(part: Part) -> None:
            await staged.wait()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await router.dispatch(reader(BODY))
        assert [type(e) for e in seen] == [anyio.get_cancelled_exc_class()]
        diary.check()

    async def test_a_handler_that_answers_though_it_is_cancelled(self) -> None:
        seen: list[BaseException] = []
        router = Router()

        @router.route(name="a")
        @asynccontextmanager
        async def stubborn(part: Part) -> AsyncIterator[None]:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                pass  # what no handler should do
            try:
                yield
                raise AssertionError("committed")
            except RolledBack as error:
                seen.append(error)
                raise

        error = ZeroDivisionError()

        @router.route()
        async def fail(part: Part) -> None:
            for _ in range(5):
                await checkpoint()
            raise error

        with pytest.raises(ZeroDivisionError):
            await router.dispatch(reader(BODY))
        assert [e.__cause__ for e in seen] == [error]


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("kind", ["nested", "tee"])
async def test_each_handler_inside_is_told_the_reason_itself(kind: str, again: bool) -> None:
    """Not that its flow is rolled back, which says nothing of why."""
    diary = Diary()
    field = nested("n", ("0", b"1"), ("1", b"2"))
    handler: Nested | Tee = Nested(routed(diary)) if kind == "nested" else Tee(diary, diary)
    if again:
        router = Router()
        router.add(handler)
        handler, field = Nested(router), nested("m", field, boundary="around")
    router = Router()
    router.add(handler, name="n" if not again else "m")
    reason = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError) as info:
        async with router.flow(reader(form(field))):
            raise reason
    assert info.value is reason
    told = [error.__cause__ for error in diary.reasons]
    assert len(told) == 2
    assert all(cause is reason for cause in told)


@pytest.mark.parametrize("ends", ["failure", "timeout"])
@virtual_time
async def test_one_inside_that_was_told_while_another_ran(ends: str) -> None:
    diary, inner, router = Diary(), Router(), Router()
    inner.add(diary, name="0")

    @inner.route(name="1")
    async def hangs(part: Part) -> None:
        await anyio.sleep_forever()

    @router.route(name="b")
    async def fail(part: Part) -> None:
        await anyio.sleep(2)
        raise ZeroDivisionError

    router.add(Nested(inner), name="n", timeout=1 if ends == "timeout" else None)
    body = form(nested("n", ("0", b"1"), ("1", b"2")), ("b", b""))
    with pytest.raises((ZeroDivisionError, HandlerTimeout)) as info:
        await router.dispatch(reader(body))
    assert isinstance(info.value, HandlerTimeout) == (ends == "timeout")
    assert [error.__cause__ for error in diary.reasons] == [info.value]
