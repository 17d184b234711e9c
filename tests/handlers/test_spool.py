"""`Spool`: a part that is read again and again while its flow is open, and gone after that.

Knows: what is in memory, in a file, under a name. Must not know: how a flow decides.
"""

from __future__ import annotations

import errno
import io
import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio import to_thread
from hypothesis import given
from hypothesis import strategies as st

from mpflow import (
    LimitExceeded,
    MultipartReader,
    Part,
    RouteError,
    Router,
    TruncatedBody,
)
from mpflow.testing import PartSpec, body, content_type_of
from mpflow_handlers import Spool, Spooled, cleanup
from mpflow_handlers import kept as kept_module
from tests.handlers.support import Pieces, descriptors, names, opened_since, part_of

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 5000
CHUNKS = [DATA[start : start + 50_000] for start in range(0, len(DATA), 50_000)]

IN_MEMORY: Any = None
IN_FILE = 0


async def streamed(spooled: Spooled, size: int = 65536) -> bytes:
    gathered = b""
    async with await spooled.open() as stream:
        while True:
            try:
                gathered += await stream.receive(size)
            except anyio.EndOfStream:
                return gathered


@pytest.mark.parametrize("hold", [True, False], ids=["held", "named"])
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=50), max_size=20),
    most=st.integers(0, 300),
    places=st.lists(st.tuples(st.integers(0, 600), st.integers(-1, 600)), max_size=5),
)
async def test_it_is_a_file(
    pieces: list[bytes], most: int, places: list[tuple[int, int]], hold: bool
) -> None:
    data = b"".join(pieces)
    model = io.BytesIO(data)
    async with Spool(most)(part_of(pieces, hold=hold)) as spooled:
        assert spooled.size == len(data)
        assert spooled.is_in_memory == (len(data) <= most)
        assert await spooled.read() == await streamed(spooled, 7) == data
        with spooled.file() as file:
            for at, size in places:
                assert file.seek(at) == model.seek(at)
                assert file.read(size) == model.read(size)
                assert file.tell() == model.tell()


@pytest.mark.parametrize("most", [IN_MEMORY, IN_FILE], ids=["memory", "file"])
async def test_readers_have_places_of_their_own(most: Any) -> None:
    async with Spool(most)(part_of(CHUNKS)) as spooled:
        one, two = await spooled.open(), await spooled.open()
        first = await one.receive(10)
        assert first == await two.receive(10) == DATA[:10]
        assert await one.receive(5) == DATA[10:15]

        found: list[bytes] = []
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(_append, found, spooled)
        assert found == [DATA] * 5

        a, b = spooled.file(), spooled.file()
        assert a.read(3) == b.read(3) == DATA[:3]
        assert a.seek(-3, os.SEEK_END) == len(DATA) - 3
        assert a.read() == DATA[-3:]
        with pytest.raises(ValueError, match="place in the file"):
            a.seek(-len(DATA) - 1, os.SEEK_END)
        with pytest.raises(ValueError, match="whence"):
            a.raw.seek(0, 5)
        raw = b.raw
        b.close()
        with pytest.raises(ValueError, match="closed"):
            raw.tell()


async def _append(found: list[bytes], spooled: Spooled) -> None:
    found.append(await streamed(spooled))


@pytest.mark.parametrize("most", [IN_MEMORY, IN_FILE], ids=["memory", "file"])
async def test_it_is_gone_after_the_flow(tmp_path: Path, most: Any) -> None:
    before = descriptors()
    async with Spool(most, directory=tmp_path)(part_of(CHUNKS)) as spooled:
        stream = await spooled.open()
        await stream.receive(5)
        file = spooled.file()
        assert "gone" not in repr(spooled)
    assert opened_since(before) == []
    assert names(tmp_path) == []
    for read in (spooled.open, spooled.read, stream.receive):
        with pytest.raises(anyio.ClosedResourceError, match="its flow has ended"):
            await read()  # type: ignore[operator]
    for access in (spooled.file, file.read):
        with pytest.raises(ValueError, match="its flow has ended"):
            access()
    assert (spooled.size, repr(spooled)) == (len(DATA), f"<Spooled {len(DATA)} bytes, gone>")


async def test_a_stream_that_is_closed() -> None:
    async with Spool()(part_of(b"some")) as spooled:
        stream = await spooled.open()
        with pytest.raises(ValueError, match="max_bytes"):
            await stream.receive(0)
        await stream.aclose()
        with pytest.raises(anyio.ClosedResourceError, match="closed"):
            await stream.receive()
        assert await spooled.read() == b"some"


