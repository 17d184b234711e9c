"""Writing: what bodies come from and go to, what is checked on the way, and what is left behind."""

from __future__ import annotations

import asyncio
import io
import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from mpflow import MultipartReader, MultipartWriter, WriteError
from mpflow.sinks import open_sink
from mpflow.testing import Chunked, Failing
from tests.support import only_asyncio, only_trio

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 400


def writer(*parts: Any, **options: Any) -> MultipartWriter:
    root = MultipartWriter(boundary="b", **options)
    for obj in parts:
        root.append(obj)
    return root


async def bodies(data: bytes, root: MultipartWriter) -> list[bytes]:
    return [await part.read(limit=None) async for part in MultipartReader(data, root.content_type)]


async def drain(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


# -- sources ----------------------------------------------------------------------------------


async def test_async_iterables() -> None:
    async def generate() -> AsyncIterator[Any]:
        yield b""
        yield bytearray(b"a")
        yield memoryview(b"b")

    root = writer(generate(), Chunked(DATA, 1000))
    assert root.size is None
    assert not root.replayable
    assert await bodies(await root.as_bytes(), root) == [b"ab", DATA]


async def test_receive_streams() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](10)
    async with send:
        await send.send(b"one")
        await send.send(b"two")
    async with receive:
        root = writer(receive)
        assert await bodies(await root.as_bytes(), root) == [b"onetwo"]


@only_asyncio
async def test_a_stream_reader() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"\n" * 100_000)
    reader.feed_eof()
    root = writer(reader)
    assert await bodies(await root.as_bytes(), root) == [b"\n" * 100_000]


@only_trio
async def test_a_trio_stream() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(DATA)
    await theirs.send_eof()
    root = writer(ours)
    assert await bodies(await root.as_bytes(), root) == [DATA]


async def test_a_pipe() -> None:
    read, write = os.pipe()
    os.write(write, b"through a pipe")
    os.close(write)
    with os.fdopen(read, "rb") as source:
        root = writer(source)
        assert root.size is None
        assert not root.replayable
        assert await bodies(await root.as_bytes(), root) == [b"through a pipe"]
        with pytest.raises(WriteError, match="cannot seek"):
            await root.as_bytes()


# -- sinks ------------------------------------------------------------------------------------


class Taking:
    """Takes the bytes in each of the ways that a sink may."""

    def __init__(self, verb: str, most: int | None = None) -> None:
        self.data = b""
        self.chunks = 0

        async def take(data: bytes) -> int:
            await checkpoint()
            taken = bytes(data[:most])
            self.data += taken
            self.chunks += 1
            return len(taken)

        setattr(self, verb, take)


@pytest.mark.parametrize("verb", ["send", "send_all", "write"])
async def test_sinks_by_their_verb(verb: str) -> None:
    sink: Any = Taking(verb)
    root = writer("text", DATA)
    await root.write(sink)
    assert sink.data == await root.as_bytes()


async def test_a_callable() -> None:
    chunks: list[bytes] = []

    async def take(data: bytes) -> None:
        chunks.append(data)

    root = writer(*("x" for _ in range(10_000)))
    await root.write(take)
    assert b"".join(chunks) == await root.as_bytes()
    assert len(chunks) < 20
    await root.write(lambda data: take(data))
    with pytest.raises(TypeError, match="async callable"):
        await root.write(chunks.append)  # type: ignore[arg-type]


async def test_files(tmp_path: Path) -> None:
    root = writer("text", DATA)
    memory = io.BytesIO()
    await root.write(memory)
    with (tmp_path / "a").open("wb") as file:
        await root.write(file)
    async with await anyio.open_file(tmp_path / "b", "wb") as later:
        await root.write(later)
    expected = await root.as_bytes()
    assert memory.getvalue() == expected
    assert (tmp_path / "a").read_bytes() == expected
    assert (tmp_path / "b").read_bytes() == expected


async def test_a_file_that_takes_less_than_it_is_given() -> None:
    sink: Any = Taking("write", 1000)
    root = writer("text", DATA)
    await root.write(sink)
    assert sink.data == await root.as_bytes()
    none: Any = Taking("write", 0)
    with pytest.raises(TypeError, match="blocking file"):
        await root.write(none)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("opened", ["raw", "async"])
