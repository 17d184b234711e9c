"""Rules 16 to 20 of a flow: commit, rollback, the block, descriptors, flows of flows.

Knows: two-phase handlers that fail, hang and shield themselves at any step.
Must not know: how the decision reaches them.
"""

# ruff: noqa: PT012 - what leaves the block of a flow is what is tested

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import (
    CommitFailed,
    FlowAborted,
    Handled,
    HandlerTimeout,
    Part,
    Results,
    RolledBack,
    RouteError,
    Router,
)
from mpflow.flow import COMMIT_TIMEOUT, ROLLBACK_TIMEOUT
from tests.clock import virtual_time
from tests.flow.support import Diary, Field, fails, form, nested, notes, read, reader

pytestmark = pytest.mark.anyio

BODY = form(*[(name, name.encode()) for name in "abcd"])


def routed(diary: Diary) -> Router:
    router = Router()
    router.add(diary)
    return router


def names(handled: tuple[Handled, ...]) -> list[str | None]:
    return [item.part.name for item in handled]


class TestCommit:
    """Rule 16."""

    async def test_it_comes_after_the_block_in_wire_order(self) -> None:
        diary = Diary()
        async with routed(diary).flow(reader(BODY)) as flow:
            assert sorted(diary.staged) == list("abcd")
            assert diary.committed == []
            assert [h.value for h in flow.results] == [b"a", b"b", b"c", b"d"]
        assert diary.committed == list("abcd")

    async def test_one_at_a_time(self) -> None:
        at_work = 0

        async def step(what: str, name: str) -> None:
            nonlocal at_work
            if what == "commit":
                at_work += 1
                assert at_work == 1
                for _ in range(5):
                    await checkpoint()
                at_work -= 1

        await routed(Diary(step)).dispatch(reader(BODY))

    async def test_in_the_block(self) -> None:
        diary = Diary()
        async with routed(diary).flow(reader(BODY)) as flow:
            await flow.commit()
            assert diary.committed == list("abcd")
            with pytest.raises(RouteError, match="expected an open flow to commit"):
                await flow.commit()
            with pytest.raises(RouteError, match="expected an open flow to abort"):
                await flow.abort()
        assert diary.committed == list("abcd")

    async def test_what_comes_after_it_in_the_block_undoes_nothing(self) -> None:
        diary = Diary()
        with pytest.raises(ZeroDivisionError):
            async with routed(diary).flow(reader(BODY)) as flow:
                await flow.commit()
                raise ZeroDivisionError
        assert diary.committed == list("abcd")
        assert diary.rolled_back == []

    @pytest.mark.parametrize("failing", "abcd")
    @pytest.mark.parametrize("where", ["end", "block"])
    async def test_one_that_fails(self, failing: str, where: str) -> None:
        error = ZeroDivisionError()
        diary = Diary(fails("commit", failing, error))
        at = "abcd".index(failing)
        with pytest.raises(CommitFailed) as info:
            async with routed(diary).flow(reader(BODY)) as flow:
                if where == "block":
                    await flow.commit()
        failed = info.value
        assert failed.__cause__ is error
        assert names(failed.committed) == list("abcd"[:at])
        assert failed.failed.part.name == failing
        assert names(failed.rolled_back) == list("abcd"[at + 1 :])
        assert failed.part is not None
        assert failed.part.name == failing
        assert diary.committed == list("abcd"[:at])
        # The handler that failed undoes its own; the rest follows in reverse.
        assert diary.rolled_back == [failing, *reversed("abcd"[at + 1 :])]

    async def test_one_that_fails_in_a_block_that_catches_it(self) -> None:
        diary = Diary(fails("commit", "b", KeyError()))
        async with routed(diary).flow(reader(BODY)) as flow:
            with pytest.raises(CommitFailed):
                await flow.commit()
        assert diary.committed == ["a"]
        assert diary.rolled_back == ["b", "d", "c"]

    @virtual_time
    async def test_each_has_a_deadline(self) -> None:
        async def step(what: str, name: str) -> None:
            if (what, name) == ("commit", "b"):
                await anyio.sleep_forever()
            if what == "commit":
                await anyio.sleep(COMMIT_TIMEOUT - 1)

        diary = Diary(step)
        start = anyio.current_time()
        with pytest.raises(CommitFailed) as info:
            await routed(diary).dispatch(reader(BODY))
        assert isinstance(info.value.__cause__, HandlerTimeout)
        assert anyio.current_time() - start == pytest.approx(2 * COMMIT_TIMEOUT - 1)
        assert diary.committed == ["a"]

    async def test_the_outer_cancellation_waits_from_the_first_on(self) -> None:
        async def step(what: str, name: str) -> None:
            if (what, name) == ("commit", "a"):
                scope.cancel()
            await checkpoint()

        diary = Diary(step)
        results: Results | None = None
        with anyio.CancelScope() as scope:
            results = await routed(diary).dispatch(reader(BODY))
        assert results is not None
        assert [h.value for h in results] == [b"a", b"b", b"c", b"d"]
        assert diary.committed == list("abcd")

    async def test_a_failed_commit_is_reported_though_the_caller_is_cancelled(self) -> None:
        async def step(what: str, name: str) -> None:
            if (what, name) == ("commit", "b"):
                scope.cancel()
                raise ZeroDivisionError

        diary = Diary(step)
        with anyio.CancelScope() as scope, pytest.raises(CommitFailed) as info:
            await routed(diary).dispatch(reader(BODY))
        assert names(info.value.committed) == ["a"]
        assert diary.rolled_back == ["b", "d", "c"]

    async def test_the_outer_cancellation_before_the_first(self) -> None:
        diary = Diary()
        with anyio.CancelScope() as scope:
            async with routed(diary).flow(reader(BODY)):
                scope.cancel()
        assert scope.cancelled_caught
        assert diary.committed == []
        assert diary.rolled_back == list("dcba")
        assert not any(isinstance(e, anyio.get_cancelled_exc_class()) for e in diary.reasons)


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