async def test_a_limit_of_reading() -> None:
    async with Spool()(part_of(CHUNKS)) as spooled:
        with pytest.raises(LimitExceeded, match=f"at most 1048576 bytes .* got {len(DATA)}"):
            await spooled.read()
        assert await spooled.read(limit="2 MiB") == await spooled.read(limit=None) == DATA


# -- memory -----------------------------------------------------------------------------------


async def test_all_parts_share_one_bound() -> None:
    spool = Spool("1 KiB", max_total_memory=2500)
    room = spool._room
    async with spool(part_of(b"a" * 1000)) as a, spool(part_of(b"b" * 1000)) as b:
        assert room.used == 2000
        async with spool(part_of([b"c" * 400, b"c" * 600])) as c:
            assert (a.is_in_memory, b.is_in_memory, c.is_in_memory) == (True, True, False)
            assert room.used == 2000
            assert await c.read() == b"c" * 1000
    assert room.used == 0
    async with spool(part_of(b"c" * 1000)) as c:
        assert c.is_in_memory
    assert room.used == 0


async def test_a_failure_gives_the_room_back(tmp_path: Path) -> None:
    before = descriptors()
    spool = Spool(1000, directory=tmp_path)
    for pieces in ([b"x"], [b"x" * 500, b"y" * 600]):
        with pytest.raises(TruncatedBody):
            async with spool(part_of(Pieces(pieces, error=TruncatedBody("cut")))):
                pytest.fail("it looked whole")
    assert spool._room.used == 0
    assert (opened_since(before), names(tmp_path)) == ([], [])


@pytest.mark.parametrize(
    ("options", "name"),
    [({"max_memory": "much"}, "max_memory"), ({"max_total_memory": -1}, "max_total_memory")],
)
def test_sizes_that_are_none(options: Any, name: str) -> None:
    with pytest.raises(RouteError, match=f"{name} of Spool"):
        Spool(**options)


def test_it_is_a_value() -> None:
    assert Spool("1 MiB") == Spool() == Spool(1024 * 1024, max_total_memory="16 MiB")
    assert len({Spool(), Spool(), Spool(5)}) == 2
    assert "room" not in repr(Spool())


# -- files ------------------------------------------------------------------------------------


async def test_files_are_of_no_concern_to_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    for name in ("pwrite", "pread", "open", "unlink"):
        real: Callable[..., Any] = getattr(os, name)

        def watched(*args: Any, real: Callable[..., Any] = real, **options: Any) -> Any:
            threads.add(threading.get_ident())
            return real(*args, **options)

        monkeypatch.setattr(kept_module.os, name, watched)
    async with Spool(IN_FILE, directory=tmp_path)(part_of(CHUNKS, hold=False)) as spooled:
        assert len(await streamed(spooled)) == len(DATA)
        (name,) = names(tmp_path)
        assert name.startswith("mpflow-")
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert threads
    assert threading.get_ident() not in threads
    assert names(tmp_path) == []


async def test_a_flow_holds_64_files_at_most(tmp_path: Path) -> None:
    router = Router(max_handlers=4)
    router.add(Spool(IN_FILE, directory=tmp_path))
    data = body([("f", b"%03d" % i + DATA[:100]) for i in range(80)])
    before = descriptors()
    async with router.flow(MultipartReader(data, content_type_of())) as flow:
        assert len(opened_since(before)) == 64
        assert len(names(tmp_path)) == 16
        for i, item in enumerate(flow.results):
            assert await item.value.read() == b"%03d" % i + DATA[:100]
        await flow.commit()
        assert names(tmp_path) == []
        with pytest.raises(anyio.ClosedResourceError):
            await flow.results.all("f")[0].open()
    assert opened_since(before) == []


async def test_a_file_that_is_gone_already(tmp_path: Path) -> None:
    async with Spool(IN_FILE, directory=tmp_path)(part_of(b"some", hold=False)) as spooled:
        for name in names(tmp_path):
            (tmp_path / name).unlink()
        with pytest.raises(FileNotFoundError):
            await spooled.read()


async def test_gone_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    real = kept_module.Kept.read

    def late(kept: kept_module.Kept, at: int, size: int) -> bytes:
        kept.close()
        return real(kept, at, size)

    async with Spool(IN_FILE)(part_of(b"some")) as spooled:
        stream = await spooled.open()
        monkeypatch.setattr(kept_module.Kept, "read", late)
        with pytest.raises(anyio.ClosedResourceError, match="its flow has ended"):
            await stream.receive()


