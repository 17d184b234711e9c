"""A page on multipart of another library, walked from top to bottom: each thing that it shows.

Knows: `MultipartReader` and `MultipartWriter`, and real HTTP around them: httpx on every backend,
aiohttp on asyncio. Must not know: routes and flows, which that page knows nothing of.
"""

from __future__ import annotations

import gzip
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import anyio
import h11
import httpx
import pytest
from aiohttp import web
from anyio.abc import AnyByteStream, SocketAttribute, SocketStream

from mpflow import MultipartReader, MultipartWriter, WriteError
from tests.http import answering
from tests.support import crlf, only_asyncio

pytestmark = pytest.mark.anyio

# httpx closes none of the generators within the one that it gives; where a body is left early on
# trio, each of them warns. Nothing is lost: the response, which holds the connection, is closed.
left_early = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <async_generator object:pytest.PytestUnraisableExceptionWarning"
)

SECRET = b"nobody may know this. " * 500
PLENTY = bytes(range(256)) * 4096


# -- what stands on both ends of a connection ------------------------------------------------------


class Arriving:
    """The body of a request, as it comes."""

    def __init__(self, stream: AnyByteStream, connection: h11.Connection) -> None:
        self._stream = stream
        self._connection = connection

    async def event(self) -> object:
        """The next event of the connection."""
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            self._connection.receive_data(await self._stream.receive())
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        event = await self.event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        raise StopAsyncIteration


@asynccontextmanager
async def serving(serve: Any) -> AsyncGenerator[str]:
    """The address of a server that hands each connection to `serve`."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/"
        group.cancel_scope.cancel()


async def tree(reader: MultipartReader) -> list[Any]:
    """The headers and the content of each part, or what a multipart among them holds."""
    found: list[Any] = []
    async for part in reader:
        inside = await tree(part.multipart()) if part.is_multipart else None
        found.append((part.headers, await part.read(decode=True) if inside is None else inside))
    return found


class Receiver:
    """A server that reads each request, and keeps what came."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.parts: list[Any] = []

    async def __call__(self, stream: SocketStream) -> None:
        async with stream:
            connection = h11.Connection(h11.SERVER)
            body = Arriving(stream, connection)
            request = await body.event()
            assert isinstance(request, h11.Request)
            self.headers = {name.decode(): value.decode() for name, value in request.headers}
            self.parts = await tree(MultipartReader(body, self.headers["content-type"]))
            await body.event()
            for event in (h11.Response(status_code=204, headers=[]), h11.EndOfMessage()):
                await stream.send(connection.send(event) or b"")


# -- reading multipart responses -------------------------------------------------------------------


async def a_response() -> tuple[bytes, dict[str, str]]:
    """A document of JSON and several files."""
    root = MultipartWriter("mixed", headers={"X-Store": "1"})
    root.append_json({"name": "report"})
    root.append(PLENTY).set_content_disposition("attachment", filename="plenty.bin")
    coded = root.append(SECRET, {"Content-Encoding": "gzip"})
    coded.set_content_disposition("attachment", filename="secret.txt")
    root.append(PLENTY).set_content_disposition("attachment", filename="more.bin")
    return await root.as_bytes(), {"Content-Type": root.content_type}


async def find_the_secret(response: object) -> tuple[Any, bytes, bytes]:
    """The page's loop: the metadata, and one file as it came and as it was."""
    metadata, filedata, decoded = None, b"", b""
    async with MultipartReader.from_response(response) as reader:
        while True:
            part = await reader.next_part()
            if part is None:
                break
            if part.headers["CONTENT-TYPE"] == "application/json":
                metadata = await part.json()
                continue
            if part.filename != "secret.txt":
                continue  # what is left of it is drained when the next part is asked for
            filedata = await part.read()
            decoded = part.decode(filedata)
            break
    return metadata, filedata, decoded


def check_the_secret(found: tuple[Any, bytes, bytes]) -> None:
    metadata, filedata, decoded = found
    assert metadata == {"name": "report"}
    assert filedata.startswith(b"\x1f\x8b")
    assert gzip.decompress(filedata) == decoded == SECRET