class TestTheBlock:
    """Rules 6 and 18."""

    async def test_its_exception_comes_out_untouched(self) -> None:
        for error in (KeyError("x"), ExceptionGroup("mine", [ValueError()]), BaseException("odd")):
            with pytest.raises(type(error)) as info:
                async with routed(Diary()).flow(reader(BODY)):
                    raise error
            assert info.value is error
            assert notes(error) == ""
            assert error.__context__ is None

    async def test_leaving_it_early_commits(self) -> None:
        diary = Diary()

        async def insert() -> bytes:
            async with routed(diary).flow(reader(BODY)) as flow:
                return bytes(flow.results["a"])

        assert await insert() == b"a"
        assert diary.committed == list("abcd")

    async def test_abort(self) -> None:
        diary = Diary()
        async with routed(diary).flow(reader(BODY)) as flow:
            await flow.abort()
            assert diary.rolled_back == list("dcba")
            with pytest.raises(RouteError, match="rolled back"):
                await flow.commit()
        assert diary.committed == []
        assert all(isinstance(e.__cause__, FlowAborted) for e in diary.reasons)

    async def test_abort_with_a_reason(self) -> None:
        diary = Diary()
        reason = KeyError()
        async with routed(diary).flow(reader(BODY)) as flow:
            await flow.abort(reason)
        assert all(e.__cause__ is reason for e in diary.reasons)

    async def test_a_parked_handler_that_raises_shows_at_its_end(self) -> None:
        """Rule 18: it has failed its part; the block itself is never cancelled."""
        go = anyio.Event()
        error = ZeroDivisionError()
        diary = Diary()
        router = Router()
        reached = False

        class Impatient:
            """Ends by itself while it waits: it cancels the task that is parked in it."""

            def __init__(self, part: Part) -> None:
                self.part = part

            async def __aenter__(self) -> None:
                self.tasks = anyio.create_task_group()
                await self.tasks.__aenter__()

                async def fail() -> None:
                    await go.wait()
                    raise error

                self.tasks.start_soon(fail)

            async def __aexit__(self, *args: object) -> None:
                try:
                    await self.tasks.__aexit__(*args)  # type: ignore[arg-type]
                except ExceptionGroup as group:
                    raise group.exceptions[0] from None

        router.add(Impatient, name="b")
        router.add(diary)
        with pytest.raises(ZeroDivisionError) as info:
            async with router.flow(reader(BODY)):
                go.set()
                for _ in range(10):
                    await checkpoint()
                reached = True
        assert reached
        assert info.value is error
        assert "in part 1 'b'" in notes(error)
        assert diary.committed == []
        assert diary.rolled_back == list("dca")

    async def test_a_parked_handler_that_swallows_its_end(self) -> None:
        go = anyio.Event()
        router = Router()

        @router.route()
        @asynccontextmanager
        async def leaves(part: Part) -> AsyncIterator[None]:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:

                    async def cancel() -> None:
                        await go.wait()
                        scope.cancel()

                    tasks.start_soon(cancel)
                    yield

        with pytest.raises(RouteError, match="ended before the flow had decided"):
            async with router.flow(reader(form(("a", b"")))):
                go.set()
                for _ in range(10):
                    await checkpoint()

    async def test_the_blocks_exception_beats_a_parked_failure(self) -> None:
        go = anyio.Event()
        router = Router()

        @router.route()
        @asynccontextmanager
        async def fails_later(part: Part) -> AsyncIterator[None]:
            async def fail() -> None:
                await go.wait()
                raise ValueError

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail)
                yield

        error = KeyError()
        with pytest.raises(KeyError) as info:
            async with router.flow(reader(BODY)):
                go.set()
                for _ in range(10):
                    await checkpoint()
                raise error
        assert info.value is error

    async def test_a_flow_is_entered_once(self) -> None:
        flow = routed(Diary()).flow(reader(BODY))
        with pytest.raises(RouteError, match="expected a flow that was entered"):
            _ = flow.results
        async with flow:
            with pytest.raises(RouteError, match="entered once"):
                await flow.__aenter__()

    async def test_an_unknown_epilogue(self) -> None:
        with pytest.raises(RouteError, match="epilogue='read' or 'ignore', got 'drop'"):
            Router().flow(reader(BODY), epilogue="drop")  # type: ignore[arg-type]


