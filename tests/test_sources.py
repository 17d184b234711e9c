"""What a body can be read from: every kind of source, and what is none."""

from __future__ import annotations

import asyncio
import io
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
import trio
from aiohttp import web
from anyio.abc import SocketStream

from mpflow import BrokenSource, MultipartReader
from mpflow.sources import READ_SIZE, open_source
from mpflow.testing import Chunked, body, content_type_of
from tests.support import BODY, TYPE, Closable, only_asyncio, only_trio, parts_of, read_all

pytestmark = pytest.mark.anyio

LARGE = bytes(range(256)) * 4096  # 1 MiB, with an LF every 256 bytes
NO_LF = b"x" * (512 * 1024)


# -- bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, io.BytesIO])
async def test_bytes_of_any_kind(make: Callable[[bytes], Any]) -> None:
    assert await parts_of(make(BODY)) == [b"one", b"two"]


async def test_bytesio_is_read_from_where_it_stands() -> None:
    file = io.BytesIO(b"junk" + BODY)
    file.seek(4)
    assert await parts_of(file) == [b"one", b"two"]
    assert not file.closed


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
async def test_chunks_may_be_of_any_bytes_like_type(make: Callable[[bytes], Any]) -> None:
    async def chunks() -> AsyncIterator[Any]:
        for i in range(len(BODY)):
            yield make(BODY[i : i + 1])

    assert await parts_of(chunks()) == [b"one", b"two"]


async def test_a_buffer_that_is_used_again_spoils_nothing() -> None:
    buffer = bytearray(7)

    async def chunks() -> AsyncIterator[memoryview]:
        for i in range(0, len(BODY), len(buffer)):
            piece = BODY[i : i + len(buffer)]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]

    assert await parts_of(chunks()) == [b"one", b"two"]


async def test_empty_chunks_are_no_end() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for byte in BODY:
            yield b""
            yield bytes([byte])

    assert await parts_of(chunks()) == [b"one", b"two"]


async def test_a_chunk_of_158_megabytes_is_not_copied_to_be_read() -> None:
    size = 158 * 1024 * 1024
    chunks = [b"--boundary\r\n\r\nx", bytes(size), b"\r\n--boundary--"]
    send, receive = anyio.create_memory_object_stream[bytes](3)
    with send, receive:
        for chunk in chunks:
            send.send_nowait(chunk)
        part = await anext(MultipartReader(receive, TYPE))
        assert await part.receive() == b"x"
        assert await part.receive(size) is chunks[1]


# -- files ------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "body"
    file.write_bytes(LARGE)
    return file


@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
async def test_binary_files(path: Path, buffering: int) -> None:
    with path.open("rb", buffering=buffering) as file:
        assert await read_all(file) == LARGE
        assert not file.closed


async def test_temporary_files() -> None:
    with tempfile.TemporaryFile() as file, tempfile.SpooledTemporaryFile(max_size=9) as spooled:
        for each in (file, spooled):
            each.write(LARGE)
            each.seek(0)
            assert await read_all(each) == LARGE


async def test_async_files(path: Path) -> None:
    async with await anyio.open_file(path, "rb") as file:
        assert await read_all(file) == LARGE


@only_trio
async def test_trio_files(path: Path) -> None:
    async with await trio.open_file(path, "rb") as file:
        assert await read_all(file) == LARGE
    assert await read_all(trio.wrap_file(io.BytesIO(LARGE))) == LARGE