@left_early
async def test_a_response_of_httpx() -> None:
    async with (
        answering(*await a_response()) as url,
        httpx.AsyncClient(trust_env=False) as client,
        client.stream("GET", url) as response,
    ):
        check_the_secret(await find_the_secret(response))


@only_asyncio
async def test_a_response_of_aiohttp() -> None:
    async with answering(*await a_response()) as url, aiohttp.request("GET", url) as response:
        check_the_secret(await find_the_secret(response))


async def test_a_part_is_a_part_or_a_multipart() -> None:
    root = MultipartWriter()
    root.append("plain")
    with root.nested("related") as related:
        related.append("inner")
        related.nested("mixed").append("innermost")
    reader = MultipartReader(await root.as_bytes(), root.content_type)
    plain = await reader.next_part()
    assert plain is not None
    assert not plain.is_multipart
    related_part = await reader.next_part()
    assert related_part is not None
    assert related_part.headers["Content-Type"].startswith("multipart/related; boundary=")
    (_, inner), (_, ((_, innermost),)) = await tree(related_part.multipart())
    assert (inner, innermost) == (b"inner", b"innermost")
    assert await reader.next_part() is None
    assert await reader.next_part() is None


@pytest.mark.parametrize(
    "coding",
    [
        {},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "deflate"},
        {"Content-Encoding": "identity"},
        {"Content-Transfer-Encoding": "base64"},
        {"Content-Transfer-Encoding": "quoted-printable"},
        {"Content-Encoding": "gzip", "Content-Transfer-Encoding": "base64"},
    ],
    ids=lambda coding: "+".join(coding.values()) or "plain",
)
async def test_the_helpers_know_codings(coding: dict[str, str]) -> None:
    root = MultipartWriter()
    root.append("text é", coding)
    root.append_json({"test": "passed"}, coding)
    root.append_form([("key", "value"), ("key", "é")], coding)
    root.append(b"bytes", coding)
    root.append(b"bytes", coding)
    reader = MultipartReader(await root.as_bytes(), root.content_type)
    assert await (await anext(reader)).text() == "text é"
    assert await (await anext(reader)).json() == {"test": "passed"}
    assert await (await anext(reader)).form() == [("key", "value"), ("key", "é")]
    assert await (await anext(reader)).read(decode=True) == b"bytes"
    raw = await anext(reader)
    chunks = b""
    while True:
        try:
            chunks += await raw.receive(3)
        except anyio.EndOfStream:
            break
    assert raw.decode(chunks) == b"bytes"
    assert (chunks == b"bytes") == (not set(coding.values()) - {"identity", "quoted-printable"})


# -- sending multipart requests --------------------------------------------------------------------


@contextmanager
def a_request(folder: Path) -> Iterator[MultipartWriter]:
    """Everything that the page appends."""
    photo = folder / "photo.gif"
    photo.write_bytes(b"GIF89a")
    with photo.open("rb") as first, photo.open("rb") as second, MultipartWriter("mixed") as root:
        with root.nested("related") as one:
            one.append("one")
        with root.nested("related") as two, two.nested("related") as three:
            three.append("three")
        root.append("text")
        root.append(b"bytes")
        root.append(b"GIF87a", {"CONTENT-TYPE": "image/gif"})
        root.append(first)
        part = root.append(second)
        part.set_content_disposition("attachment", filename="secret.txt")
        part.headers["Content-ID"] = "X-12345"
        part.headers["Content-Encoding"] = "gzip"
        root.append_json({"test": "passed"})
        root.append_form([("key", "value")])
        yield root


def check_the_request(parts: list[Any]) -> None:
    related, deeper, text, data, gif, file, secret, json, form = parts
    assert [content for _, content in related[1]] == [b"one"]
    assert [content for _, content in deeper[1][0][1]] == [b"three"]
    assert (text[0]["Content-Type"], text[1]) == ("text/plain; charset=utf-8", b"text")
    assert (data[0]["Content-Type"], data[1]) == ("application/octet-stream", b"bytes")
    assert (gif[0]["Content-Type"], gif[1]) == ("image/gif", b"GIF87a")
    assert (file[0]["Content-Type"], file[1]) == ("image/gif", b"GIF89a")
    assert file[0]["Content-Disposition"] == 'attachment; filename="photo.gif"'
    assert secret[0]["Content-Disposition"] == 'attachment; filename="secret.txt"'
    assert (secret[0]["Content-ID"], secret[0]["Content-Encoding"]) == ("X-12345", "gzip")
    assert secret[1] == b"GIF89a"
    assert (json[0]["Content-Type"], json[1]) == ("application/json", b'{"test": "passed"}')
    assert form[0]["Content-Type"] == "application/x-www-form-urlencoded"
    assert form[1] == b"key=value"