class TestDescriptors:
    """Rule 19."""

    async def test_64_may_be_held_open(self) -> None:
        asked: list[bool] = []
        router = Router()

        @router.route()
        @asynccontextmanager
        async def hold(part: Part) -> AsyncIterator[None]:
            asked.append(part.hold_descriptor())
            assert part.hold_descriptor() is asked[-1]  # asked twice, counted once
            yield

        async with router.flow(reader(form(*[("n", b"")] * 100))):
            assert asked.count(True) == 64
            assert asked.count(False) == 36

    async def test_they_come_back(self) -> None:
        asked: list[bool] = []
        router = Router()

        @router.route(name="one", on_error="collect")
        async def one(part: Part) -> None:
            asked.append(part.hold_descriptor())
            if part.index % 2:
                raise KeyError

        @router.route(name="two", on_error="collect")
        @asynccontextmanager
        async def two(part: Part) -> AsyncIterator[None]:
            asked.append(part.hold_descriptor())
            raise KeyError
            yield

        await router.dispatch(reader(form(*[("one", b""), ("two", b"")] * 150)))
        assert asked == [True] * 300

    async def test_inner_flows_share_them(self) -> None:
        asked: list[bool] = []
        inner = Router()

        @inner.route()
        @asynccontextmanager
        async def hold(part: Part) -> AsyncIterator[None]:
            asked.append(part.hold_descriptor())
            yield

        outer = Router()
        outer.add(lambda part: inner.flow(part.multipart()))
        many = [("n", b"")] * 40
        await outer.dispatch(reader(form(nested("x", *many), nested("y", *many))))
        assert asked.count(True) == 64


