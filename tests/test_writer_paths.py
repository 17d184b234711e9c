"""Paths as parts: named pipes, what is no file, and files that threads open too late."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import nullcontext
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mpflow import FormData, MultipartReader, MultipartWriter, WriteError
from mpflow.pathcontents import FileAt

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes"),
]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def writer(*parts: Path | bytes) -> MultipartWriter:
    root = MultipartWriter(boundary="b")
    for part in parts:
        root.append(part)
    return root


def is_open(path: Path) -> bool:
    """Whether this process has it open."""
    found = Path("/proc/self/fd")
    if not found.exists():
        pytest.skip("needs Linux's /proc")
    return any(os.path.realpath(link) == str(path) for link in found.iterdir())


# -- named pipes ------------------------------------------------------------------------------


async def test_a_named_pipe_that_nobody_opens_can_be_cancelled(pipe: Path) -> None:
    root = writer(b"before", pipe)
    chunks = aiter(root)
    assert b"before" in await anext(chunks)  # not held back
    async with anyio.create_task_group() as group:
        group.start_soon(anext, chunks)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert not is_open(pipe)


async def test_a_named_pipe_is_sent_as_it_comes(pipe: Path) -> None:
    root = writer(pipe, b"behind")
    assert root.size is None
    assert "Content-Length" not in root.parts[0].headers
    sending = os.open(pipe, os.O_RDWR)
    chunks = aiter(root)
    data = await anext(chunks)
    for number in range(3):
        os.write(sending, b"text%d" % number)
        chunk = await anext(chunks)
        assert chunk == b"text%d" % number
        data += chunk
    os.close(sending)
    data += b"".join([chunk async for chunk in chunks])
    reader = MultipartReader(data, root.content_type)
    bodies = [await part.read() async for part in reader]
    assert bodies == [b"text0text1text2", b"behind"]
    assert not is_open(pipe)


async def test_a_named_pipe_is_sent_once(pipe: Path) -> None:
    root = writer(b"before", pipe)
    assert not root.replayable
    assert not root.parts[1].replayable
    sending = os.open(pipe, os.O_RDWR)
    os.write(sending, b"x")
    chunks = aiter(root)
    for _ in range(2):
        await anext(chunks)
    os.close(sending)
    async for _ in chunks:
        pass
    another = writer()
    another.parts.append(root.parts[1])
    for again in (root, another):
        with pytest.raises(WriteError, match="sent again, got a named pipe") as caught:
            aiter(again)
        assert caught.value.part is not None
        assert caught.value.part.filename == "pipe"
    assert writer(pipe).replayable is False  # may be read anew: by who is asked for that


async def test_a_named_pipe_that_is_filled_later(pipe: Path) -> None:
    data: list[bytes] = []

    async def write() -> None:
        data.append(await writer(pipe).as_bytes())

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(pipe.write_bytes, b"x" * 300_000)
    assert b"x" * 300_000 in data[0]


@pytest.mark.parametrize("late", [False, True])
async def test_what_stands_at_a_path_may_not_change_its_kind(pipe: Path, late: bool) -> None:
    path = pipe.with_name("x")
    path.write_bytes(b"x")
    first, second = (pipe, path) if late else (path, pipe)
    root = writer(first)
    second.replace(first)
    with pytest.raises(WriteError, match=r"as when it was appended, got a .*part 0") as caught:
        await root.as_bytes()
    assert ("got a file" in str(caught.value)) is late
    assert not is_open(first)


# -- what is no file --------------------------------------------------------------------------


def test_the_path_of_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        form = FormData()
        with pytest.raises(WriteError, match=r"that of a socket, 's': .*give the stream") as caught:
            form.add("upload", Path("s"))
    assert caught.value.part is not None
    assert caught.value.part.name == "upload"


def test_the_path_of_a_directory(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="expected the path of a file, got the directory"):
        writer(tmp_path)


async def test_a_device_is_a_file() -> None:
    root = writer(Path(os.devnull))
    assert root.size is None
    assert (await root.as_bytes()).endswith(b"\r\n\r\n\r\n--b--\r\n")


# -- who closes -------------------------------------------------------------------------------


class SlowToOpen(os.PathLike[str]):
    """A path that a thread is long to open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.slow = False
        self.opening, self.go_on = threading.Event(), threading.Event()

    def __fspath__(self) -> str:
        if self.slow and not self.opening.is_set():
            self.opening.set()
            self.go_on.wait(20)
        return str(self.path)


@pytest.mark.parametrize("is_pipe", [False, True])
async def test_a_file_that_is_opened_too_late_is_closed_by_its_thread(
    pipe: Path, is_pipe: bool
) -> None:
    """A task on asyncio that is cancelled for good leaves its thread behind."""
    path = pipe if is_pipe else pipe.with_name("x")
    if not is_pipe:
        path.write_bytes(b"x" * 100)
    slow = SlowToOpen(path)
    content = FileAt(slow)
    slow.slow = True
    reading = content.open("utf-8", ())

    async def read() -> None:
        closed = pytest.raises(anyio.ClosedResourceError)
        with closed if is_pipe else nullcontext():
            assert await reading.next() == b""

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        while not slow.opening.is_set():
            await checkpoint()
        await reading.aclose()
        slow.go_on.set()
    assert not is_open(path)
    await read()
    assert not is_open(path)


async def test_a_reading_of_a_pipe_that_is_closed_by_another_task(pipe: Path) -> None:
    reading = FileAt(pipe).open("utf-8", ())

    async def read() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await reading.next()

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await reading.aclose()
    assert not is_open(pipe)