async def test_the_content_of_a_request_of_httpx(tmp_path: Path) -> None:
    receiver = Receiver()
    with a_request(tmp_path) as root:
        async with serving(receiver) as url, httpx.AsyncClient(trust_env=False) as client:
            response = await client.post(url, content=root, headers=root.headers)
    assert response.status_code == 204
    assert receiver.headers["transfer-encoding"] == "chunked"  # gzip's size is not known before
    check_the_request(receiver.parts)


@only_asyncio
async def test_the_data_of_a_request_of_aiohttp(tmp_path: Path) -> None:
    receiver = Receiver()
    with a_request(tmp_path) as root:
        async with (
            serving(receiver) as url,
            aiohttp.ClientSession() as session,
            session.post(url, data=root, headers=root.headers) as response,
        ):
            assert response.status == 204
    check_the_request(receiver.parts)


async def test_a_stream_is_written_once() -> None:
    async def once() -> AsyncIterator[bytes]:
        yield b"once"

    root = MultipartWriter()
    root.append(once())
    assert not root.replayable
    assert b"once" in await root.as_bytes()
    with pytest.raises(WriteError, match="again"):
        await root.as_bytes()


# -- frames without end ----------------------------------------------------------------------------

BOUNDARY = "some-boundary"
CAMERA = {"Content-Type": f"multipart/x-mixed-replace;boundary={BOUNDARY}"}


async def write_frames(sink: Any) -> None:
    """Three frames, and the beginning of a fourth: a frame is whole once the next one begins."""
    for number in range(4):
        with MultipartWriter("x-mixed-replace", boundary=BOUNDARY) as root:
            root.append(b"frame %d" % number, {"Content-Type": "image/jpeg"})
        await root.write(sink, close_boundary=False)


async def check_frames(response: object) -> None:
    found: list[tuple[str, bytes]] = []
    async with (
        MultipartReader.from_response(response) as reader,
        reader.frames(latest=False) as frames,
    ):
        async for frame in frames:
            found.append((frame.info.headers["Content-Type"], frame.data))
            if len(found) == 3:
                break
    assert found == [("image/jpeg", b"frame %d" % number) for number in range(3)]


