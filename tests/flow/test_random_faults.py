"""A random flow under a random fault leaves nothing: no file, row, object, task or descriptor.

Knows: what may go wrong, and where. Must not know: any single rule of a flow.

Each random flow runs once without a fault; that tells how many steps, calls and checkpoints there
are. Then it runs once for each of them, and fails, runs out of disk, loses its client or is
cancelled there.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import attrs
import pytest
import trio

from mpflow import CommitFailed, MultipartError, Part, Results
from mpflow.flow.channel import Channel
from mpflow.flow.record import Record
from mpflow.spool import Spool
from mpflow_handlers import Saved, Stored
from mpflow_handlers.kept import Kept
from mpflow_handlers.staging import Staged
from mpflow_handlers.uploads import Upload
from tests.flow.faults import COUNTING, Boom, Fault, in_the_way
from tests.flow.random_flows import Level, Plan, Shop
from tests.flow.support import reader
from tests.handlers.support import descriptors, opened_since

FAULTS = 1100
"""Faults that a backend has to stand in the ordinary tier, at least."""
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
"""Whether each checkpoint is cancelled at, of as many flows as there are faults for."""
WARM = 10
"""Flows that run before anything is counted: what is opened once is open then."""
PATIENCE = 20.0
"""Seconds of real time after which a flow counts as hung, or what is left of it as a leak."""
KEPT = (Part, Record, Channel, Spool, Staged, Kept, Upload)
"""What holds bytes, files or tasks of a flow: none of them may be alive after it."""


pytestmark = [
    pytest.mark.anyio,
    pytest.mark.hypothesis,  # as random as those: `nox -s fuzz` runs it for longer
    pytest.mark.parametrize("anyio_backend", COUNTING, indirect=True),
]


def values(value: object) -> Iterator[object]:
    """What handlers gave, of all levels."""
    if isinstance(value, Results):
        for item in value:
            yield from values(item.value)
    elif isinstance(value, tuple):
        for item in value:
            yield from values(item)
    else:
        yield value


def names_of(found: Iterable[object]) -> tuple[list[str], list[str]]:
    """The files and the objects that were committed."""
    files, objects = [], []
    for value in found:
        if isinstance(value, Saved) and value._is_committed:
            files.append(value.name)
        if isinstance(value, Stored) and value._is_committed:
            objects.append(value.key)
    return sorted(files), sorted(objects)


async def upload(plan: Plan, shop: Shop, fault: Fault, database: sqlite3.Connection) -> Results:
    """One upload: all of the plan, and a row for each file in the caller's own transaction."""
    source = fault.chunks(plan.body, plan.chunk)
    async with shop.router(plan.level).flow(reader(source), given={}) as flow:
        await fault.step()
        database.execute("begin")
        try:
            for value in values(flow.results):
                if isinstance(value, Saved):
                    database.execute("insert into file values (?)", [value.name])
                    await fault.step()
            with anyio.CancelScope(shield=True):
                await flow.commit()
                database.execute("commit")
        finally:
            if database.in_transaction:
                database.execute("rollback")
    return flow.results


def rows_of(database: sqlite3.Connection) -> list[str]:
    return sorted(name for (name,) in database.execute("select name from file"))