async def test_no_thread_to_clean_up_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(*args: object, **options: object) -> None:
        raise RuntimeError("can't start new thread")

    spool = Spool(IN_FILE, directory=tmp_path)
    call = spool(part_of(b"some", hold=False))
    await call.__aenter__()
    assert len(names(tmp_path)) == 1
    monkeypatch.setattr(cleanup, "to_thread", SimpleNamespace(run_sync=none))
    with pytest.raises(RuntimeError, match="can't start"):
        await call.__aexit__(None, None, None)
    assert names(tmp_path) == []


async def test_a_file_that_somebody_cut(tmp_path: Path) -> None:
    async with Spool(IN_FILE, directory=tmp_path)(part_of(b"some", hold=False)) as spooled:
        (name,) = names(tmp_path)
        os.truncate(tmp_path / name, 2)
        with pytest.raises(OSError, match="expected 4 bytes of a temporary file, got 2"):
            await spooled.read()


@pytest.mark.parametrize("hold", [True, False], ids=["held", "named"])
@pytest.mark.parametrize("failing", range(3))
async def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, hold: bool
) -> None:
    before, real, calls = descriptors(), os.pwrite, 0

    def full(fd: int, data: Any, at: int) -> int:
        nonlocal calls
        calls += 1
        if calls > failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data[: len(data) // 2 + 1], at)  # a short write is no failure

    monkeypatch.setattr(kept_module.os, "pwrite", full)
    spool = Spool("100 KiB", directory=tmp_path)
    with pytest.raises(OSError, match="No space left") as caught:
        async with spool(part_of(CHUNKS, hold=hold)):
            pytest.fail("it looked whole")
    assert caught.value.errno == errno.ENOSPC
    assert (opened_since(before), names(tmp_path), spool._room.used) == ([], [], 0)


async def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with Spool(IN_FILE, directory=tmp_path / "none")(part_of(b"some")):
            pytest.fail("it was kept somewhere")


@pytest.mark.parametrize("hold", [True, False], ids=["held", "named"])
async def test_cancelled_at_each_checkpoint(tmp_path: Path, hold: bool) -> None:
    before, nth, done = descriptors(), 0, False
    while not done:
        nth += 1
        with anyio.CancelScope() as scope:
            count = 0

            def step(scope: anyio.CancelScope = scope, nth: int = nth) -> None:
                nonlocal count
                count += 1
                if count == nth:
                    scope.cancel()

            part = part_of(Pieces(CHUNKS, on_receive=step), hold=hold)
            async with Spool("100 KiB", directory=tmp_path)(part):
                pass
            done = not scope.cancel_called
        assert (opened_since(before), names(tmp_path)) == ([], [])
    assert nth == len(CHUNKS) + 2


# -- in a flow --------------------------------------------------------------------------------


async def test_a_zip_archive(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("one.txt", "1")
        archive.writestr("two.txt", DATA)

    def sizes(file: io.BufferedReader) -> dict[str, int]:
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
            return {info.filename: info.file_size for info in archive.infolist()}

    router = Router()
    archive_route = router.add(Spool(1000, directory=tmp_path), filename="*.zip")
    data = body([PartSpec(packed.getvalue(), name="f", filename="a.zip")])
    async with router.flow(MultipartReader(data, content_type_of())) as flow:
        found = await to_thread.run_sync(sizes, flow.results[archive_route].file())
    assert found == {"one.txt": 1, "two.txt": len(DATA)}


async def test_another_part_needs_it() -> None:
    router = Router()
    router.add(Spool(), name="source")

    @router.route(name="check", needs="source")
    async def check(part: Part, source: Spooled) -> bool:
        return await part.read() == (await source.read())[: source.size // 2]

    data = body([("source", b"abcd"), ("check", b"ab")])
    results = await router.dispatch(MultipartReader(data, content_type_of()))
    assert results[check] is True
    with pytest.raises(anyio.ClosedResourceError):
        await results["source"].read()


async def test_codings_as_save_undoes_them() -> None:
    headers = {"Content-Transfer-Encoding": "base64", "Content-Encoding": "gzip"}
    async with Spool()(part_of(b"c29tZQ==", headers=headers)) as spooled:
        assert await spooled.read() == b"some"


async def test_a_rollback_removes_it(tmp_path: Path) -> None:
    router = Router()
    router.add(Spool(IN_FILE, directory=tmp_path), name="f")

    @router.route(name="last")
    async def last(part: Part) -> None:
        raise ZeroDivisionError

    data = body([("f", DATA), ("last", b"")])
    before = descriptors()
    with pytest.raises(ZeroDivisionError) as caught:
        await router.dispatch(MultipartReader(data, content_type_of()))
    assert len(caught.value.__notes__) == 1  # none of them says that the rollback failed
    assert names(tmp_path) == []
    assert opened_since(before) == []