class UploadFile:
    """Reads asynchronously, as Starlette's upload does: no lines, no iteration."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


async def test_objects_with_nothing_but_an_async_read() -> None:
    assert await read_all(UploadFile(LARGE)) == LARGE


async def test_a_file_is_read_in_threads_while_the_loop_goes_on() -> None:
    released = threading.Event()
    threads: list[threading.Thread] = []

    class SlowFile(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, size: int = -1, /) -> bytes:
            assert size == READ_SIZE
            threads.append(threading.current_thread())
            assert released.wait(10)
            return b"" if len(threads) > 1 else b"data"

    got: list[bytes] = []

    async def read() -> None:
        got.append(await read_all(SlowFile()))

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()  # the loop runs, though read() blocks
        assert not got
        released.set()
    assert got == [b"data"]
    assert threading.current_thread() not in threads


# -- stream readers ---------------------------------------------------------------------------


@only_asyncio
@pytest.mark.parametrize("size", [64 * 1024 + 1, 512 * 1024])
async def test_asyncio_stream_reader_is_not_read_by_lines(size: int) -> None:
    reader = asyncio.StreamReader()  # its limit for a line is 64 KiB
    value = b"x" * size
    reader.feed_data(body([{"data": value}, {"data": b"\n" * 9}]))
    reader.feed_eof()
    assert await parts_of(reader) == [value, b"\n" * 9]


@only_asyncio
async def test_asyncio_stream_reader_over_a_socket() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(LARGE + NO_LF)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await read_all(reader) == LARGE + NO_LF
        writer.close()
        await writer.wait_closed()


@only_asyncio
async def test_aiohttp_stream_readers_of_requests_and_responses() -> None:
    values = [NO_LF, b"line\n" * 9]
    sent = body([{"data": value} for value in values])

    async def echo(request: web.Request) -> web.Response:
        assert await parts_of(request.content, request.headers["Content-Type"]) == values
        return web.Response(body=sent, headers={"Content-Type": TYPE})

    app = web.Application()
    app.router.add_post("/", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"http://{host}:{port}/", data=sent, headers={"Content-Type": TYPE}
            ) as response,
        ):
            assert response.status == 200
            assert await parts_of(response.content) == values
    finally:
        await runner.cleanup()


# -- receive streams --------------------------------------------------------------------------


async def test_anyio_object_streams() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](len(BODY))
    with send, receive:
        for byte in BODY:
            send.send_nowait(bytes([byte]))
        send.close()
        assert await parts_of(receive) == [b"one", b"two"]


async def test_anyio_byte_streams() -> None:
    async def serve(stream: SocketStream) -> None:
        async with stream:
            await stream.send(LARGE)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            assert await read_all(client) == LARGE
        group.cancel_scope.cancel()


@only_trio
async def test_trio_streams_and_their_bytearrays() -> None:
    from trio.testing import memory_stream_pair

    sender, receiver = memory_stream_pair()
    await sender.send_all(BODY)
    await sender.send_eof()
    assert await parts_of(receiver) == [b"one", b"two"]

    sender, receiver = memory_stream_pair()
    await sender.send_all(LARGE)
    chunk = await anext(open_source(receiver))
    assert isinstance(chunk, bytearray)
    assert LARGE.startswith(chunk)


@only_trio
async def test_trio_channels() -> None:
    send, receive = trio.open_memory_channel[bytes](2)
    async with receive:
        async with send:
            await send.send(BODY[:9])
            await send.send(BODY[9:])
        assert await read_all(receive) == BODY


async def test_anything_with_an_async_receive() -> None:
    class Queue:
        def __init__(self) -> None:
            self.chunks = [BODY[:30], BODY[30:]]

        async def receive(self) -> bytes:
            if not self.chunks:
                raise anyio.EndOfStream
            return self.chunks.pop(0)

    assert await read_all(Queue()) == BODY


async def test_another_part() -> None:
    sent = body([{"data": BODY}, {"data": b"after"}], boundary="o")
    outer = MultipartReader(sent, content_type_of("o", "mixed"))
    part = await anext(outer)
    assert await parts_of(part) == [b"one", b"two"]
    assert await (await anext(outer)).read() == b"after"


async def test_a_source_is_taken_as_it_is() -> None:
    source = open_source(BODY)
    assert open_source(source) is source
    assert aiter(source) is source


# -- async iterables --------------------------------------------------------------------------


async def test_async_generators() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield BODY[:20]
        yield BODY[20:]

    assert await parts_of(chunks()) == [b"one", b"two"]


async def test_classes_with_aiter() -> None:
    async with MultipartReader(Closable(), TYPE) as reader:
        assert [await part.read() async for part in reader] == [b"one", b"two"]
    assert await parts_of(Chunked(BODY, 3)) == [b"one", b"two"]


async def test_streams_as_starlette_has_them() -> None:
    class Request:
        async def stream(self) -> AsyncIterator[bytes]:
            yield BODY
            yield b""

    assert await parts_of(Request().stream()) == [b"one", b"two"]


# -- what is none -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "obj",
    ["text", 7, None, [b"chunk"], iter([b"chunk"]), iter("text"), {}, io.StringIO("x"), object()],
    ids=lambda obj: type(obj).__name__,
)
async def test_what_is_no_source_is_refused_when_the_reader_is_made(obj: Any) -> None:
    with pytest.raises(TypeError, match=f"expected bytes, .* got {type(obj).__name__}$"):
        MultipartReader(obj, TYPE)


async def test_a_text_file_is_refused(path: Path) -> None:
    with path.open(encoding="latin-1") as file, pytest.raises(TypeError, match="binary file"):
        open_source(file)
    async with await anyio.open_file(path, encoding="latin-1") as text:
        with pytest.raises(TypeError, match="expected a binary file, got str"):
            await read_all(text)


async def test_a_file_that_does_not_block_is_refused() -> None:
    class NonBlocking(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes | None:
            return None

    with pytest.raises(TypeError, match="expected a blocking file"):
        await read_all(NonBlocking())


async def test_chunks_of_text_are_refused() -> None:
    async def chunks() -> AsyncGenerator[str, None]:
        yield "text"

    async with aclosing(chunks()) as text:
        source = open_source(text)
        with pytest.raises(TypeError, match="expected chunks of bytes, got str"):
            await anext(source)
        with pytest.raises(BrokenSource):
            await anext(source)
