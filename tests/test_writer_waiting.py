"""Open files whose bytes come from somebody else: sent as they come, and cancelled at once."""

from __future__ import annotations

import gzip
import io
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import anyio
import pytest

from mpflow import MultipartReader, MultipartWriter, WriteError
from mpflow.pathcontents import FileAt

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="needs pipes that can be waited for"),
]


def writer(*parts: Any) -> MultipartWriter:
    root = MultipartWriter(boundary="b")
    for part in parts:
        root.append(part)
    return root


async def bodies(data: bytes, root: MultipartWriter) -> list[bytes]:
    return [await part.read() async for part in MultipartReader(data, root.content_type)]


async def begun(chunks: AsyncIterator[bytes]) -> bytes:
    """What stands before the body that is waited for: it is not held back."""
    chunk = await anext(chunks)
    assert b"in memory" in chunk
    assert chunk.endswith(b"\r\n\r\n")
    return chunk


class Subclass(io.BufferedReader):
    """What nobody knows: it is read in threads."""


OPENED: dict[str, Callable[[int], Any]] = {
    "buffered": lambda descriptor: os.fdopen(descriptor, "rb"),
    "raw": lambda descriptor: os.fdopen(descriptor, "rb", buffering=0),
    "subclass": lambda descriptor: Subclass(io.FileIO(descriptor)),
}
WAITED = ["buffered", "raw"]


class Ends:
    """Two ends of something: what is written to `sending` comes out of the file."""

    def __init__(self, file: Any, sending: int) -> None:
        self.file = file
        self.sending = sending

    def send(self, data: bytes) -> None:
        assert os.write(self.sending, data) == len(data)

    def close(self) -> None:
        sending, self.sending = self.sending, -1
        if sending >= 0:
            os.close(sending)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def ends_of(stack: ExitStack, opened: str, kind: str = "pipe") -> Ends:
    """Both ends are closed after the test, also where it fails while a thread reads."""
    if kind == "pipe":
        ours, theirs = os.pipe()
    else:
        ours, theirs = (it.detach() for it in socket.socketpair())
    file = stack.enter_context(OPENED[opened](ours))
    ends = Ends(file, theirs)
    stack.callback(ends.close)
    return ends


@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("opened", OPENED)
async def test_what_comes_goes_out(stack: ExitStack, opened: str, kind: str) -> None:
    ends = ends_of(stack, opened, kind)
    root = writer(b"in memory", ends.file, b"behind")
    assert not root.replayable
    assert "Content-Length" not in root.parts[1].headers
    chunks = aiter(root)
    data = await begun(chunks)
    for number in range(3):
        ends.send(b"piece %d" % number)
        chunk = await anext(chunks)
        assert chunk == b"piece %d" % number
        data += chunk
    ends.close()
    data += b"".join([chunk async for chunk in chunks])
    assert await bodies(data, root) == [b"in memory", b"piece 0piece 1piece 2", b"behind"]
    with pytest.raises(WriteError, match=r"cannot seek.*part 1"):
        aiter(root)


@pytest.mark.parametrize("opened", ["buffered", "subclass"])
async def test_what_the_buffer_holds_comes_first(stack: ExitStack, opened: str) -> None:
    ends = ends_of(stack, opened)
    ends.send(b"read before\nheld")
    assert ends.file.readline() == b"read before\n"
    chunks = aiter(writer(b"in memory", ends.file))
    await begun(chunks)
    assert await anext(chunks) == b"held"  # nothing more has come
    ends.send(b"later")
    assert await anext(chunks) == b"later"
    ends.close()
    assert await anext(chunks) == b"\r\n--b--\r\n"
    assert not vars(ends.file.raw).keys() & {"readinto"}


