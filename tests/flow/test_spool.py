"""The temporary file of a flow: what is in it, how much, and that nothing of it is left.

Knows: the spool, descriptors, faults of a disk. Must not know: which parts need which.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import BrokenSource, LimitExceeded, Limits, Part, PartRef, Router
from mpflow.spool import BLOCK, Keeping, Spool, SpooledBody
from mpflow_handlers import Nested
from tests.flow.support import Chunks, Diary, Field, cut, form, nested, notes, read, reader
from tests.support import cancelled, only_asyncio

pytestmark = pytest.mark.anyio

REF = PartRef((0,), "a")
DATA = bytes(range(256)) * 3001  # no multiple of a block


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """The folder of temporary files; nothing of it is open or left after the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert opened(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def opened(folder: Path) -> list[str]:
    """What is open in the folder, deleted or never named."""
    found: list[str] = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue  # that of the listing itself
    return [target for target in found if target.startswith(str(folder))]


async def content(body: SpooledBody) -> bytes:
    pieces: list[bytes] = []
    while True:
        try:
            pieces.append(await body.receive())
        except anyio.EndOfStream:
            return b"".join(pieces)


async def keep(spool: Spool, data: bytes, size: int) -> Keeping:
    keeping = spool.begin(REF)
    for piece in cut(data, size):
        await keeping.add(piece)
    return keeping


async def take(part: Part, **needs: Any) -> bytes:
    return await part.read(limit=None)


class TestTheFile:
    @pytest.mark.parametrize("size", [100, BLOCK - 1, BLOCK, BLOCK + 1, len(DATA)])
    async def test_what_was_kept_is_read_again(self, size: int, folder: Path) -> None:
        spool = Spool(None)
        body = await (await keep(spool, DATA, size)).end()
        assert body.size == len(DATA) == spool.size
        assert await content(body) == DATA
        assert await content(body.fresh()) == DATA
        assert len(opened(folder)) == 1
        spool.close()

    async def test_several_at_once(self, folder: Path) -> None:
        """Blocks of one lie between those of another, and are written side by side."""
        spool = Spool(None)
        bodies: dict[int, SpooledBody] = {}

        async def one(n: int) -> None:
            keeping = spool.begin(REF)
            for piece in cut(bytes([n]) * (BLOCK * 2 + n * 1000), 50_000):
                await keeping.add(piece)
            bodies[n] = await keeping.end()

        async with anyio.create_task_group() as tasks:
            for n in range(8):
                tasks.start_soon(one, n)
        assert len(opened(folder)) == 1
        for n, body in bodies.items():
            assert await content(body) == bytes([n]) * (BLOCK * 2 + n * 1000)
        spool.close()

    async def test_nothing_kept_is_no_file(self, folder: Path) -> None:
        spool = Spool(10)
        body = await spool.begin(REF).end()
        assert body.size == 0
        assert await content(body) == b""
        assert opened(folder) == []
        spool.close()

    async def test_its_limit(self) -> None:
        spool = Spool(10)
        first = await keep(spool, b"12345", 5)
        second = await keep(spool, b"67890", 1)
        with pytest.raises(LimitExceeded) as caught:
            await second.add(b"x")
        assert (caught.value.limit, caught.value.value) == ("max_spool_bytes", 10)
        assert caught.value.status == 413
        assert str(REF) in str(caught.value)
        assert await content(await first.end()) == b"12345"
        assert await content(await second.end()) == b"67890"
        spool.close()

    async def test_closed(self) -> None:
        spool = Spool(None)
        body = await (await keep(spool, DATA, BLOCK)).end()
        await body.receive()
        late = await keep(spool, b"late", 4)
        spool.close()
        spool.close()
        for use in (body.receive, body.fresh().receive, late.end):
            with pytest.raises(anyio.ClosedResourceError, match="it was closed"):
                await use()


def spooling(**options: Any) -> Router:
    """`b` and the parts inside `in` wait for what comes after them."""
    inner = Router()
    inner.add(read, name="a")
    inner.add(take, filename=True, needs="a", order="spool", key="files")
    router = Router(**options)
    router.add(read, name="a")
    router.add(Nested(inner), content_type="multipart/*", key="in")
    router.add(take, filename=True, needs="a", order="spool", key="files")
    return router


def files(first: int, count: int, size: int) -> list[Field]:
    return [Field(f"f{i}", bytes([i]) * (size + i), "x") for i in range(first, first + count)]


class TestInAFlow:
    @pytest.mark.parametrize("slots", [1, 16])
    @pytest.mark.parametrize("size", [70, 20_000, None])
    @pytest.mark.parametrize("length", [10, 20_000, 400_000])
    async def test_all_levels_share_one_file(
        self, slots: int, size: int | None, length: int, folder: Path
    ) -> None:
        """Inner flows keep parts while the outer one keeps its own."""
        if size == 70 and length > 10:
            size = 3000
        most = 0

        async def look() -> None:
            nonlocal most
            most = max(most, len(opened(folder)))
            await checkpoint()

        groups = [files(i * 3, 3, length) for i in range(4)]
        inside = [nested("in", *groups[i], ("a", b"")) for i in range(3)]
        body = form(*inside, *groups[3], inside[0], ("a", b""))
        pieces = cut(body, size or len(body))
        results = await spooling(max_handlers=slots).dispatch(reader(Chunks(pieces, look)))
        assert results.all("files") == [field.data for field in groups[3]]
        found = [inner.all("files") for inner in results.all("in")]
        expected = [[field.data for field in group] for group in groups[:3]]
        assert found == [*expected, expected[0]]
        assert most == 1 or size is None

    @pytest.mark.parametrize("short", [0, 1])
    async def test_the_limit_counts_all_levels(self, short: int) -> None:
        diary = Diary()
        groups = files(0, 3, 100), files(3, 2, 100)
        total = sum(len(field.data) for group in groups for field in group)
        body = form(("z", b""), nested("in", *groups[0], ("a", b"")), *groups[1], ("a", b""))
        router = spooling(limits=Limits(max_spool_bytes=total - short))
        router.add(diary)
        if not short:
            await router.dispatch(reader(body, size=50))
            assert diary.committed == ["z"]
            return
        with pytest.raises(LimitExceeded) as caught:
            await router.dispatch(reader(body, size=50))
        assert caught.value.limit == "max_spool_bytes"
        assert "(file 'x')" in str(caught.value)  # whichever level came last
        assert diary.rolled_back == ["z"]

    @pytest.mark.parametrize("length", [20, 200_000])
    async def test_the_limit_is_the_messages_fault_whatever_a_route_collects(
        self, length: int
    ) -> None:
        router = Router(limits=Limits(max_spool_bytes=10))
        router.add(read, name="a")
        router.add(take, name="b", needs="a", order="spool", on_error="collect")
        for size in (1000, None):
            with pytest.raises(LimitExceeded, match="at most 10 bytes of parts that have to be"):
                await router.dispatch(reader(form(("b", bytes(length)), ("a", b"")), size=size))

    async def test_memory(self) -> None:
        """One block that is gathered, one that is read, and what pipes hold: no more."""
        piece = bytes(65536)
        digest = hashlib.sha256()

        async def count(part: Part, a: bytes) -> int:
            size = 0
            async for chunk in part:
                digest.update(chunk)
                size += len(chunk)
            return size

        head, tail = form(("b", b"@"), ("a", b"")).split(b"@")
        router = Router()
        router.add(read, name="a")
        router.add(count, name="b", needs="a", order="spool")
        tracemalloc.start()
        try:
            chunks = (head, *[piece] * 500, tail)
            results = await router.dispatch(reader(Chunks(chunks)))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert results["b"] == 500 * 65536
        assert digest.digest() == hashlib.sha256(bytes(500 * 65536)).digest()
        assert peak < 6 * BLOCK


class TestCancelled:
    @only_asyncio
    @pytest.mark.parametrize("call", ["pwrite", "pread"])
    async def test_past_all_scopes(
        self, call: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A thread that is left behind keeps its descriptor to itself, and closes it at its end."""
        begun, go, done = threading.Event(), threading.Event(), threading.Event()
        real: Callable[..., Any] = getattr(os, call)
        left: list[str] = []

        def slow(fd: int, *args: Any) -> Any:
            begun.set()
            assert go.wait(20)
            left.append(os.readlink(f"/proc/self/fd/{fd}"))
            done.set()
            return real(fd, *args)

        monkeypatch.setattr(os, call, slow)
        router = Router()
        router.add(read, name="a")
        router.add(take, name="b", needs="a", order="spool")
        source = reader(form(("b", DATA), ("a", b"")), size=50_000)
        task = asyncio.ensure_future(router.dispatch(source))
        while not begun.is_set():
            await checkpoint()
        task.cancel()
        if call == "pread":  # in a handler: the flow ends its tasks, and waits for their threads
            go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        assert done.wait(20)
        assert left[0].startswith(str(folder))
        while opened(folder):
            await checkpoint()

    async def test_after_any_number_of_passes(self) -> None:
        """Wherever it is: between two chunks, in a thread, in a handler."""
        router = Router(max_handlers=1)
        router.add(read, name="a")
        router.add(take, name="b", needs="a", order="spool")
        router.add(take, name="c", needs="b", order="spool")
        body = form(("c", DATA), ("b", b"x" * 1000), ("a", b""))
        cut_short = 0
        for after in range(0, 120, 3):
            cut_short += await cancelled(
                lambda: router.dispatch(reader(body, size=20_000)), after=after
            )
        assert cut_short >= 10


class Faulty:
    """A system call that fails the n-th time."""

    def __init__(self, call: Callable[..., Any], at: int, error: OSError) -> None:
        self.call, self.at, self.error = call, at, error
        self.count = 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.count += 1
        if self.count == self.at:
            raise self.error
        return self.call(*args, **options)


class TestADisk:
    """A disk that fails: its `OSError` comes out bare, and everything is rolled back."""

    BODY = form(("z", b""), ("b", DATA), ("c", b"small"), ("d", DATA), ("a", b"1"))

    def router(self, diary: Diary) -> Router:
        router = Router()
        router.add(read, name="a")
        router.add(take, name="b", needs="a", order="spool", on_error="collect")
        router.add(take, name="c", needs="a", order="spool")
        router.add(take, name="d", needs="c", order="spool")
        router.add(diary)
        return router

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
    @pytest.mark.parametrize(
        ("at", "part"), [(1, "1 'b'"), (3, "1 'b'"), (4, "2 'c'"), (6, "3 'd'")]
    )
    async def test_full_while_a_part_is_kept(
        self, code: int, at: int, part: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        faulty = Faulty(os.pwrite, at, OSError(code, os.strerror(code)))
        monkeypatch.setattr(os, "pwrite", faulty)
        diary = Diary()
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            await self.router(diary).dispatch(reader(self.BODY, size=50_000))
        assert caught.value is faulty.error
        assert f"while part {part} was kept for take" in notes(caught.value)
        assert diary.rolled_back == ["z"]
        assert faulty.count == at

    async def test_no_file_to_be_had(self, monkeypatch: pytest.MonkeyPatch) -> None:
        error = OSError(errno.EMFILE, "too many")
        monkeypatch.setattr("mpflow.spool.TemporaryFile", Faulty(tempfile.TemporaryFile, 1, error))
        diary = Diary()
        with pytest.raises(OSError, match="too many") as caught:
            await self.router(diary).dispatch(reader(self.BODY, size=50_000))
        assert caught.value is error
        assert "while part 1 'b' was kept for take" in notes(error)
        assert diary.rolled_back == ["z"]

    @pytest.mark.parametrize("at", [1, 2])
    @pytest.mark.parametrize("cut_short", [False, True], ids=["error", "end"])
    async def test_unreadable_ends_the_flow(
        self, at: int, cut_short: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As unwritable does: no route collects what no handler has done."""
        error = OSError(errno.EIO, "unreadable")
        faulty = Faulty(os.pread, at, error)

        def pread(fd: int, size: int, start: int) -> bytes:
            try:
                data: bytes = faulty(fd, size, start)
            except OSError:
                if cut_short:
                    return b""
                raise
            return data

        monkeypatch.setattr(os, "pread", pread)
        diary = Diary()
        router = Router(max_handlers=1)
        router.add(read, name="a")
        router.add(take, name="b", needs="a", order="spool", on_error="collect")
        router.add(diary)
        body = form(("z", b"1"), ("b", DATA), ("a", b"1"))
        with anyio.fail_after(10), pytest.raises(BrokenSource, match="what was kept") as caught:
            await router.dispatch(reader(body))
        assert caught.value.__cause__ is (None if cut_short else error)
        assert "in part 1 'b', handled by take" in notes(caught.value)
        assert diary.rolled_back == ["z"]

    async def test_short_writes_and_reads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pwrite, pread = os.pwrite, os.pread

        def write(fd: int, data: bytes, at: int) -> int:
            return pwrite(fd, data[:70_001], at)

        def read(fd: int, size: int, at: int) -> bytes:
            return pread(fd, min(size, 60_001), at)

        monkeypatch.setattr(os, "pwrite", write)
        monkeypatch.setattr(os, "pread", read)
        diary = Diary()
        results = await self.router(diary).dispatch(reader(self.BODY, size=50_000))
        assert (results["b"], results["c"], results["d"]) == (DATA, b"small", DATA)
        assert diary.committed == ["z"]