@attrs.define(eq=False)
class Trials:
    """Runs flows under faults, and looks at what is left."""

    directory: Path
    patch: pytest.MonkeyPatch
    faults: Counter[str] = attrs.field(factory=Counter[str])
    checkpoints: int = 0
    flows: int = 0

    async def run(self, plan: Plan, fault: Fault) -> None:
        """One flow under one fault."""
        shop = Shop(self.directory, fault.step)
        database = sqlite3.connect(":memory:", isolation_level=None)
        database.execute("create table file (name text primary key)")
        tasks, before = count_tasks(), descriptors()
        results: Results | None = None
        failure: BaseException | None = None
        watched = in_the_way(fault, self.patch, nameless=plan.nameless)
        with anyio.fail_after(PATIENCE), watched, fault.scope:
            try:
                results = await upload(plan, shop, fault, database)
            except (Boom, OSError, MultipartError, sqlite3.Error) as error:
                failure = error
        self.check(plan, fault, shop, database, results, failure)
        database.close()
        if self.flows >= WARM:
            await settled(tasks, before)
        for path in self.directory.iterdir():
            path.unlink()
        self.flows += 1
        self.checkpoints += fault.seen["cancel"]
        self.faults[fault.kind] += fault.hit

    def check(
        self,
        plan: Plan,
        fault: Fault,
        shop: Shop,
        database: sqlite3.Connection,
        results: Results | None,
        failure: BaseException | None,
    ) -> None:
        files, objects, rows = shop.stored()
        what = f"{fault.kind} {fault.at} of {plan}: {failure!r}"
        assert shop.running == 0, what
        assert fault.hit or failure is None, what
        if results is not None:
            # All of it; whatever went wrong came too late, or hurt nobody.
            assert failure is None
            assert (files, objects) == names_of(values(results)), what
            assert rows_of(database) == files
            assert len(rows) == count(plan.level, {"row", "tee", "teed"}), what
            return
        assert rows_of(database) == [], what
        if isinstance(failure, CommitFailed):
            assert fault.kind in ("handler", "disk"), what
            items = [*failure.committed, failure.failed, *failure.rolled_back]
            kept = names_of(it for item in items for it in values(item.value))
            assert (files, objects) == kept, what
            return
        assert (files, objects, rows) == ([], [], []), what
        if fault.kind == "cancel":
            assert fault.scope.cancelled_caught, what
        else:
            assert failure is not None, what


def count(level: Level, kinds: set[str]) -> int:
    """How many parts of those kinds there are, at all levels."""
    return sum(
        count(part, kinds) if isinstance(part, Level) else part.kind in kinds
        for part in level.parts
    )


def count_tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return trio.lowlevel.current_statistics().tasks_living


async def settled(tasks: int, before: frozenset[tuple[int, int, int]]) -> None:
    """No task is left at once, and no descriptor once the threads are done that were let go."""
    assert count_tasks() == tasks
    with anyio.fail_after(PATIENCE):
        while opened_since(before):  # noqa: ASYNC110 - nobody tells when a thread ends
            await anyio.sleep(0.001)


async def forgotten() -> None:
    """Nothing is kept of the flows before, once their threads are done."""
    with anyio.fail_after(PATIENCE):
        while True:
            gc.collect()
            left = Counter(type(it).__name__ for it in gc.get_objects() if isinstance(it, KEPT))
            if not left:
                return
            await anyio.sleep(0.01)


def places(seen: Counter[str]) -> Iterator[tuple[str, int]]:
    """Each place where the flow can be hurt; of the very many, as many as there is time for."""
    for kind, total in sorted(seen.items()):
        most = total if LONG else 25
        for number in range(most if total > most else total):
            yield kind, 1 + number * total // min(most, total)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: nothing of this is about disks."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as name:
        yield Path(name)


async def test_nothing_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = Trials(folder, monkeypatch)
    for seed in range(WARM):
        await trials.run(Plan.of(seed), Fault())
    gc.collect()
    gc.freeze()
    try:
        seed = 0
        while trials.faults.total() < FAULTS * (10 if LONG else 1):
            plan, calm = Plan.of(seed), Fault()
            await trials.run(plan, calm)
            assert not calm.hit
            for kind, at in places(calm.seen):
                await trials.run(plan, Fault(kind, at))
            await forgotten()
            seed += 1
    finally:
        gc.unfreeze()
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted((+trials.faults).items()))
    print(
        f"{seed} random flows stood {trials.faults.total()} faults ({kinds}); "
        f"{trials.flows} runs came to {trials.checkpoints} checkpoints"
    )
    assert trials.checkpoints > 50 * FAULTS
    assert {"cancel", "cut", "disk", "handler", "source"} <= trials.faults.keys()