@pytest.mark.parametrize("opened", WAITED)
@pytest.mark.parametrize("blocking", [True, False])
async def test_it_is_cancelled_at_once(stack: ExitStack, opened: str, blocking: bool) -> None:
    ends = ends_of(stack, opened)
    os.set_blocking(ends.file.fileno(), blocking)
    chunks = aiter(writer(b"in memory", ends.file))
    await begun(chunks)
    async with anyio.create_task_group() as group:
        group.start_soon(anext, chunks)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    ends.send(b"later")
    assert os.get_blocking(ends.file.fileno()) is blocking
    assert ends.file.read(5) == b"later"  # nothing was lost, and no thread waits for it


async def test_a_descriptor_that_does_not_block(stack: ExitStack) -> None:
    ends = ends_of(stack, "buffered")
    os.set_blocking(ends.file.fileno(), False)
    chunks = aiter(writer(b"in memory", ends.file))
    await begun(chunks)
    found: list[bytes] = []

    async def receive() -> None:
        found.append(await anext(chunks))

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        ends.send(b"x")
    assert found == [b"x"]
    ends.close()
    assert b"--b--" in await anext(chunks)


@pytest.mark.parametrize("bufsize", [-1, 0])
async def test_the_output_of_a_process(bufsize: int) -> None:
    code = "import sys; print('begun', flush=True); input(); print('done')"
    command = [sys.executable, "-c", code]
    with Popen(command, stdin=PIPE, stdout=PIPE, bufsize=bufsize) as process:  # noqa: ASYNC220
        assert process.stdin is not None
        root = writer(b"in memory", process.stdout)
        chunks = aiter(root)
        data = await begun(chunks)
        while not data.endswith(b"begun\n"):
            data += await anext(chunks)
        process.stdin.write(b"\n")
        process.stdin.flush()
        data += b"".join([chunk async for chunk in chunks])
        assert await bodies(data, root) == [b"in memory", b"begun\ndone\n"]


async def test_the_file_of_a_socket(stack: ExitStack) -> None:
    ours, theirs = (stack.enter_context(it) for it in socket.socketpair())
    with ours.makefile("rb") as file:
        chunks = aiter(writer(b"in memory", file))
        await begun(chunks)
        async with anyio.create_task_group() as group:
            group.start_soon(anext, chunks)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        chunks = aiter(root := writer(b"in memory", file))
        data = await begun(chunks)
        theirs.sendall(b"piece")
        data += await anext(chunks)
        theirs.close()
        data += b"".join([chunk async for chunk in chunks])
        assert await bodies(data, root) == [b"in memory", b"piece"]


async def test_a_terminal(stack: ExitStack) -> None:
    ours, theirs = os.openpty()
    stack.callback(os.close, ours)
    file = stack.enter_context(os.fdopen(theirs, "rb", buffering=0))
    chunks = aiter(writer(b"in memory", file))
    await begun(chunks)
    os.write(ours, b"a line\n")
    assert await anext(chunks) == b"a line\n"
    async with anyio.create_task_group() as group:
        group.start_soon(anext, chunks)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()


async def test_text_comes_by_lines(stack: ExitStack) -> None:
    ends = ends_of(stack, "buffered")
    text = stack.enter_context(io.TextIOWrapper(ends.file, encoding="utf-8"))
    root = writer(b"in memory", text)
    root.parts[1].headers["Content-Type"] = "text/plain; charset=utf-16-le"
    chunks = aiter(root)
    await begun(chunks)
    ends.send("é 1\nbegun".encode())
    assert await anext(chunks) == "é 1\n".encode("utf-16-le")
    ends.send(b" and ended\n")
    assert await anext(chunks) == "begun and ended\n".encode("utf-16-le")
    many = "".join(f"{number}\n" for number in range(10_000))
    ends.send(many.encode())
    ends.close()
    rest = [chunk async for chunk in chunks]
    assert b"".join(rest) == many.encode("utf-16-le") + b"\r\n--b--\r\n"
    assert len(rest) < 5000  # lines that are there come together