async def test_a_file_that_does_not_block(opened: str, full: bool) -> None:
    """`io.RawIOBase.write` gives None where it took nothing."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = b""
    while full:
        try:
            before += b"f" * os.write(write, b"f" * 65536)
        except BlockingIOError:
            break
    root = writer("text", bytes(300_000))
    got: list[bytes] = []

    async def take() -> None:
        while data := await anyio.to_thread.run_sync(os.read, read, 65536):
            got.append(data)

    async with anyio.create_task_group() as group:
        with os.fdopen(write, "wb", buffering=0) as file:
            sink: Any = anyio.wrap_file(file) if opened == "async" else file
            group.start_soon(take)
            await root.write(sink)
    os.close(read)
    assert b"".join(got) == before + await root.as_bytes()


async def test_a_file_that_takes_nothing() -> None:
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object, /) -> None:
            return None

    with Full() as file, pytest.raises(TypeError, match="expected a blocking file, or one whose"):
        await writer("text").write(file)  # type: ignore[arg-type]


@only_asyncio
async def test_a_stream_writer() -> None:
    got = bytearray()
    done = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.read(-1))
        writer.close()
        done.set()

    server = await asyncio.start_server(take, "127.0.0.1")
    async with server:
        _, target = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        root = writer("text", DATA)
        await root.write(target)
        target.close()
        await target.wait_closed()
        await done.wait()
    assert bytes(got) == await root.as_bytes()


@pytest.mark.parametrize("obj", [1, None, [], "x", io.StringIO()])
def test_what_cannot_be_written_to(obj: Any) -> None:
    with pytest.raises(TypeError, match="to write to"):
        open_sink(obj)


# -- chunks -----------------------------------------------------------------------------------


async def test_large_bytes_go_out_in_bounded_chunks() -> None:
    root = writer(bytes(9_000_000))
    sizes = [len(chunk) async for chunk in root]
    assert max(sizes) == 4 * 1024 * 1024
    assert sum(sizes) == root.size


async def test_nothing_waits_for_a_stream() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](10)
    outer = writer("first")
    with outer.nested("mixed", boundary="inner") as inner:
        inner.append(receive)
    async with send, receive:
        chunks = aiter(outer)
        got = b""
        while not got.endswith(b"octet-stream\r\n\r\n"):
            got += await anext(chunks)
        assert b"first" in got
        for number in range(3):
            await send.send(b"piece %d" % number)
            assert await anext(chunks) == b"piece %d" % number
        send.close()
        assert b"".join([chunk async for chunk in chunks]).endswith(b"--b--\r\n")


async def test_nothing_waits_for_the_next_part() -> None:
    send, receive = anyio.create_memory_object_stream[Any](10)
    async with send, receive:
        chunks = aiter(writer(parts=receive))
        for text in ("one", "two"):
            await send.send(text)
            assert (await anext(chunks)).endswith(text.encode())


# -- once more --------------------------------------------------------------------------------


async def test_what_can_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(DATA * 30)
    root = writer("text", b"bytes", path)
    root.nested(boundary="inner").append(path)
    assert root.replayable
    assert await root.as_bytes() == await root.as_bytes()
    async for _ in root:
        break  # half way
    assert len(await root.as_bytes()) == root.size


async def test_what_cannot_be_written_again() -> None:
    deep = writer("text")
    deep.nested(boundary="inner").append(Chunked(b"x"))
    for root in (writer("text", Chunked(b"x")), deep, writer(parts=Chunked(b""))):
        assert not root.replayable
        await root.as_bytes()
        sink: Any = Taking("send")
        with pytest.raises(WriteError, match="again"):
            await root.write(sink)
        assert sink.chunks == 0


def test_no_writer_holds_itself() -> None:
    root = writer()
    inner = root.nested(boundary="inner")
    with pytest.raises(WriteError, match="does not hold this one"):
        inner.append(root)
    with pytest.raises(WriteError, match="does not hold this one"):
        root.append(root)


# -- what must be true ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 9, 11, 100_000])
@pytest.mark.parametrize("cut", [1, 3, 10])
async def test_a_declared_size_that_is_not_true(size: int, cut: int) -> None:
    root = MultipartWriter(boundary="b")
    root.append("before")
    root.append(Chunked(b"0123456789", cut), {"Content-Length": str(size)})
    assert root.size is not None
    sink: Any = Taking("send")
    with pytest.raises(WriteError, match=f"expected a body of {size} bytes") as caught:
        await root.write(sink)
    assert caught.value.part is not None
    assert caught.value.part.path == (1,)
    assert len(sink.data.partition(b"octet-stream")[2].partition(b"\r\n\r\n")[2]) <= size


async def test_a_declared_size_that_is_true() -> None:
    root = MultipartWriter(boundary="b")
    root.append(Chunked(b"0123456789", 3), {"Content-Length": "10"})
    assert root.size == len(await root.as_bytes())


@pytest.mark.parametrize("said", ["4", "6", "-5", "x", "5.0", "٥", ""])
async def test_a_declared_size_of_bytes(said: str) -> None:
    root = MultipartWriter(boundary="b")
    root.append(b"12345", {"Content-Length": said})
    sink: Any = Taking("send")
    with pytest.raises(WriteError, match="Content-Length"):
        await root.write(sink)
    assert not sink.chunks


async def test_a_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    for changed in (b"1234", b"123456"):
        root = writer(path)
        path.write_bytes(changed)
        with pytest.raises(WriteError, match="expected a body of"):
            await root.as_bytes()
        path.write_bytes(b"12345")


@pytest.mark.parametrize("data", [b"a\r\n--b", b"--b", b"--bx\r\n", b"x" * 50_000 + b"\r\n--b--"])
async def test_the_boundary_in_a_body(data: bytes) -> None:
    sink: Any = Taking("send")
    with pytest.raises(WriteError, match="boundary") as caught:
        await writer(data).write(sink)
    assert not sink.chunks
    assert caught.value.part is not None
    for size in (1, 2, 5):
        with pytest.raises(WriteError, match="boundary"):
            await writer(Chunked(data, size)).as_bytes()
    outer = writer()
    outer.nested(boundary="inner").append(data)
    with pytest.raises(WriteError, match="boundary"):
        await outer.as_bytes()


async def test_a_nested_boundary_that_begins_like_the_outer_one() -> None:
    root = writer()
    root.nested(boundary="bc").append("x")
    with pytest.raises(WriteError, match="boundary"):
        await root.as_bytes()


async def test_a_source_that_fails() -> None:
    root = writer("before", Failing(b"abcdef", 3))
    chunks = aiter(root)
    with pytest.raises(ConnectionResetError, match="reset"):
        await drain(chunks)
    with pytest.raises(WriteError, match="cannot be written on"):
        await anext(chunks)


async def test_a_cancelled_writing_cannot_go_on(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    send, receive = anyio.create_memory_object_stream[bytes](1)
    root = writer(path, receive)
    chunks = aiter(root)
    async with send, receive:
        assert await anext(chunks)
        with anyio.move_on_after(0):
            await anext(chunks)
        with pytest.raises(WriteError, match="cannot be written on"):
            await anext(chunks)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
async def test_paths_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(3_000_000))

    def is_open() -> bool:
        links: list[str] = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink(f"/proc/self/fd/{fd}"))
            except FileNotFoundError:
                continue
        return str(path) in links

    root = writer(path)
    await root.as_bytes()
    assert not is_open()

    async def refuse(data: bytes) -> None:
        assert not data.startswith(b"\0") or is_open()
        if data.startswith(b"\0"):
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        await root.write(refuse)
    assert not is_open()
    chunks: Any = aiter(root)
    await anext(chunks)
    await anext(chunks)
    assert is_open()
    del chunks
    # The thread that has read it last holds it until it goes on, which may be after it has told.
    await anyio.to_thread.run_sync(bool)
    assert not is_open()


async def test_an_iterator_that_was_made_is_closed() -> None:
    class Parts:
        closed = False

        async def __aiter__(self) -> AsyncIterator[str]:
            try:
                yield "one"
                yield "--b"  # which is refused
            finally:
                self.closed = True

    parts = Parts()
    with pytest.raises(WriteError, match="boundary"):
        await writer(parts=parts).as_bytes()
    assert parts.closed


@pytest.mark.parametrize("given", ["text", None])
async def test_files_that_give_no_bytes(given: str | None) -> None:
    class Odd:
        def read(self, n: int = -1) -> str | None:
            return given

    with pytest.raises(TypeError, match="expected a blocking binary file"):
        await writer(Odd()).as_bytes()


async def test_text_of_a_text_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("é", "utf-8")
    root = MultipartWriter(boundary="b")
    with path.open(encoding="utf-8") as file:
        root.append(file, {"Content-Type": "text/plain; charset=ascii"})
        with pytest.raises(WriteError, match="charset can hold"):
            await root.as_bytes()


async def test_large_text_is_coded_piece_by_piece() -> None:
    text = "é" * 400_000
    root = MultipartWriter(boundary="b")
    root.append(text).headers["Content-Encoding"] = "deflate"
    data = await root.as_bytes()
    async for part in MultipartReader(data, root.content_type):
        assert zlib.decompress(await part.read()).decode() == text


async def test_a_coded_path_is_closed_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xff" * 10)
    root = writer(path)
    root.parts[0].headers["Content-Transfer-Encoding"] = "7bit"
    with pytest.raises(WriteError, match="7bit"):
        await root.as_bytes()