class TestFlowsOfFlows:
    """Rule 20: what commits before the outer flow does is refused."""

    BODY = form(nested("x", ("a", b"1"), ("b", b"2")), ("c", b"3"))

    async def refused(self, outer: Router, diary: Diary) -> None:
        outer.add(diary)
        with pytest.raises(RouteError, match="would commit before it: use Nested") as info:
            await outer.dispatch(reader(self.BODY))
        assert info.value.part is not None
        assert info.value.part.name == "x"
        assert diary.committed == []

    async def test_dispatch_in_one_phase(self) -> None:
        diary = Diary()
        inner, outer = routed(diary), Router()

        @outer.route(content_type="multipart/*")
        async def handle(part: Part) -> Results:
            return await inner.dispatch(part.multipart())

        await self.refused(outer, diary)

    async def test_flow_in_one_phase(self) -> None:
        diary = Diary()
        inner, outer = routed(diary), Router()

        @outer.route(content_type="multipart/*")
        async def handle(part: Part) -> Results:
            async with inner.flow(part.multipart()) as flow:
                return flow.results

        await self.refused(outer, diary)

    async def test_dispatch_in_two_phases(self) -> None:
        diary = Diary()
        inner, outer = routed(diary), Router()

        @outer.route(content_type="multipart/*")
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[Results]:
            yield await inner.dispatch(part.multipart())

        await self.refused(outer, diary)

    async def test_at_any_depth(self) -> None:
        """A reader of a part inside the part is no way around it."""
        diary = Diary()
        inner, outer = routed(diary), Router()

        @outer.route(content_type="multipart/*")
        async def handle(part: Part) -> None:
            async for within in part.multipart():
                await inner.dispatch(within.multipart())

        body = form(nested("x", nested("y", ("a", b"1"), boundary="deep")))
        with pytest.raises(RouteError, match="would commit before it"):
            await outer.dispatch(reader(body))
        assert diary.committed == []

    @pytest.mark.parametrize("phases", [1, 2])
    async def test_independent(self, phases: int) -> None:
        diary = Diary()
        inner, outer = routed(diary), Router()

        async def one(part: Part) -> Results:
            return await inner.dispatch(part.multipart(), independent=True)

        @asynccontextmanager
        async def two(part: Part) -> AsyncIterator[Results]:
            async with inner.flow(part.multipart(), independent=True) as flow:
                await flow.commit()
            yield flow.results

        outer.add(one if phases == 1 else two, content_type="multipart/*")
        outer.add(read)
        with pytest.raises(ZeroDivisionError):
            async with outer.flow(reader(self.BODY)) as flow:
                assert flow.results["x"]["a"] == b"1"
                assert diary.committed == ["a", "b"]
                raise ZeroDivisionError
        assert diary.rolled_back == []

    @pytest.mark.parametrize("ends_well", [True, False])
    async def test_flow_in_two_phases(self, ends_well: bool) -> None:
        diary = Diary()
        inner, outer = routed(diary), Router()

        @outer.route(content_type="multipart/*")
        @asynccontextmanager
        async def handle(part: Part) -> AsyncIterator[Results]:
            async with inner.flow(part.multipart()) as flow:
                yield flow.results

        outer.add(diary)
        if ends_well:
            await outer.dispatch(reader(self.BODY))
            assert diary.committed == ["a", "b", "c"]
        else:
            with pytest.raises(ZeroDivisionError):
                async with outer.flow(reader(self.BODY)):
                    raise ZeroDivisionError
            assert diary.rolled_back == ["c", "b", "a"]
            # The inner flow passes on what it was told, with the outer reason as the cause.
            reason = diary.reasons[-1].__cause__
            assert isinstance(reason, RolledBack)
            assert isinstance(reason.__cause__, ZeroDivisionError)

    async def test_an_inner_commit_that_fails(self) -> None:
        diary = Diary(fails("commit", "b", KeyError()))
        inner, outer = routed(diary), Router()
        outer.add(lambda part: inner.flow(part.multipart()), content_type="multipart/*")
        outer.add(diary)
        with pytest.raises(CommitFailed) as info:
            await outer.dispatch(reader(self.BODY))
        assert info.value.committed == ()
        assert isinstance(info.value.__cause__, CommitFailed)
        assert names(info.value.__cause__.committed) == ["a"]
        assert diary.committed == ["a"]
        assert diary.rolled_back == ["b", "c"]


