"""The writer: its parts, their headers, the bytes on the wire, sizes, and what it refuses."""

from __future__ import annotations

import base64
import gzip
import io
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from mpflow import MultipartReader, MultipartWriter, Payload, WriteError
from mpflow.testing import Chunked, part
from tests.support import crlf

pytestmark = pytest.mark.anyio


def writer(**options: Any) -> MultipartWriter:
    return MultipartWriter(boundary="b", **options)


async def sent(obj: Any, headers: Any = None) -> tuple[dict[str, str], bytes]:
    """The headers and the body of the only part, as a reader gets them."""
    root = writer()
    root.append(obj, headers)
    data = await root.as_bytes()
    assert root.size in (None, len(data))
    async for received in MultipartReader(data, root.content_type):
        return dict(received.headers), await received.read(limit=None)
    raise AssertionError("no part came")


# -- bytes ------------------------------------------------------------------------------------


async def test_the_bytes_of_a_body() -> None:
    with writer() as root:
        root.append("text")
        root.append_json({"test": "passed"})
        root.append_form({"a": "1", "b": ["x y", "é"]})
        with root.nested("related", boundary="c d", headers={"X-Depth": "1"}) as related:
            related.append(b"x", {"Content-ID": "<x>"})
            related.append(b"", {})
    expected = crlf("""\
--b
Content-Type: text/plain; charset=utf-8
Content-Length: 4

text
--b
Content-Type: application/json
Content-Length: 18

{"test": "passed"}
--b
Content-Type: application/x-www-form-urlencoded
Content-Length: 18

a=1&b=x+y&b=%C3%A9
--b
Content-Type: multipart/related; boundary="c d"
X-Depth: 1

--c d
Content-Type: application/octet-stream
Content-ID: <x>
Content-Length: 1

x
--c d
Content-Type: application/octet-stream
Content-Length: 0


--c d--

--b--
""")
    assert await root.as_bytes() == expected
    assert b"".join([chunk async for chunk in root]) == expected
    assert root.size == len(expected)
    assert dict(root.headers) == {
        "Content-Type": "multipart/mixed; boundary=b",
        "Content-Length": str(len(expected)),
    }


async def test_no_parts() -> None:
    root = writer()
    assert await root.as_bytes() == b"--b--\r\n"
    assert root.size == 7
    assert [part async for part in MultipartReader(await root.as_bytes(), root.content_type)] == []


async def test_parts_without_headers() -> None:
    root = writer()
    for payload in (root.append("a"), root.append(b"")):
        payload.headers.clear()
    assert await root.as_bytes() == b"--b\r\n\r\na\r\n--b\r\n\r\n\r\n--b--\r\n"
    assert root.size == len(await root.as_bytes())


async def test_frames() -> None:
    stream = io.BytesIO()
    for number in range(3):
        frame = MultipartWriter("x-mixed-replace", boundary="frame")
        frame.append(b"%d" % number, {"Content-Type": "image/jpeg"})
        await frame.write(stream, close_boundary=False)
    await MultipartWriter("x-mixed-replace", boundary="frame").write(stream, close_boundary=False)
    data = stream.getvalue() + b"--frame--\r\n"
    found = [await p.read() async for p in MultipartReader(data, frame.content_type)]
    assert found == [b"0", b"1", b"2"]


def test_a_writer_is_no_sync_iterable() -> None:
    root: Any = writer()
    assert not hasattr(root, "__iter__")
    assert not hasattr(root, "__len__")
    assert root
    with pytest.raises(TypeError):
        iter(root)
    assert repr(root) == "<MultipartWriter multipart/mixed; boundary=b of 0 parts>"


# -- kinds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_bytes_are_taken_as_they_are_now(kind: Callable[[bytearray], Any]) -> None:
    given = bytearray(b"a\0b")
    root = writer()
    root.append(given if kind is bytearray else kind(given))
    given[:] = b"xyz"
    assert b"\r\n\r\na\0b\r\n--b" in await root.as_bytes()
    headers, _ = await sent(b"a")
    assert headers == {"Content-Type": "application/octet-stream", "Content-Length": "1"}


async def test_text_goes_out_in_its_charset() -> None:
    assert (await sent("é"))[1] == "é".encode()
    assert (await sent("é", {"Content-Type": "text/plain; charset=latin-1"}))[1] == b"\xe9"
    assert (await sent("é", {"content-type": "text/html"}))[1] == "é".encode()
    root = writer()
    root.append("é").headers["Content-Type"] = "text/plain; charset=latin-1"
    data = await root.as_bytes()
    assert b"Content-Length: 1\r\n" in data
    assert b"\r\n\r\n\xe9\r\n" in data
    assert root.size == len(data)


