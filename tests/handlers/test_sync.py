"""`SyncHandler`: a part as a file in a worker thread.

Knows: what a function may do with a file, and what may happen to it meanwhile.
Must not know: how bytes get from an event loop to a thread.
"""

from __future__ import annotations

import asyncio
import csv
import errno
import gc
import gzip
import hashlib
import io
import tarfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from mpflow import (
    InvalidContent,
    MultipartError,
    MultipartReader,
    Part,
    PartInfo,
    RouteError,
    Router,
    TruncatedBody,
    testing,
)
from mpflow.testing import Bytewise, PartSpec, Slow, body, content_type_of
from mpflow_handlers import Json, Save, SyncHandler, Tee, sync
from mpflow_handlers.inflow import Inflow, InflowFile
from tests.clock import GRACE, virtual_time
from tests.handlers.support import Pieces, names, part_of

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 5000
KIND = content_type_of()
CHUNKS = [DATA[start : start + 50_000] for start in range(0, len(DATA), 50_000)]


def whole(file: io.BufferedReader, info: PartInfo) -> bytes:
    return file.read()


class Stuck:
    """A body that does not go on after its pieces, and tells when it is waited for."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.awaited = anyio.Event()

    async def receive(self) -> bytes:
        await checkpoint()
        if self._pieces:
            return self._pieces.pop(0)
        self.awaited.set()
        await anyio.sleep_forever()
        raise AssertionError


def stuck_part(stuck: Stuck) -> Part:
    made = part_of([b""])
    made._body = stuck
    return made


# -- the file ---------------------------------------------------------------------------------


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=50), max_size=20),
    sizes=st.lists(st.one_of(st.just(-1), st.integers(0, 80)), min_size=1, max_size=20),
)
async def test_however_it_is_cut_and_read(pieces: list[bytes], sizes: list[int]) -> None:
    model = io.BytesIO(b"".join(pieces))
    expected = [model.read(size) for size in sizes]

    def read(file: io.BufferedReader, info: PartInfo) -> list[bytes]:
        return [file.read(size) for size in sizes]

    assert await SyncHandler(read)(part_of(pieces)) == expected


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=len)
async def test_whole_in_hand(data: bytes) -> None:
    assert await SyncHandler(whole)(part_of(data)) == data


async def test_more_than_may_wait() -> None:
    pieces = [bytes([i]) * 65536 for i in range(40)]
    assert await SyncHandler(whole)(part_of(pieces)) == b"".join(pieces)
    lines = SyncHandler(lambda file, info: sum(1 for _ in file))
    assert await lines(part_of([b"line\n" * 10_000] * 40)) == 400_000


async def test_it_is_a_plain_file_in_another_thread() -> None:
    def look(file: io.BufferedReader, info: PartInfo) -> io.BufferedReader:
        assert threading.get_ident() != loop
        assert isinstance(file, io.BufferedReader)
        assert (file.readable(), file.writable(), file.seekable()) == (True, False, False)
        assert (info.name, info.filename) == ("f", "f.bin")
        with pytest.raises(io.UnsupportedOperation):
            file.seek(0)
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"")
        assert file.raw.readinto(bytearray()) == 0
        assert file.peek(1)
        assert file.read(3) == DATA[:3]
        return file

    loop = threading.get_ident()
    file = await SyncHandler(look)(part_of(CHUNKS))
    assert file.closed
    for read in (file.read, file.raw.readall, file.peek):
        with pytest.raises(ValueError, match="closed"):
            read()


async def test_a_function_may_close_it() -> None:
    def close(file: io.BufferedReader, info: PartInfo) -> bytes:
        with file:
            return file.read(5)

    assert await SyncHandler(close)(part_of(CHUNKS)) == DATA[:5]


async def test_it_comes_while_it_arrives() -> None:
    seen: list[int] = []

    class Lockstep(Pieces):
        async def receive(self) -> bytes:
            if self.received:
                # The next piece comes only when the function has read the one before.
                await to_thread.run_sync(read.acquire)
            return await super().receive()

    def by_piece(file: io.BufferedReader, info: PartInfo) -> int:
        while data := file.read1():
            seen.append(len(data))
            read.release()
        return len(seen)

    read = threading.Semaphore(0)
    assert await SyncHandler(by_piece)(part_of(Lockstep([b"a" * 5, b"b" * 6]))) == 2
    assert seen == [5, 6]


async def test_codings_as_save_undoes_them() -> None:
    headers = {"Content-Transfer-Encoding": "base64", "Content-Encoding": "gzip"}
    assert await SyncHandler(whole)(part_of(b"c29tZQ==", headers=headers)) == b"some"


# -- text -------------------------------------------------------------------------------------


def table(file: io.TextIOWrapper, info: PartInfo) -> list[list[str]]:
    return list(csv.reader(file))


async def test_csv() -> None:
    text = 'größe,"two\r\nlines"\r\n1,2\n3,"4"\r\n'
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == ["größe", "two\r\nlines"]
    for charset in ("utf-8", "utf-8-sig", "latin-1", "utf-16"):
        data = text.encode(charset)
        pieces = [data[i : i + 1] for i in range(len(data))]
        told = "utf-8" if charset == "utf-8-sig" else charset
        part = part_of(pieces, content_type=f"text/csv; charset={told}")
        assert await SyncHandler(table, text=True)(part) == rows
        assert await SyncHandler(table, text=True, encoding=charset)(part_of(pieces)) == rows
    part = part_of("größe".encode("latin-1"), charset="latin-1")
    assert await SyncHandler(table, text=True)(part) == [["größe"]]


async def test_text_has_no_codings() -> None:
    router = Router()
    route = router.add(SyncHandler(table, text=True), name="f")
    spec = PartSpec(gzip.compress(b"a,b"), name="f", headers={"Content-Encoding": "gzip"})
    reader = MultipartReader(body([spec]), content_type_of().replace("form-data", "mixed"))
    assert (await router.dispatch(reader))[route] == [["a", "b"]]


async def test_what_is_no_text() -> None:
    with pytest.raises(InvalidContent, match=r"expected text in utf-8, got '.xff'") as caught:
        await SyncHandler(table, text=True)(part_of(b"a\xff"))
    assert caught.value.status == 422
    assert caught.value.part is not None
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)
    binary = SyncHandler(lambda file, info: file.read().decode())  # a codec of its own
    with pytest.raises(UnicodeDecodeError):
        await binary(part_of(b"\xff"))
    called: list[object] = []
    part = part_of(b"", content_type="text/csv; charset=none-such")
    with pytest.raises(InvalidContent, match="expected a known charset, got 'none-such'"):
        await SyncHandler(lambda file, info: called.append(file), text=True)(part)
    assert called == []


# -- how it ends ------------------------------------------------------------------------------


async def test_it_may_end_early() -> None:
    router = Router(max_handlers=1)
    first = router.add(SyncHandler(lambda file, info: file.read(3)), name="f")
    router.add(Json(), name="g")
    data = body([("f", DATA), ("g", "5"), ("f", DATA[1:])])
    results = await router.dispatch(MultipartReader(data, content_type_of()))
    assert results.all(first) == [DATA[:3], DATA[1:4]]
    assert results["g"] == 5


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("mine"), OSError(errno.EIO, "a disk"), EOFError(), SystemExit(3)]
)
async def test_its_exception_goes_on_as_it_is(error: BaseException) -> None:
    def fail(file: io.BufferedReader, info: PartInfo) -> None:
        file.read(10)
        raise error

    router = Router()
    router.add(SyncHandler(fail), name="f")
    for call in (
        partial(SyncHandler(fail), part_of(CHUNKS)),
        partial(router.dispatch, MultipartReader(body([("f", DATA)]), content_type_of())),
    ):
        with pytest.raises(type(error)) as caught:
            await call()  # type: ignore[operator]
        assert caught.value is error
    if isinstance(error, Exception):
        assert "in part 0 'f', handled by" in error.__notes__[0]


async def test_a_stop_iteration_is_told_as_a_cause() -> None:
    def stop(file: io.BufferedReader, info: PartInfo) -> object:
        return next(iter(()))

    with pytest.raises(RuntimeError, match="the function raised StopIteration") as caught:
        await SyncHandler(stop)(part_of(b""))
    assert isinstance(caught.value.__cause__, StopIteration)


async def test_what_has_only_begun_when_it_returns() -> None:
    async def coroutine() -> None:
        raise AssertionError

    functions: list[Callable[..., object]] = [
        lambda file, info: coroutine(),
        lambda file, info: (line for line in file),
    ]
    for function in functions:
        with pytest.raises(RouteError, match="has read the part when it returns, got a"):
            await SyncHandler(function)(part_of(b"a"))
    # An iterator of what was read is none of those.
    assert list(await SyncHandler(lambda file, info: iter([file.read()]))(part_of(b"a"))) == [b"a"]


async def test_a_cut_body_never_looks_whole() -> None:
    cut = TruncatedBody("cut")
    seen: list[OSError] = []

    def read(file: io.BufferedReader, info: PartInfo) -> str:
        for _ in range(2):
            with pytest.raises(OSError, match="the rest of the part does not come: cut") as caught:
                file.read()
            seen.append(caught.value)
        return "all is well"

    with pytest.raises(TruncatedBody) as raised:
        await SyncHandler(read)(part_of(Pieces([b"some", b"more"], error=cut)))
    assert raised.value is cut
    assert [(error.errno, error.__cause__) for error in seen] == [(errno.EIO, cut)] * 2


async def test_what_is_wrong_past_its_end_is_not_its_concern() -> None:
    first = SyncHandler(lambda file, info: file.read1(4))
    assert await first(part_of(Pieces([b"some"], error=TruncatedBody("cut")))) == b"some"


async def test_a_cut_body_in_a_flow(tmp_path: Path) -> None:
    router = Router()
    router.add(Tee(Save(tmp_path), SyncHandler(whole)), name="f")
    reader = MultipartReader(Bytewise(body([("f", DATA)])[:2000]), content_type_of())
    with pytest.raises(TruncatedBody):
        await router.dispatch(reader)
    assert names(tmp_path) == []


# -- time -------------------------------------------------------------------------------------


def read_in_a_thread(file: io.BufferedReader, info: PartInfo) -> bytes:
    read: list[bytes] = []

    def work() -> None:
        with suppress(OSError):  # the part is over
            read.append(file.read())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return b"".join(read)


@virtual_time
@pytest.mark.parametrize("function", [whole, read_in_a_thread])
@pytest.mark.parametrize("limited", [False, True])
async def test_virtual_time_runs_while_it_waits_for_bytes(function: Any, limited: bool) -> None:
    router = Router()
    limiter = anyio.CapacityLimiter(1) if limited else None
    router.add(SyncHandler(function, limiter=limiter), key="f")
    start = anyio.current_time()
    data = body([("f", DATA[:100_000])])
    results = await router.dispatch(MultipartReader(Slow(data, 30_000, seconds=10), KIND))
    assert results["f"] == DATA[:100_000]
    passed = anyio.current_time() - start
    assert passed >= 30
    stuck = testing.Stuck(data, 50_000)
    hasty = Router()
    hasty.add(SyncHandler(function, limiter=limiter), timeout=100)
    with pytest.raises(MultipartError):
        await hasty.dispatch(MultipartReader(stuck, KIND))
    assert anyio.current_time() - start > passed


@virtual_time
async def test_virtual_time_stands_still_while_it_computes() -> None:
    start = anyio.current_time()

    def compute(file: io.BufferedReader, info: PartInfo) -> bool:
        file.read()
        return threading.Event().wait(50 * GRACE)  # in real time

    with anyio.fail_after(3600):
        handler = SyncHandler(compute)
        assert await handler(part_of([b"some", b"more"])) is False
        assert anyio.current_time() == start


# -- cancellation -----------------------------------------------------------------------------


async def test_cancelled_while_it_waits_for_bytes() -> None:
    seen: list[OSError] = []

    def read(file: io.BufferedReader, info: PartInfo) -> None:
        try:
            file.read()
        except OSError as error:
            seen.append(error)
            raise

    for pieces in ((), (b"some",)):
        stuck = Stuck(*pieces)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(SyncHandler(read), stuck_part(stuck))
            await stuck.awaited.wait()
            tasks.cancel_scope.cancel()
    assert [error.errno for error in seen] == [errno.ECANCELED] * 2


async def test_cancelled_while_it_computes() -> None:
    started, go = anyio.Event(), threading.Event()
    steps: list[str] = []

    def compute(file: io.BufferedReader, info: PartInfo) -> None:
        file.read(1)
        call_soon(started.set)
        go.wait()
        steps.append("computed")
        try:
            file.read(1_000_000)
        except OSError as error:
            steps.append(errno.errorcode[error.errno or 0])

    def call_soon(function: Callable[[], object]) -> None:
        anyio.from_thread.run_sync(function)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(SyncHandler(compute), part_of(CHUNKS))
        await started.wait()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for _ in range(20):
                await checkpoint()
        assert steps == []  # it is waited for
        go.set()
    assert steps == ["computed", "ECANCELED"]


async def test_cancelled_it_keeps_its_place_until_it_ends() -> None:
    limiter, started, go = anyio.CapacityLimiter(1), anyio.Event(), threading.Event()
    steps: list[str] = []

    def compute(file: io.BufferedReader, info: PartInfo) -> None:
        file.read()
        steps.append(f"{info.name} begins")
        if info.name == "first":
            anyio.from_thread.run_sync(started.set)
            go.wait()
        steps.append(f"{info.name} ends")

    router = Router()
    router.add(SyncHandler(compute, limiter=limiter))

    async def dispatch(name: str) -> None:
        await router.dispatch(MultipartReader(body([(name, b"some")]), content_type_of()))

    waiting = 0
    async with anyio.create_task_group() as tasks, anyio.create_task_group() as cancelled:
        cancelled.start_soon(dispatch, "first")
        await started.wait()
        tasks.start_soon(dispatch, "second")
        cancelled.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for _ in range(50):
                await checkpoint()
            waiting = limiter.statistics().tasks_waiting
        go.set()
    assert waiting == 1
    assert steps == ["first begins", "first ends", "second begins", "second ends"]
    assert limiter.borrowed_tokens == 0


async def test_cancelled_at_each_checkpoint() -> None:
    threads, nth, done = threading.active_count(), 0, False
    limiter = anyio.CapacityLimiter(1)
    while not done:
        nth += 1
        with anyio.CancelScope() as scope:
            count = 0

            def step(scope: anyio.CancelScope = scope, nth: int = nth) -> None:
                nonlocal count
                count += 1
                if count == nth:
                    scope.cancel()

            part = part_of(Pieces(CHUNKS, on_receive=step))
            assert await SyncHandler(whole, limiter=limiter)(part) == DATA
            done = not scope.cancel_called
        assert limiter.borrowed_tokens == 0
    assert nth >= len(CHUNKS)
    assert threading.active_count() <= threads + 2  # idle workers of the event loop


async def test_cancelled_before_it_began() -> None:
    called: list[object] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await SyncHandler(lambda file, info: called.append(file))(part_of(CHUNKS))
    assert called == []


@pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
async def test_cancelled_behind_the_back_of_anyio() -> None:
    ended = threading.Event()

    def read(file: io.BufferedReader, info: PartInfo) -> None:
        try:
            file.read()
        finally:
            ended.set()

    stuck = Stuck(b"some")
    task = asyncio.create_task(SyncHandler(read)(stuck_part(stuck)))
    await stuck.awaited.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


# -- threads ----------------------------------------------------------------------------------


async def test_threads_that_it_starts_may_read() -> None:
    def read(file: io.BufferedReader, info: PartInfo) -> bytes:
        found: list[bytes] = []

        def all_of_it() -> None:
            found.append(file.read())

        thread = threading.Thread(target=all_of_it)
        thread.start()
        thread.join()
        return found[0]

    assert await SyncHandler(read)(part_of(CHUNKS)) == DATA


async def test_a_thread_that_it_leaves_behind_is_told() -> None:
    seen: list[BaseException] = []
    waiting = threading.Event()

    def leave(file: io.BufferedReader, info: PartInfo) -> threading.Thread:
        def read() -> None:
            file.read1()
            waiting.set()
            try:
                file.read(5)
            except (OSError, ValueError) as error:
                seen.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        waiting.wait()
        return thread

    stuck = Stuck(b"some")
    thread = await SyncHandler(leave)(stuck_part(stuck))
    await to_thread.run_sync(thread.join)
    assert len(seen) == 1


async def test_many_with_one_handler_at_a_time_and_one_thread() -> None:
    limiter = anyio.CapacityLimiter(1)
    router = Router(max_handlers=1)
    digest = SyncHandler(
        lambda file, info: hashlib.sha256(file.read()).hexdigest(), limiter=limiter
    )
    router.add(digest)
    data = body([("f", DATA + b"%d" % i) for i in range(30)])
    results = await router.dispatch(MultipartReader(data, content_type_of()))
    assert [item.value for item in results] == [
        hashlib.sha256(DATA + b"%d" % i).hexdigest() for i in range(30)
    ]
    assert limiter.borrowed_tokens == 0


async def test_side_by_side_on_one_part_with_one_thread() -> None:
    # Each has to read for the others to get more: none may hold the only place while it waits.
    limiter = anyio.CapacityLimiter(1)
    handler = SyncHandler(lambda file, info: len(file.read()), limiter=limiter)
    router = Router()
    tee = router.add(Tee(handler, handler, handler), name="f")
    data = body([("f", DATA * 4)])
    results = await router.dispatch(MultipartReader(data, content_type_of()))
    assert results[tee] == (len(DATA) * 4,) * 3
    assert limiter.borrowed_tokens == 0


async def test_how_many_are_at_work() -> None:
    at_work, most, lock = 0, 0, threading.Lock()

    def work(file: io.BufferedReader, info: PartInfo) -> None:
        nonlocal at_work, most
        for _ in range(5):
            file.read(50_000)
            with lock:
                at_work += 1
                most = max(most, at_work)
            sum(range(10_000))
            with lock:
                at_work -= 1

    handler = SyncHandler(work, limiter=anyio.CapacityLimiter(2))
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(handler, part_of(CHUNKS))
    assert (at_work, most <= 2) == (0, True)


async def test_it_takes_none_of_the_shared_threads() -> None:
    shared = to_thread.current_default_thread_limiter()
    before = shared.total_tokens
    shared.total_tokens = 1
    try:
        stuck = [Stuck(b"some") for _ in range(5)]
        async with anyio.create_task_group() as tasks:
            for one in stuck:
                tasks.start_soon(SyncHandler(whole), stuck_part(one))
            for one in stuck:
                await one.awaited.wait()
            assert await to_thread.run_sync(lambda: 5) == 5
            tasks.cancel_scope.cancel()
    finally:
        shared.total_tokens = before


LIMITER = anyio.CapacityLimiter(2)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_limiter_that_is_older_than_the_event_loop() -> None:
    handler = SyncHandler(whole, limiter=LIMITER)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(handler, part_of(CHUNKS))
    assert await handler(part_of(CHUNKS)) == DATA
    assert LIMITER.borrowed_tokens == 0


async def test_no_thread_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(*args: object, **options: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sync, "to_thread", SimpleNamespace(run_sync=none))
    with pytest.raises(RuntimeError, match="can't start new thread"):
        await SyncHandler(whole)(part_of(CHUNKS))


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
def test_the_event_loop_has_ended(anyio_backend: Any) -> None:
    async def make() -> Inflow:
        return Inflow(anyio.CapacityLimiter(1))

    inflow = anyio.run(make, backend=anyio_backend)
    with pytest.raises(OSError, match="the event loop has ended") as caught:
        InflowFile(inflow).read(5)
    assert caught.value.errno == errno.ECANCELED


async def test_nothing_that_it_held_stays() -> None:
    class Held:
        pass

    def fail(file: io.BufferedReader, info: PartInfo) -> None:
        held = Held()
        refs.append(weakref.ref(held))
        raise ZeroDivisionError

    refs: list[weakref.ref[Held]] = []
    gc.disable()
    try:
        with suppress(ZeroDivisionError):
            await SyncHandler(fail)(part_of(CHUNKS))
        for _ in range(3):
            await checkpoint()
        assert refs[0]() is None
    finally:
        gc.enable()


# -- with others ------------------------------------------------------------------------------


async def test_what_its_route_needs() -> None:
    router = Router()
    router.add(Json(), name="options")

    def skip(file: io.BufferedReader, info: PartInfo, options: dict[str, int]) -> bytes:
        return file.read()[options["skip"] :]

    route = router.add(SyncHandler(skip), name="f", needs="options")
    data = body([("options", '{"skip": 2}'), ("f", b"some")])
    results = await router.dispatch(MultipartReader(data, content_type_of()))
    assert results[route] == b"me"
    with pytest.raises(RouteError, match="unfilled parameter 'options'"):
        Router().add(SyncHandler(skip))
    with pytest.raises(RouteError, match="unknown parameter 'options'"):
        Router().add(SyncHandler(lambda file, info: None), needs="options")


async def test_a_need_that_is_called_part() -> None:
    router = Router()
    router.add(Json(), name="options")
    route = router.add(
        SyncHandler(lambda file, info, *, part: file.read() * part),
        name="f",
        needs={"part": "options"},
    )
    data = body([("options", "2"), ("f", b"some")])
    results = await router.dispatch(MultipartReader(data, content_type_of()))
    assert results[route] == b"somesome"


@pytest.mark.parametrize("packing", ["", "gz", "xz"])
async def test_tarfile(packing: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{packing}") as archive:
        for i in range(5):
            member = tarfile.TarInfo(f"{i}.bin")
            member.size = len(DATA)
            archive.addfile(member, io.BytesIO(DATA))

    def members(file: io.BufferedReader, info: PartInfo) -> Iterator[tuple[str, bool]]:
        found: list[tuple[str, bool]] = []
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                inner = archive.extractfile(member)
                assert inner is not None
                found.append((member.name, inner.read() == DATA))
        return iter(found)

    router = Router()
    route = router.add(SyncHandler(members), filename="*.tar*")
    data = body([PartSpec(packed.getvalue(), name="f", filename="a.tar.gz")])
    results = await router.dispatch(MultipartReader(data, content_type_of()))
    assert list(results[route]) == [(f"{i}.bin", True) for i in range(5)]


# -- what it takes ----------------------------------------------------------------------------


async def no_sync_function(file: object, info: object) -> None:
    raise AssertionError


def lines(file: Any, info: object) -> Iterator[bytes]:
    yield from file


class Called:
    """An object that is called."""

    async def __call__(self, file: object, info: object) -> None:
        raise AssertionError


class Generating:
    """An object whose call only begins."""

    def __call__(self, file: Any, info: object) -> Iterator[bytes]:
        yield from file


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (5, {}, "expected a function, got 5"),
        (no_sync_function, {}, "got an async one"),
        (Called(), {}, "got an async one"),
        (partial(no_sync_function), {}, "got an async one"),
        (lines, {}, "got a generator"),
        (partial(lines), {}, "got a generator"),
        (Generating(), {}, "got a generator"),
        (lambda file: None, {}, "takes a file and the part's info"),
        (whole, {"limiter": 5}, "expected a limiter"),
        (whole, {"encoding": "utf-8"}, "expected text=True"),
        (whole, {"text": True, "encoding": "none-such"}, "expected a known encoding"),
    ],
)
def test_what_cannot_be(function: Any, options: Any, message: str) -> None:
    with pytest.raises(RouteError, match=message):
        SyncHandler(function, **options)


def test_it_is_a_value() -> None:
    assert SyncHandler(whole) == SyncHandler(whole)
    assert SyncHandler(table, text=True) != SyncHandler(whole)
    assert len({SyncHandler(whole), SyncHandler(whole)}) == 1
    assert SyncHandler(min).function is min  # a builtin without a signature