class TestInterrupted:
    """Rule 16, for what knows no shields: asyncio's own `cancel()`, and KeyboardInterrupt."""

    @pytest.fixture(params=["asyncio", "uvloop"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> object:
        return "asyncio", {"use_uvloop": request.param == "uvloop"}

    @pytest.mark.parametrize("times", [1, 3])
    @pytest.mark.parametrize("at", ["a", "b", "d"])
    async def test_a_commit_goes_on(self, at: str, times: int) -> None:
        async def step(what: str, name: str) -> None:
            if what == "commit" and name >= at:
                for _ in range(times):
                    task.cancel()
                    await checkpoint()
                    await checkpoint()

        diary = Diary(step)
        task = asyncio.create_task(routed(diary).dispatch(reader(BODY)))
        with pytest.raises(asyncio.CancelledError) as info:
            await task
        assert diary.committed == list("abcd")
        assert "4 parts were committed" in notes(info.value)

    async def test_a_failed_commit_is_reported(self) -> None:
        async def step(what: str, name: str) -> None:
            if what != "stage":
                task.cancel()
                await checkpoint()
                await checkpoint()
            if (what, name) == ("commit", "b"):
                raise KeyError

        diary = Diary(step)
        task = asyncio.create_task(routed(diary).dispatch(reader(BODY)))
        with pytest.raises(CommitFailed):
            await task
        assert diary.committed == ["a"]
        assert diary.rolled_back == ["b", "d", "c"]

    async def test_a_rollback_goes_on(self) -> None:
        async def step(what: str, name: str) -> None:
            if what == "rollback":
                task.cancel()
                await checkpoint()
                await checkpoint()

        diary = Diary(step)

        async def fail() -> None:
            async with routed(diary).flow(reader(BODY)):
                raise ZeroDivisionError

        task = asyncio.create_task(fail())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert diary.rolled_back == list("dcba")

    async def test_while_the_failure_is_found(self) -> None:
        """Cancelled in each of the passes between a failure and its end."""
        for passes in range(12):
            diary = Diary()
            router = Router()
            router.add(diary, name="a")

            @router.route()
            async def fail(part: Part) -> None:
                raise ZeroDivisionError

            task = asyncio.create_task(router.dispatch(reader(BODY)))
            for _ in range(passes):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises((asyncio.CancelledError, ZeroDivisionError)):
                await task
            diary.check()
            assert diary.committed == []

    async def test_a_timeout_of_asyncios_own(self) -> None:
        diary = Diary()
        router = Router()
        router.add(diary, name="a")

        @router.route()
        async def slow(part: Part) -> None:
            await anyio.sleep_forever()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await router.dispatch(reader(BODY))
        assert diary.rolled_back == ["a"]


@pytest.mark.parametrize("what", ["commit", "rollback"])
def test_ctrl_c_on_trio(what: str) -> None:
    """The caller's task gets it while it waits for the second phase: that goes on to its end."""
    import signal

    import trio

    async def step(doing: str, name: str) -> None:
        if (doing, name) == (what, "b"):
            signal.raise_signal(signal.SIGINT)
            for _ in range(5):
                await checkpoint()

    diary = Diary(step)

    async def main() -> None:
        async with routed(diary).flow(reader(BODY)):
            if what == "rollback":
                raise ZeroDivisionError

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, restrict_keyboard_interrupt_to_checkpoints=True)
    assert diary.committed + diary.rolled_back == list("abcd" if what == "commit" else "dcba")


async def test_the_fields_of_a_part_that_was_staged(tmp_path: object) -> None:
    """Results are there in the block, with sizes, and stay the same objects after it."""
    diary = Diary()
    checks: list[Callable[[], bool]] = []
    async with routed(diary).flow(reader(form(Field("f", b"123", filename="x.bin")))) as flow:
        results = flow.results
        checks.append(lambda: flow.results is results)
        assert results["f"] == b"123"
        assert [h.part.size for h in results] == [3]
        assert [h.part.filename for h in results] == ["x.bin"]
    assert all(check() for check in checks)