@pytest.mark.parametrize("charset", ["nonsense", "utf-7", "ascii"])
async def test_text_that_its_charset_does_not_have(charset: str) -> None:
    with pytest.raises(WriteError, match="charset"):
        await sent("é", {"Content-Type": f"text/plain; charset={charset}"})


@pytest.mark.parametrize("obj", [1, 1.5, None, {"a": 1}, [b"a"], object(), ("a", {})])
def test_what_cannot_be_sent(obj: Any) -> None:
    with pytest.raises(TypeError, match="expected str, bytes, a path"):
        writer().append(obj)
    with pytest.raises(TypeError, match="received part"):
        writer().append_part(obj)


@pytest.fixture
def gif(tmp_path: Path) -> Path:
    path = tmp_path / "photo.gif"
    path.write_bytes(b"GIF89a")
    return path


async def test_a_path(gif: Path) -> None:
    assert await sent(gif) == (
        {
            "Content-Type": "image/gif",
            "Content-Disposition": 'attachment; filename="photo.gif"',
            "Content-Length": "6",
        },
        b"GIF89a",
    )
    with pytest.raises(FileNotFoundError):
        writer().append(gif.with_name("absent"))
    with pytest.raises(IsADirectoryError):
        writer().append(gif.parent)


async def test_an_open_file_from_where_it_stands(gif: Path) -> None:
    with gif.open("rb") as file:
        file.seek(3)
        root = writer()
        root.append(file)
        for _ in range(3):
            data = await root.as_bytes()
            assert b'filename="photo.gif"\r\nContent-Length: 3\r\n\r\n89a\r\n' in data
        assert root.replayable
        assert not file.closed


async def test_files_without_a_name() -> None:
    with tempfile.SpooledTemporaryFile() as spooled, tempfile.TemporaryFile() as nameless:
        for file in (spooled, nameless):
            file.write(b"xabc")
            file.seek(1)
            headers, data = await sent(file)
            assert headers == {"Content-Type": "application/octet-stream", "Content-Length": "3"}
            assert data == b"abc"
    with tempfile.NamedTemporaryFile(suffix=".gif") as named:
        assert (await sent(named))[0]["Content-Type"] == "image/gif"


async def test_memory_files() -> None:
    file = io.BytesIO(b"xabc")
    file.read(1)
    file.name = "a/b.html"
    headers, data = await sent(file)
    assert headers["Content-Type"] == "text/html"
    assert headers["Content-Disposition"] == 'attachment; filename="b.html"'
    assert data == b"abc"
    assert (await sent(io.StringIO("é")))[1] == "é".encode()


async def test_a_compressed_file_has_no_size(gif: Path) -> None:
    packed = gif.with_name("x.tar.gz")
    packed.write_bytes(gzip.compress(b"unpacked" * 100))
    headers, _ = await sent(packed)
    assert headers["Content-Type"] == "application/octet-stream"
    with gzip.open(packed) as file:
        headers, data = await sent(file)
        assert "Content-Length" not in headers
        assert data == b"unpacked" * 100


async def test_text_files(gif: Path) -> None:
    path = gif.with_suffix(".txt")
    path.write_text("é\n" * 3, "utf-16")
    with path.open(encoding="utf-16") as file:
        headers, data = await sent(file)
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        assert "Content-Length" not in headers
        assert data == "é\né\né\n".encode()
        _, data = await sent(file, {"Content-Type": "text/plain; charset=utf-16"})
        assert data.decode("utf-16") == ""  # it stands at its end by now
        file.seek(0)
        _, data = await sent(file, {"Content-Type": "text/plain; charset=utf-16"})
        assert data.decode("utf-16") == "é\né\né\n"


async def test_async_files(gif: Path) -> None:
    async with await anyio.open_file(gif, "rb") as file:
        headers, data = await sent(file)
        assert headers["Content-Length"] == "6"
        assert data == b"GIF89a"


# -- headers ----------------------------------------------------------------------------------


async def test_headers_before_and_after_append() -> None:
    root = writer()
    payload = root.append(b"x", {"content-type": "image/png", "X-A": "1"})
    payload.headers["X-A"] = "2"
    payload.headers["X-B"] = "é"
    del payload.headers["Content-Length"]
    payload.set_content_disposition("attachment", filename='a"\\é.png', creation_date="today")
    assert root.parts == [payload]
    data = await root.as_bytes()
    assert root.size == len(data)
    async for received in MultipartReader(data, root.content_type):
        assert dict(received.headers) == {
            "content-type": "image/png",
            "X-A": "2",
            "X-B": "é",
            "Content-Disposition": "attachment; filename*=UTF-8''a%22%5C%C3%A9.png; "
            "creation-date=today",
        }
        assert received.filename == 'a"\\é.png'


