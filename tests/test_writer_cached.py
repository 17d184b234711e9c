"""Files whose bytes the system has in memory are read without a thread; all others with one."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import anyio
import pytest
from anyio import to_thread

from mpflow import MultipartWriter, WriteError
from mpflow.openfiles import READ_SIZE

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="only Linux has such a read"),
]

Preadv = Callable[..., int]

SIZE = 5 * READ_SIZE + 12_345
WHOLE = bytes(range(256)) * (SIZE // 256) + b"x" * (SIZE % 256)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(WHOLE)
    return path


@pytest.fixture(params=["path", "raw", "buffered"])
def given(request: pytest.FixtureRequest, path: Path) -> Iterator[Any]:
    if request.param == "path":
        yield path
        return
    with path.open("rb", buffering=0 if request.param == "raw" else -1) as file:
        yield file


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A list that grows with each hop to a worker thread."""
    made: list[object] = []
    run_sync = to_thread.run_sync

    async def counted(*args: Any, **options: Any) -> Any:
        made.append(args[0])
        return await run_sync(*args, **options)

    monkeypatch.setattr(to_thread, "run_sync", counted)
    return made


def faulty(monkeypatch: pytest.MonkeyPatch, fault: Callable[[int, Preadv, Any], int]) -> list[int]:
    """Put `fault(number, preadv, args)` in the place of `os.preadv`; a list of its calls."""
    calls: list[int] = []
    preadv: Preadv = os.preadv

    def stand_in(*args: Any) -> int:
        calls.append(len(calls))
        return fault(calls[-1], preadv, args)

    monkeypatch.setattr(os, "preadv", stand_in)
    return calls


async def sent(given: Any) -> bytes:
    root = MultipartWriter(boundary="b")
    root.append(given)
    body = await root.as_bytes()
    head, _, rest = body.partition(b"\r\n\r\n")
    assert head.startswith(b"--b\r\n")
    return rest.removesuffix(b"\r\n--b--\r\n")


async def test_what_is_in_memory_takes_two_hops(given: Any, hops: list[object]) -> None:
    """One that may have to open it, and one that finds the end."""
    assert await sent(given) == WHOLE
    assert len(hops) == 2


async def test_pieces_that_somebody_keeps_are_not_written_over(given: Any) -> None:
    root = MultipartWriter(boundary="b")
    root.append(given)
    pieces = [piece async for piece in root]
    assert len(pieces) > 10
    assert b"".join(pieces).partition(b"\r\n\r\n")[2] == WHOLE + b"\r\n--b--\r\n"


async def test_views_of_pieces_that_are_let_go_of_keep_their_bytes(path: Path) -> None:
    """Of each piece there is but a view left when the next but one is read."""
    root = MultipartWriter(boundary="b")
    root.append(path)
    views = [memoryview(piece)[:100] async for piece in root]
    starts, at = list[bytes](), 0
    async for piece in root:
        starts.append(piece[:100])
        at += len(piece)
    assert at > SIZE
    assert [bytes(view) for view in views] == starts


async def test_two_small_pieces_are_held_and_the_memory_to_find_the_end(path: Path) -> None:
    with path.open("ab") as file:
        file.write(WHOLE * 3)
    root = MultipartWriter()
    root.append(path)
    async for _ in root:  # what is imported and opened once
        pass
    tracemalloc.start()
    try:
        async for _ in root:
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.25 * 1024 * 1024 + READ_SIZE


async def test_what_is_not_in_memory_is_read_in_a_thread(
    given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cold(number: int, preadv: Preadv, args: Any) -> int:
        if number % 2:
            raise BlockingIOError(errno.EAGAIN, "not there")
        descriptor, (buffer,), *rest = args
        return preadv(descriptor, [memoryview(buffer)[:54_321]], *rest)  # a part of it is

    calls = faulty(monkeypatch, cold)
    assert await sent(given) == WHOLE
    assert len(calls) >= 3


async def test_nothing_in_the_middle_is_not_the_end(
    given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some versions of Linux gave 0 for what was not in memory."""
    calls = faulty(monkeypatch, lambda number, preadv, args: 0)
    assert await sent(given) == WHOLE
    assert calls


async def test_a_file_system_that_cannot_is_asked_once(
    given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(number: int, preadv: Preadv, args: Any) -> int:
        raise OSError(errno.EOPNOTSUPP, "cannot")

    calls = faulty(monkeypatch, cannot)
    assert await sent(given) == WHOLE
    assert calls == [0]


async def test_a_file_that_is_closed_meanwhile(path: Path) -> None:
    with path.open("rb") as file:
        root = MultipartWriter()
        root.append(file)
        chunks = aiter(root)
        assert b"\r\n\r\n" in await anext(chunks)
        assert len(await anext(chunks)) == READ_SIZE
    with pytest.raises(WriteError, match="closed file"):
        await anext(chunks)


async def test_a_file_that_is_cut_meanwhile(path: Path) -> None:
    root = MultipartWriter()
    root.append(path)
    chunks = aiter(root)
    await anext(chunks)
    await anext(chunks)
    os.truncate(path, 2 * READ_SIZE)
    with pytest.raises(WriteError, match=rf"expected a body of {SIZE} bytes, .*{2 * READ_SIZE} c"):
        async for _ in chunks:
            pass


async def test_what_is_written_to_the_same_file_object_is_sent(path: Path) -> None:
    with path.open("r+b") as file:
        root = MultipartWriter(boundary="b")
        root.append(file)
        file.seek(4 * READ_SIZE)
        file.write(b"later")
        assert b"later" in await root.as_bytes()


async def test_others_run_meanwhile(path: Path) -> None:
    """Reading what is in memory waits for nothing, so it lets others run by itself."""
    root = MultipartWriter()
    root.append(path)
    seen: list[int] = []
    passes = 0

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        seen += [passes async for _ in root]
        tasks.cancel_scope.cancel()
    assert len(set(seen)) >= 3  # trio shuffles who is next


async def test_a_cancelled_writing_ends_at_once(path: Path) -> None:
    root = MultipartWriter()
    root.append(path)
    chunks = 0
    with anyio.CancelScope() as scope:
        async for _ in root:
            chunks += 1
            if chunks == 3:
                scope.cancel()
    assert scope.cancelled_caught
    assert chunks == 3


def test_the_file_object_stays_where_it_was(path: Path) -> None:
    def place(file: IO[bytes]) -> int:
        return os.lseek(file.fileno(), 0, os.SEEK_CUR)

    with path.open("rb", buffering=0) as file:
        file.seek(100)
        assert anyio.run(sent, file) == WHOLE[100:]
        assert place(file) == 100