@left_early
async def test_frames_over_a_socket() -> None:
    async def camera(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {CAMERA['Content-Type']}\r\n\r\n"
            await stream.send(head.encode())
            await write_frames(stream)

    async with (
        serving(camera) as url,
        httpx.AsyncClient(trust_env=False) as client,
        client.stream("GET", url) as response,
    ):
        await check_frames(response)


@only_asyncio
async def test_frames_of_an_aiohttp_server() -> None:
    async def camera(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=CAMERA)
        await response.prepare(request)
        await write_frames(response)
        return response

    app = web.Application()
    app.router.add_get("/", camera)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.request("GET", f"http://127.0.0.1:{runner.addresses[0][1]}/") as reply:
            await check_frames(reply)
    finally:
        await runner.cleanup()


# -- servers that are strange ----------------------------------------------------------------------


async def test_no_part_has_a_content_length() -> None:
    root = MultipartWriter()
    root.append("one")
    root.append(b"two")
    assert (await root.as_bytes()).count(b"Content-Length") == 2
    for part in root.parts:
        part.headers.pop("Content-Length", None)
    assert b"Content-Length" not in await root.as_bytes()


class Buffer:
    """The page's own writer: it shows how large a body is."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    async def write(self, data: bytes) -> None:
        self.buffer += data


async def test_a_request_with_a_content_length(tmp_path: Path) -> None:
    writer, receiver = Buffer(), Receiver()
    with a_request(tmp_path) as root:
        await root.write(writer)
    async with serving(receiver) as url, httpx.AsyncClient(trust_env=False) as client:
        await client.post(url, content=bytes(writer.buffer), headers=root.headers)
    assert receiver.headers["content-length"] == str(len(writer.buffer))
    check_the_request(receiver.parts)


async def test_the_size_is_known_without_a_buffer() -> None:
    root, receiver = MultipartWriter(), Receiver()
    root.append("one")
    root.nested("related").append(b"two")
    async with serving(receiver) as url, httpx.AsyncClient(trust_env=False) as client:
        await client.post(url, content=root, headers=root.headers)
    assert receiver.headers["content-length"] == str(root.size) == str(len(await root.as_bytes()))


# -- documents with attachments, or without --------------------------------------------------------


def document(name: str) -> str:
    return (
        "--:\nCONTENT-TYPE: multipart/related; boundary=----:\n\n"
        f'----:\nCONTENT-TYPE: application/json\n\n{{"_id": "{name}"}}\n'
        "----:\nCONTENT-TYPE: text/plain\n"
        f"CONTENT-DISPOSITION: attachment; filename={name}.txt\n\n{name}! {name}! {name}!\n"
        "----:--\n"
    )


def alone(name: str) -> str:
    return f'--:\nCONTENT-TYPE: application/json\n\n{{"_id": "{name}"}}\n'


STORE = crlf(alone("foo") + document("bar") + alone("boo") + document("baz") + "--:--")
FOUND: list[tuple[Any, list[tuple[str | None, bytes]]]] = [
    ({"_id": "foo"}, []),
    ({"_id": "bar"}, [("bar.txt", b"bar! bar! bar!")]),
    ({"_id": "boo"}, []),
    ({"_id": "baz"}, [("baz.txt", b"baz! baz! baz!")]),
]


@asynccontextmanager
async def store() -> AsyncGenerator[httpx.Response]:
    """The answer of the page's server, whose boundaries hold the dashes of their delimiters."""
    async with (
        answering(STORE, {"Content-Type": "multipart/mixed; boundary=--:"}) as url,
        httpx.AsyncClient(trust_env=False) as client,
        client.stream("GET", url) as response,
    ):
        yield response


DASHED = {"dashed-boundary"}


def reading(response: httpx.Response) -> MultipartReader:
    return MultipartReader.from_response(response, tolerate=DASHED)


async def test_documents_in_one_loop() -> None:
    found: list[Any] = []
    async with store() as response, reading(response) as reader:
        while (part := await reader.next_part()) is not None:
            if part.is_multipart:
                inside = part.multipart()
                first = await anext(inside)
                doc = await first.json()
                found.append((doc, [(file.filename, await file.read()) async for file in inside]))
            else:
                found.append((await part.json(), []))
        assert found == FOUND
        # Those boundaries need quotes, and have none.
        assert {item.code for item in reader.deviations} == {*DASHED, "unquoted-value"}


async def test_documents_by_pairs() -> None:
    async with store() as response, reading(response) as reader:
        found = [
            (await doc.json(), [(file.filename, await file.read()) async for file in files])
            async for doc, files in reader.pairs()
        ]
    assert found == FOUND


class PairsMultipartReader(MultipartReader):
    """The page's own reader: documents, each with a reader of its files, if it has some."""

    reader_class = MultipartReader

    async def next_pair(self) -> tuple[Any, MultipartReader | None]:
        """The next document and its files; None and None after the last one."""
        part = await self.next_part()
        if part is None:
            return None, None
        if not part.is_multipart:
            return await part.json(), None
        files = part.multipart()
        return await (await anext(files)).json(), files


async def test_documents_by_a_subclass() -> None:
    found: list[Any] = []
    async with (
        store() as response,
        PairsMultipartReader.from_response(response, tolerate=DASHED) as reader,
    ):
        while True:
            doc, files_reader = await reader.next_pair()
            if doc is None:
                break
            files: list[tuple[str | None, bytes]] = []
            if files_reader is not None:
                assert type(files_reader) is MultipartReader
                while (part := await files_reader.next_part()) is not None:
                    files.append((part.filename, await part.read()))
            found.append((doc, files))
    assert found == FOUND