async def test_parts_may_be_dropped_and_payloads_made_apart() -> None:
    root = writer()
    root.append("a")
    root.append(Payload.of("b", {"X": "1"}), {"X": "2"})
    del root.parts[0]
    data = await root.as_bytes()
    assert b"X: 2" in data
    assert b"\r\n\r\na\r\n" not in data
    assert root.size == len(data)


def test_headers_of_the_message() -> None:
    root = MultipartWriter(
        "related", boundary="a:b", headers={"X": "1"}, params={"type": "text/html", "start": "<1>"}
    )
    kind = 'multipart/related; boundary="a:b"; type="text/html"; start="<1>"'
    assert dict(root.headers) == {"Content-Type": kind, "X": "1", "Content-Length": "9"}
    root.append(Chunked(b"x"))
    assert "Content-Length" not in root.headers
    with pytest.raises(WriteError, match="without a Content-Type"):
        MultipartWriter(headers={"content-type": "text/html"})
    with pytest.raises(TypeError):
        root.headers["Y"] = "2"  # type: ignore[index]
    assert len({MultipartWriter().boundary for _ in range(50)}) == 50


BAD = ["a\r\nX: 1", "a\nb", "a\rb", "a\0b", "a\x07b", "a\x7fb"]


def disposition(type: str = "attachment", **words: str) -> None:
    writer().append(b"").set_content_disposition(type, **words)


