"""What a body can be read from: every kind of source, its end, its closing, and its death."""

from __future__ import annotations

import asyncio
import io
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
import trio
from aiohttp import web
from anyio.abc import SocketStream

from mpflow import BrokenSource, ClientDisconnected, MultipartReader
from mpflow.sources import READ_SIZE, Source, asgi_source, open_source
from mpflow.testing import Chunked, Failing, Sentinel, body, content_type_of
from tests.support import BODY, TYPE, at_most, only_asyncio, only_trio, parts_of

pytestmark = pytest.mark.anyio

LARGE = bytes(range(256)) * 4096  # 1 MiB, with an LF every 256 bytes
NO_LF = b"x" * (512 * 1024)


async def read_all(obj: object) -> bytes:
    source = open_source(obj)
    return b"".join([bytes(chunk) async for chunk in source])


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


class Closable:
    """An async iterable that makes its iterator, and notes when that is closed."""

    def __init__(self, data: bytes = BODY) -> None:
        self.data = data
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for byte in self.data:
                yield bytes([byte])
        finally:
            self.closed += 1


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


# -- closing ----------------------------------------------------------------------------------


async def test_an_iterator_that_was_made_is_closed() -> None:
    given = Closable()
    async with MultipartReader(given, TYPE) as reader:
        await anext(reader)
        assert given.closed == 0
    assert given.closed == 1
    await reader.aclose()
    assert given.closed == 1


async def test_an_iterator_that_was_given_is_not_closed() -> None:
    given = aiter(Closable())
    source = open_source(given)
    first = await anext(source)
    await source.aclose()
    assert bytes(first) + b"".join([chunk async for chunk in given]) == BODY


async def test_a_stream_that_was_given_is_not_closed(path: Path) -> None:
    send, receive = anyio.create_memory_object_stream[bytes](1)
    with send, receive, path.open("rb") as file:
        for given in (receive, file):
            await MultipartReader(given, TYPE).aclose()
        send.send_nowait(b"still open")
        assert await receive.receive() == b"still open"
        assert not file.closed


async def test_a_closed_source_is_dead_but_an_ended_one_has_ended() -> None:
    source = open_source(BODY)
    await source.aclose()
    with pytest.raises(BrokenSource, match="it was closed"):
        await anext(source)

    ended = open_source(BODY)
    assert await read_all(ended) == BODY
    await ended.aclose()
    assert await read_all(ended) == b""


# -- death ------------------------------------------------------------------------------------


async def stuck() -> AsyncIterator[bytes]:
    yield BODY[:-4]
    await anyio.sleep_forever()


class Waits:
    """A stream that gives nothing the first time, and would give on afterwards."""

    def __init__(self) -> None:
        self.calls = 0

    async def receive(self) -> bytes:
        self.calls += 1
        if self.calls == 2:
            await anyio.sleep_forever()
        return BODY[:-4] if self.calls == 1 else BODY[-4:]


@pytest.mark.parametrize("make", [stuck, Waits])
async def test_a_cancelled_read_leaves_the_source_dead(make: Callable[[], Any]) -> None:
    source = open_source(make())
    await anext(source)
    await at_most(1, source.__anext__)
    for _ in range(2):
        with pytest.raises(BrokenSource, match="cancelled or failed") as caught:
            await anext(source)
        assert caught.value.status == 500


async def test_a_part_whose_source_died_never_looks_whole() -> None:
    reader = MultipartReader(stuck(), TYPE)
    await anext(reader)
    part = await anext(reader)
    await at_most(1, part.read)
    for _ in range(2):
        with pytest.raises(BrokenSource):
            await part.read()
    with pytest.raises(BrokenSource):
        await reader.next_part()


async def test_a_failed_read_leaves_the_source_dead() -> None:
    source = open_source(Failing(BODY, 9))
    await anext(source)
    with pytest.raises(ConnectionResetError):
        await anext(source)
    with pytest.raises(BrokenSource):
        await anext(source)


async def test_what_the_source_said_of_the_body_is_said_again() -> None:
    source = open_source(Failing(BODY, 9, error=ClientDisconnected("gone")))
    await anext(source)
    for _ in range(2):
        with pytest.raises(ClientDisconnected, match="gone"):
            await anext(source)


async def test_a_busy_source_is_not_dead() -> None:
    class Busy:
        async def receive(self) -> bytes:
            raise anyio.BusyResourceError("reading from")

    source = open_source(Busy())
    for _ in range(2):
        with pytest.raises(anyio.BusyResourceError):
            await anext(source)


async def test_nothing_is_read_after_the_end() -> None:
    ends: list[int] = []

    class Once:
        async def receive(self) -> bytes:
            ends.append(1)
            raise anyio.EndOfStream

    source = open_source(Once())
    for _ in range(3):
        with pytest.raises(StopAsyncIteration):
            await anext(source)
    assert ends == [1]


# -- asgi -------------------------------------------------------------------------------------


class Messages:
    """An ASGI `receive` that fails the test when it is called after its last message."""

    def __init__(self, *messages: MutableMapping[str, Any]) -> None:
        self._messages: Iterator[MutableMapping[str, Any]] = iter(messages)

    async def __call__(self) -> MutableMapping[str, Any]:
        message = next(self._messages, None)
        assert message is not None, "receive() was called after its last message"
        return message


def request(data: bytes, **more: Any) -> dict[str, Any]:
    return {"type": "http.request", "body": data, **more}


def asgi(*messages: MutableMapping[str, Any]) -> Source:
    return asgi_source(Messages(*messages))


async def test_asgi_bodies_end_without_another_call() -> None:
    source = asgi(request(b"a", more_body=True), request(b"b", more_body=False))
    assert await read_all(source) == b"ab"
    assert await read_all(source) == b""


async def test_asgi_extra_empty_messages() -> None:
    empty = {"type": "http.request", "more_body": True}
    source = asgi(empty, request(b"a", more_body=True), empty, request(b""))
    assert await read_all(source) == b"a"


async def test_asgi_absent_body_and_more_body() -> None:
    assert await read_all(asgi({"type": "http.request"})) == b""
    assert await read_all(asgi(request(b"a"))) == b"a"


async def test_asgi_disconnect_is_latched() -> None:
    source = asgi(request(b"a", more_body=True), {"type": "http.disconnect"})
    assert await anext(source) == b"a"
    for _ in range(3):
        with pytest.raises(ClientDisconnected, match="before the body was whole") as caught:
            await anext(source)
        assert caught.value.status == 400


async def test_asgi_disconnect_in_a_part() -> None:
    source = asgi(request(BODY[:-15], more_body=True), {"type": "http.disconnect"})
    reader = MultipartReader(source, content_type_of())
    assert await (await anext(reader)).read() == b"one"
    part = await anext(reader)
    for _ in range(2):
        with pytest.raises(ClientDisconnected):
            await part.read()


async def test_asgi_is_not_read_past_the_close_delimiter() -> None:
    assert await parts_of(asgi(request(BODY, more_body=True))) == [b"one", b"two"]


async def test_the_sentinel_itself() -> None:
    source = open_source(Sentinel(b"ab"))
    assert [await anext(source), await anext(source)] == [b"a", b"b"]
    with pytest.raises(AssertionError, match="read on"):
        await anext(source)