async def test_what_is_unpacked_of_a_pipe_is_sent_once(stack: ExitStack) -> None:
    ends = ends_of(stack, "buffered")
    file = stack.enter_context(gzip.GzipFile(fileobj=ends.file))
    root = writer(b"in memory", file)
    assert not root.replayable
    chunks = aiter(root)
    data = await begun(chunks)
    ends.send(gzip.compress(b"unpacked"))
    ends.close()
    data += b"".join([chunk async for chunk in chunks])
    assert await bodies(data, root) == [b"in memory", b"unpacked"]


@pytest.mark.parametrize("opened", WAITED)
async def test_a_pipe_that_is_closed_before_its_turn(stack: ExitStack, opened: str) -> None:
    ends = ends_of(stack, opened)
    chunks = aiter(writer(b"in memory", ends.file))
    await begun(chunks)
    ends.file.close()
    with pytest.raises(WriteError, match=r"expected an open file, got a closed file .*part 1"):
        await anext(chunks)


def test_a_device_at_a_path_may_wait_for_somebody() -> None:
    assert not FileAt(Path(os.devnull)).prompt
    assert FileAt(Path(__file__)).prompt


# -- what does not block, and who else reads --------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "subclass"])
async def test_what_does_not_block_is_read_in_no_thread(kind: str) -> None:
    """Nothing to give now would look like the end."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    file: Any = os.fdopen(ours, "r") if kind == "text" else Subclass(io.FileIO(ours))
    with file, os.fdopen(theirs, "wb", buffering=0) as sending:
        sending.write(b"first\n")
        with pytest.raises(WriteError, match="expected a file that blocks") as caught:
            await writer("before", file).as_bytes()
        assert caught.value.part is not None
        assert caught.value.part.path == (1,)


async def test_a_socket_keeps_its_timeout() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.05)
        theirs.sendall(b"q")
        with ours.makefile("rb") as file, pytest.raises(TimeoutError):
            await writer(file).as_bytes()


@pytest.mark.parametrize("kind", ["buffered", "raw"])
async def test_another_writing_takes_over(kind: str) -> None:
    ours, theirs = os.pipe()
    with OPENED[kind](ours) as file, os.fdopen(theirs, "wb", buffering=0) as sending:
        first = aiter(writer("in memory", file))
        await begun(first)
        sending.write(b"A" * 20_000)
        assert await anext(first) == b"A" * 20_000
        second = aiter(writer("in memory", file))
        await begun(second)
        sending.write(b"B" * 20_000)
        assert await anext(second) == b"B" * 20_000
        sending.write(b"C" * 20_000)
        with pytest.raises(WriteError, match="another one has begun"):
            await anext(first)
        assert await anext(second) == b"C" * 20_000


async def test_two_writings_wait_for_one_pipe() -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as file, os.fdopen(theirs, "wb", buffering=0):
        first = aiter(writer("in memory", file))
        await begun(first)
        second = aiter(writer("in memory", file))

        async def wait() -> None:
            await anext(first)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await begun(second)
            with pytest.raises(WriteError, match="another one waits"):
                await anext(second)
            tasks.cancel_scope.cancel()


REFUSED: list[tuple[Any, str]] = [
    (("b", {"X": "q\r\n"}), "control character"),
    (("b", {}, 1), "expected an object and its headers, got a tuple of 3"),
    (("b", 3), "expected headers as a mapping or as pairs of text, got int"),
    (("b", [3]), "expected headers as a mapping or as pairs of text, got list"),
    (("b", {"X": 3}), "expected text in the header X, got int"),
    (("b", {3: "X"}), "expected headers as a mapping or as pairs of text, got dict"),
]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("item", "match"), REFUSED)
async def test_what_parts_gives_is_named_where_it_is_refused(
    item: Any, match: str, inside: bool
) -> None:
    async def parts() -> AsyncIterator[Any]:
        yield "a"
        yield item

    root = MultipartWriter(parts=parts())
    if inside:
        outer = MultipartWriter()
        outer.append("before")
        outer.append(root)
        root = outer
    with pytest.raises(WriteError, match=match) as caught:
        await root.as_bytes()
    assert caught.value.part is not None
    assert caught.value.part.path == ((1, 1) if inside else (1,))