PLACES: dict[str, Callable[[str], object]] = {
    "value": lambda bad: writer().append(b"", {"X": bad}),
    "name": lambda bad: writer().append(b"", {bad: "x"}),
    "content-type": lambda bad: writer().append(b"", {"Content-Type": bad}),
    "json": lambda bad: writer().append_json(1, [("X", bad)]),
    "filename": lambda bad: disposition(filename=bad),
    "disposition-name": lambda bad: disposition(name=bad),
    "disposition-type": lambda bad: disposition(bad),
    "parameter": lambda bad: disposition(size=bad),
    "subtype": lambda bad: MultipartWriter(bad),
    "boundary": lambda bad: MultipartWriter(boundary=bad),
    "message": lambda bad: MultipartWriter(headers={"X": bad}),
    "params": lambda bad: MultipartWriter(params={"start": bad}),
    "nested": lambda bad: writer().nested(headers={"X": bad}),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_injected(place: str, bad: str) -> None:
    with pytest.raises(WriteError):
        PLACES[place](bad)


@pytest.mark.parametrize("bad", BAD)
async def test_nothing_is_injected_later(bad: str) -> None:
    root = writer()
    root.append("before")
    root.append("x").headers["X"] = bad
    out = io.BytesIO()
    with pytest.raises(WriteError) as caught:
        await root.write(out)
    assert out.getvalue() == b""
    assert caught.value.part is not None
    assert caught.value.part.path == (1,)


@pytest.mark.parametrize("boundary", ["", "x" * 71, "a ", "é", 'a"b', "a;b", "a\tb"])
def test_boundaries_that_cannot_be(boundary: str) -> None:
    with pytest.raises(WriteError, match="boundary"):
        MultipartWriter(boundary=boundary)


def test_headers_of_other_types() -> None:
    headers: Any = {"Content-Length": 5}
    with pytest.raises(TypeError, match="expected text in the header Content-Length, got int"):
        writer().append(b"12345", headers)


async def test_headers_that_no_reader_takes() -> None:
    root = writer()
    root.append(b"x").headers.add("Content-Type", "text/html")
    with pytest.raises(WriteError, match="headers that can be read"):
        await root.as_bytes()


# -- codings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("size", [0, 5, 100_000])
async def test_codings_are_applied_whenever_they_are_set(when: str, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    codings = {"Content-Encoding": "gzip", "Content-Transfer-Encoding": "base64"}
    root = writer()
    if when == "before":
        payload = root.append(data, codings)
    else:
        payload = root.append(data)
        payload.headers.update(codings)
    assert root.size is None
    out = await root.as_bytes()
    assert b"Content-Length" not in out
    async for received in MultipartReader(out, root.content_type):
        raw = base64.b64decode(await received.read(limit=None))
        assert gzip.decompress(raw) == data


async def test_the_size_of_base64_is_known() -> None:
    root = writer()
    root.append(b"x" * 100).headers["Content-Transfer-Encoding"] = "base64"
    data = await root.as_bytes()
    assert root.size == len(data)
    assert b"Content-Length: 138\r\n" in data or b"Content-Length: 140\r\n" in data


# -- relays -----------------------------------------------------------------------------------


async def test_a_received_part_goes_on_as_it_is() -> None:
    given = part(
        b"aGk=\r\n",
        name="n",
        content_type="text/x-any",
        headers=[("X-A", "1"), ("X-A", "2"), ("Content-Transfer-Encoding", "base64")],
    )
    root = writer()
    root.append_part(given)
    data = await root.as_bytes()
    async for received in MultipartReader(data, root.content_type):
        assert list(received.headers.items()) == list(given.headers.items())
        assert await received.read() == b"aGk=\r\n"


async def test_a_relay_that_adds_drops_and_renames() -> None:
    source = writer()
    for text in ("one", "two", "three"):
        source.append(text, {"X-Name": text})

    async def change(reader: MultipartReader) -> AsyncIterator[Any]:
        yield "new", {"X-Name": "zero"}
        async for received in reader:
            if received.headers["X-Name"] == "one":
                yield received
            elif received.headers["X-Name"] == "three":
                yield received, {"X-Name": "drei"}
        yield Payload.of(b"last", {"X-Name": "last"})
        with MultipartWriter(boundary="inner", headers={"X-Name": "inner"}) as inner:
            inner.append("x")
        yield inner

    reader = MultipartReader(Chunked(await source.as_bytes(), 7), source.content_type)
    relay = writer(parts=change(reader))
    assert relay.size is None
    assert not relay.replayable
    found = [
        (received.headers["X-Name"], await received.read())
        async for received in MultipartReader(await relay.as_bytes(), relay.content_type)
    ]
    assert [name for name, _ in found] == ["zero", "one", "drei", "last", "inner"]
    assert [data for _, data in found[:4]] == [b"new", b"one", b"three", b"last"]


async def test_a_reader_is_relayed_part_by_part() -> None:
    source = writer()
    for number in range(20):
        source.append(b"%d" % number * 50_000)
    data = await source.as_bytes()
    relay = writer(parts=MultipartReader(Chunked(data, 4096), source.content_type))
    relay.append("first")
    out = await relay.as_bytes()
    head = b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nfirst\r\n"
    assert out == head + data


async def test_a_part_that_is_no_longer_current_is_not_relayed() -> None:
    source = writer()
    source.append("one")
    source.append("two")
    reader = MultipartReader(Chunked(await source.as_bytes(), 9), source.content_type)
    gone = await reader.next_part()
    assert gone is not None
    await reader.next_part()
    relay = writer()
    relay.append_part(gone)
    with pytest.raises(anyio.ClosedResourceError, match="no longer current"):
        await relay.as_bytes()


async def test_no_parts_to_pull() -> None:
    send, receive = anyio.create_memory_object_stream[Any](1)
    async with send, receive:
        await send.send(5)
        with pytest.raises(TypeError, match="to send, got int"):
            await writer(parts=receive).as_bytes()
        send.close()
        assert await writer(parts=receive).as_bytes() == b"--b--\r\n"


@pytest.mark.parametrize("obj", [5, [b"x"], (5, {}), (5, None)])
async def test_a_part_of_parts_that_cannot_be_sent_is_named(obj: Any) -> None:
    async def parts() -> AsyncGenerator[Any, None]:
        yield "one"
        yield obj

    async with aclosing(parts()) as given:
        inner = MultipartWriter(parts=given)
        inner.append("zero")
        outer = writer()
        outer.append("first")
        outer.append(inner)
        with pytest.raises(TypeError, match=r"to send, got \w+ \(in part 1\.2\)$"):
            await outer.as_bytes()


async def test_an_error_of_who_gives_the_parts_stays_its_own() -> None:
    async def parts() -> AsyncIterator[Any]:
        yield "one"
        raise TypeError("of its own")

    with pytest.raises(TypeError, match=r"^of its own$"):
        await writer(parts=parts()).as_bytes()


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"hello", {"Content-Encoding": "gzip", "Content-Length": "5"}),
        ("héllo", {"Content-Transfer-Encoding": "quoted-printable", "Content-Length": "5"}),
    ],
)
async def test_a_length_that_codings_make_untrue(data: str, headers: dict[str, str]) -> None:
    writer = MultipartWriter()
    writer.append(data, headers)
    with pytest.raises(WriteError, match="expected a body of 5 bytes"):
        await writer.as_bytes()


@pytest.mark.parametrize("name", ["boundary", "Boundary"])
def test_the_boundary_is_no_parameter_of_the_callers(name: str) -> None:
    with pytest.raises(WriteError, match="boundary="):
        MultipartWriter(params={name: "evil"})
