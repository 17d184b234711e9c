"""`Save` when the system fails, and when it is cancelled: at each call, at each wait.

Knows: that a file is there whole or not at all. Must not know: which calls there are.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import uvloop

from mpflow import RouteError
from mpflow_handlers import Save, Saved, cleanup, syscalls
from mpflow_handlers.batches import BATCH_BYTES
from tests.handlers.support import (
    Pieces,
    Seam,
    descriptors,
    names,
    opened_since,
    part_of,
    stage,
)

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * (BATCH_BYTES * 5 // 2 // 256)  # three batches
PIECES = [DATA[start : start + 65536] for start in range(0, len(DATA), 65536)]

HOLDS = pytest.mark.parametrize("hold", [True, False], ids=["held", "closed"])
NAMELESS = pytest.mark.parametrize("nameless", [True, False], ids=["nameless", "temporary"])

Before = Callable[[int, str], None]


class Trial:
    """Saves `DATA` as `a` again and again, each time with other trouble."""

    def __init__(
        self, directory: Path, patch: pytest.MonkeyPatch, *, nameless: bool, hold: bool
    ) -> None:
        self.directory = directory
        self._patch = patch
        self._nameless = nameless
        self._hold = hold
        self._save = Save(directory, "a", digests=("md5",))
        self.done = False
        self.saved: Saved | None = None
        self.system = Seam()

    async def run(
        self, before: Before = lambda call, name: None, body: Pieces | None = None
    ) -> None:
        """Saves once; `done` tells whether the handler says that it did."""
        self.done = False
        self.system = Seam(before, nameless=self._nameless)
        self._patch.setattr(syscalls, "system", self.system)
        self.saved = None
        async with self._save(part_of(body or PIECES, hold=self._hold)) as self.saved:
            pass
        self.done = True

    @property
    def committed(self) -> bool:
        """Whether what the handler gave tells where the file is."""
        try:
            return self.saved is not None and self.saved.path.parent == self.directory
        except RouteError:
            return False

    def check(self, *, saved: bool) -> None:
        """The file is there and whole where it was saved, else there is nothing."""
        assert names(self.directory) == (["a"] if saved else [])
        if saved:
            assert (self.directory / "a").read_bytes() == DATA
            (self.directory / "a").unlink()
        assert not self.system.overlaps

    async def calls(self) -> int:
        """How many calls one goes through that nothing happens to."""
        await self.run()
        self.check(saved=True)
        return len(self.system.calls)


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool, hold: bool) -> Trial:
    return Trial(tmp_path, monkeypatch, nameless=nameless, hold=hold)


async def failure(run: Awaitable[None]) -> OSError | None:
    try:
        await run
    except OSError as error:
        return error
    return None


# -- the system fails -------------------------------------------------------------------------


@HOLDS
@NAMELESS
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=os.strerror)
async def test_each_call_fails(trial: Trial, number: int) -> None:
    total = await trial.calls()
    before = descriptors()
    for failing in range(1, total + 1):

        def fail(call: int, name: str, failing: int = failing) -> None:
            if call == failing:
                raise OSError(number, os.strerror(number))

        error = await failure(trial.run(fail))
        if error is not None:
            assert error.errno == number
            assert str(trial.directory) in str(error)
            assert not hasattr(error, "__notes__")
        # Only closing may fail without consequence: all was synced before.
        assert trial.done == (trial.system.calls[failing - 1] == "close")
        trial.check(saved=trial.done)
        assert opened_since(before) == []


@HOLDS
@NAMELESS
async def test_all_calls_fail_from_one_on(trial: Trial) -> None:
    """A disk that is gone for good: no name is final, no descriptor is left, and it is said."""
    total = await trial.calls()
    before = descriptors()
    for failing in range(1, total + 1):

        def fail(call: int, name: str, failing: int = failing) -> None:
            if call >= failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        error = await failure(trial.run(fail))
        left = names(trial.directory)
        if error is None:
            assert set(trial.system.calls[failing - 1 :]) == {"close"}
        elif left:
            assert "may be left" in error.__notes__[0]
        for name in left:
            assert name.startswith(".mpflow-") or (trial.directory / name).read_bytes() == DATA
            (trial.directory / name).unlink()
        assert opened_since(before) == []


@pytest.mark.parametrize("nameless", [True])
@pytest.mark.parametrize("hold", [True])
async def test_a_failed_sync_is_not_tried_again(trial: Trial) -> None:
    def fail(call: int, name: str) -> None:
        if name == "fsync":
            raise OSError(errno.EIO, "injected")

    with pytest.raises(OSError, match="injected"):
        await trial.run(fail)
    assert trial.system.calls.count("fsync") == 1
    trial.check(saved=False)


@pytest.mark.parametrize("nameless", [True])
@pytest.mark.parametrize("hold", [True])
async def test_a_file_system_that_syncs_no_directories(trial: Trial) -> None:
    def fail(call: int, name: str) -> None:
        if name == "fsync" and trial.system.calls.count("fsync") == 2:
            raise OSError(errno.EINVAL, "injected")

    await trial.run(fail)
    trial.check(saved=True)


@pytest.mark.parametrize("nameless", [True, False])
@pytest.mark.parametrize("hold", [True])
async def test_a_write_that_writes_nothing_ends(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Seam, "writev", lambda self, fd, buffers: 0)
    with pytest.raises(OSError, match="not a byte was written"):
        await trial.run()
    trial.check(saved=False)


@HOLDS
@NAMELESS
async def test_a_file_that_lost_bytes_is_not_published(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lie(self: Seam, fd: int, buffers: list[bytes]) -> int:
        return sum(map(len, buffers))

    monkeypatch.setattr(Seam, "writev", lie)
    with pytest.raises(OSError, match=f"expected a file of {len(DATA)} bytes, got 0"):
        await trial.run()
    trial.check(saved=False)


# -- cancellation -----------------------------------------------------------------------------


def passes() -> None:
    """From a worker thread: let the event loop go on for a while."""
    for _ in range(10):
        anyio.from_thread.run(anyio.lowlevel.cancel_shielded_checkpoint)


class Cancelled:
    """One trial, cancelled at a point: `seen` tells how many points it came to.

    A point is a call to the system, with the cancellation seen while it is under way, and each
    time that the body is awaited.
    """

    def __init__(self, trial: Trial, point: int) -> None:
        self._trial = trial
        self._point = point
        self.seen = 0

    async def run(self, cancel: Callable[[], object]) -> None:
        def receive() -> None:
            self.seen += 1
            if self.seen == self._point:
                cancel()

        def call(number: int, name: str) -> None:
            self.seen += 1
            if self.seen == self._point:
                anyio.from_thread.run_sync(cancel)
                passes()

        await self._trial.run(call, Pieces(PIECES, on_receive=receive))


@HOLDS
@NAMELESS
async def test_cancelled_at_each_point(trial: Trial) -> None:
    await trial.calls()
    before = descriptors()
    for point in range(1, 1000):
        cancelled = Cancelled(trial, point)
        with anyio.CancelScope() as scope:
            await cancelled.run(scope.cancel)
        # Whatever the moment: it says that the file is saved if, and only if, it is.
        assert trial.committed == trial.done
        trial.check(saved=trial.done)
        assert opened_since(before) == []
        if cancelled.seen < point:
            break
    assert trial.done
    assert 30 < point < 100


@HOLDS
@NAMELESS
@pytest.mark.parametrize(
    "loop",
    [
        pytest.param(asyncio.new_event_loop, id="asyncio"),
        pytest.param(uvloop.new_event_loop, id="uvloop"),
    ],
)
def test_a_task_of_asyncio_cancelled_at_each_point(
    trial: Trial, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Not by a scope of anyio: such a cancellation does not wait for the thread."""

    async def cancelled_once(cancelled: Cancelled) -> None:
        me = asyncio.current_task()
        assert me is not None
        await cancelled.run(me.cancel)

    async def main() -> None:
        await trial.calls()
        before = descriptors()
        for point in range(1, 1000):
            cancelled = Cancelled(trial, point)
            task = asyncio.create_task(cancelled_once(cancelled))
            await asyncio.wait([task])
            assert task.cancelled() or task.exception() is None
            # A commit that has begun is finished, though nobody waits for it.
            trial.check(saved=trial.committed)
            assert trial.committed or not trial.done
            assert opened_since(before) == []
            if cancelled.seen < point:
                break
        assert trial.done
        assert 30 < point < 100

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@HOLDS
@NAMELESS
async def test_cancelled_before_it_begins(trial: Trial) -> None:
    before = descriptors()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await trial.run()
    assert scope.cancelled_caught
    trial.check(saved=False)
    assert opened_since(before) == []


@HOLDS
@NAMELESS
async def test_a_rollback_needs_no_thread_of_the_others(trial: Trial) -> None:
    limiter = anyio.to_thread.current_default_thread_limiter()

    def fail() -> None:
        for number in range(int(limiter.available_tokens)):
            limiter.acquire_on_behalf_of_nowait(number)
        assert limiter.available_tokens == 0
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stage(Save(trial.directory, "a"), part_of(b"x", hold=False), fail)
    trial.check(saved=False)


@HOLDS
@NAMELESS
async def test_a_cleanup_that_gets_no_time_leaves_nothing(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()
    monkeypatch.setattr(cleanup, "_CLEANUP", 0.0)
    with anyio.CancelScope() as scope:
        await stage(Save(trial.directory, "a"), part_of(Pieces(PIECES, on_receive=scope.cancel)))
    assert scope.cancelled_caught
    trial.check(saved=False)
    assert opened_since(before) == []
