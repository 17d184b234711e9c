"""What a writer says of its bodies is true, or refused: lengths, types, and who holds whom."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from mpflow import (
    FormData,
    MultipartReader,
    MultipartWriter,
    PartRef,
    Payload,
    UnsupportedCoding,
    WriteError,
)
from mpflow.contents import Memory
from mpflow.testing import Chunked
from mpflow.wire.codings import CODINGS, Coding, CodingEncoder, registry
from mpflow.wire.codings.plain import PlainDecoder

pytestmark = pytest.mark.anyio


async def refused(root: MultipartWriter, match: str) -> WriteError:
    """Writing it fails before a byte goes out."""
    out = io.BytesIO()
    with pytest.raises(WriteError, match=match) as caught:
        await root.write(out)
    assert out.getvalue() == b""
    return caught.value


# -- lengths ----------------------------------------------------------------------------------


@pytest.mark.parametrize("second", ["6", "05", "x"])
async def test_two_lengths_of_a_part(second: str) -> None:
    root = MultipartWriter()
    root.append("12345").headers.add("Content-Length", second)
    with pytest.raises(WriteError, match="expected one Content-Length"):
        assert root.size
    error = await refused(root, "expected one Content-Length, got '5' and")
    assert error.part is not None
    assert error.part.path == (0,)
    with pytest.raises(WriteError, match="expected one Content-Length"):
        MultipartWriter(headers=[("Content-Length", "5"), ("content-length", second)])


async def test_one_length_twice_follows_the_body() -> None:
    root = MultipartWriter()
    payload = root.append("12345")
    payload.headers.add("Content-Length", "5")
    payload.headers["Content-Type"] = "text/plain; charset=utf-16"
    data = await root.as_bytes()
    assert root.size == len(data)
    assert data.count(b"Content-Length: 12\r\n") == 1
    assert data.count(b"Content-Length") == 1


@pytest.mark.parametrize("size", [-1, 1])
async def test_a_length_of_the_message_that_is_not_true(size: int) -> None:
    true = (form := FormData({"a": "b"}, boundary="b")).size
    assert true is not None
    given = {"Content-Length": str(true + size)}
    form = FormData({"a": "b"}, boundary="b", headers=given)
    with pytest.raises(WriteError, match=f"message of {true + size} bytes.* got {true}"):
        assert form.headers
    await refused(form, f"got {true}")
    with pytest.raises(WriteError, match="a number in Content-Length"):
        FormData(headers={"Content-Length": "x"})
    given["Content-Length"] = str(true)
    form = FormData({"a": "b"}, boundary="b", headers=given)
    assert form.headers["Content-Length"] == str(len(await form.as_bytes()))


@pytest.mark.parametrize("size", [-30, -1, 0, 1])
async def test_a_length_of_a_message_of_streams(size: int) -> None:
    def made(headers: Any) -> MultipartWriter:
        root = MultipartWriter(boundary="b", headers=headers)
        root.append(Chunked(b"12345", 2))
        return root

    said = len(await made(None).as_bytes()) + size
    root = made({"Content-Length": str(said)})
    assert root.headers["Content-Length"] == str(said)
    out = io.BytesIO()
    if size:
        with pytest.raises(WriteError, match=f"message of {said} bytes"):
            await root.write(out)
        assert len(out.getvalue()) < said
    else:
        await root.write(out)
        assert len(out.getvalue()) == said


async def test_a_frame_is_not_the_message() -> None:
    root = MultipartWriter("x-mixed-replace", boundary="b", headers={"Content-Length": "5"})
    out = io.BytesIO()
    await root.write(out, close_boundary=False)
    outer = MultipartWriter()
    outer.append(root).headers["Content-Length"] = "7"
    assert len(await outer.as_bytes()) == outer.size


@pytest.mark.parametrize("length", ["1", "25", "1000"])
async def test_the_size_of_what_is_coded(length: str) -> None:
    root = MultipartWriter()
    payload = root.append(b"12345", {"Content-Encoding": "gzip", "Content-Length": length})
    size = payload.size
    assert size is not None
    assert size != 5
    if str(size) == length:
        assert root.size == len(await root.as_bytes())
    else:
        with pytest.raises(WriteError, match=f"body of {length} bytes"):
            assert root.size
        await refused(root, f"body of {length} bytes, as its Content-Length says, got {size}")


async def test_the_size_of_much_that_is_coded_is_not_guessed() -> None:
    payload = Payload.of(bytes(1_000_000), {"Content-Encoding": "gzip", "Content-Length": "5"})
    assert payload.size is None
    root = MultipartWriter()
    root.append(payload)
    with pytest.raises(WriteError, match="expected a body of 5 bytes"):
        await root.as_bytes()


@pytest.mark.parametrize("size", [1, 20_000])
async def test_a_content_that_does_not_know_its_size(size: int) -> None:
    class Wrong(Memory):
        def size(self, charset: str) -> int:
            return 5

    root = MultipartWriter()
    root.append(Payload.of(Wrong(b"x" * size)))
    await refused(root, f"expected a body of 5 bytes, as its Content-Length says, got {size}")


# -- nested -----------------------------------------------------------------------------------

OVERRIDES: dict[str, tuple[str, str]] = {
    "boundary": ("Content-Type", "multipart/mixed; boundary=other"),
    "no boundary": ("Content-Type", "multipart/mixed"),
    "type": ("Content-Type", "text/plain; boundary=inner"),
    "base64": ("Content-Transfer-Encoding", "base64"),
    "quoted-printable": ("Content-Transfer-Encoding", "quoted-printable"),
    "gzip": ("Content-Encoding", "gzip"),
}


@pytest.mark.parametrize("name", OVERRIDES)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_headers_of_a_nested_multipart_that_no_reader_could_use(name: str, when: str) -> None:
    inner = MultipartWriter(boundary="inner")
    inner.append("x")
    root = MultipartWriter()
    root.append("before" * 20_000)
    header, value = OVERRIDES[name]
    if when == "before":
        root.append(inner, {header: value})
    else:
        root.append(inner).headers[header] = value
    with pytest.raises(WriteError, match="expected a nested multipart"):
        assert root.size
    with pytest.raises(WriteError, match="expected a nested multipart") as caught:
        await root.as_bytes()
    assert caught.value.part is not None
    assert caught.value.part.path == (1,)


@pytest.mark.parametrize("name", ["base64", "quoted-printable", "gzip"])
def test_codings_of_a_whole_multipart(name: str) -> None:
    with pytest.raises(WriteError, match="without a coding"):
        MultipartWriter(headers=[OVERRIDES[name]])


async def test_headers_of_a_nested_multipart_that_change_nothing() -> None:
    root = MultipartWriter()
    inner = root.nested(boundary="in ner", headers={"Content-Transfer-Encoding": "8bit"})
    inner.append("x")
    root.parts[0].headers["Content-Type"] = 'MULTIPART/Related; boundary="in ner"; type="x/y"'
    async for part in MultipartReader(await root.as_bytes(), root.content_type):
        assert [await found.read() async for found in part.multipart()] == [b"x"]


# -- who is named -----------------------------------------------------------------------------


def _length(payload: Payload) -> None:
    payload.headers["Content-Length"] = "5"


def _coding(payload: Payload) -> None:
    payload.headers["Content-Encoding"] = "gzip"


def _unknown_coding(payload: Payload) -> None:
    payload.headers["Content-Transfer-Encoding"] = "uu"


FAULTS: dict[Callable[[Payload], None], str] = {
    _length: "body of 5 bytes",
    _coding: "without a coding",
    _unknown_coding: "transfer encoding among .*, got 'uu'",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("depth", [0, 2])
async def test_the_size_names_the_part_as_writing_does(
    fault: Callable[[Payload], None], depth: int
) -> None:
    form = FormData({"first": "x"})
    fault(form.add("second", b"x", filename="f"))
    root: MultipartWriter = form
    for _ in range(depth):
        root, inner = MultipartWriter(), root
        root.append(b"before")
        root.append(inner)
    errors = [await refused(root, FAULTS[fault])]
    for ask in (lambda: root.size, lambda: root.headers):
        with pytest.raises(WriteError, match=FAULTS[fault]) as caught:
            ask()
        errors.append(caught.value)
    for error in errors:
        assert error.part == PartRef((1,) * (depth + 1), "second", "f")
        assert error.status == 500


@pytest.mark.parametrize(
    "header", [("Content-Encoding", "compress"), ("Content-Transfer-Encoding", "uu")]
)
def test_codings_that_nobody_knows_blame_this_side(header: tuple[str, str]) -> None:
    root, form = MultipartWriter(), FormData()
    with pytest.raises(WriteError, match=r"expected a .* among .*part 0\)"):
        root.append(b"x", [header])
    with pytest.raises(WriteError, match=r"expected a .* among .*part 0 'a'\)"):
        form.add("a", b"x", headers=[header])
    root.append(MultipartWriter(), [header])
    with pytest.raises(WriteError, match=r"expected a .* among .*part 0\)"):
        assert root.size
    with pytest.raises(WriteError, match=r"expected a .* among "):
        MultipartWriter(headers=[header])


def _without_a_library() -> CodingEncoder:
    raise UnsupportedCoding("the content coding rare needs a library")


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_coding_whose_library_is_missing(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    rare = Coding("rare", "content", decoder=PlainDecoder, encoder=_without_a_library)
    monkeypatch.setattr(registry, "_table", {**CODINGS, ("content", "rare"): rare})
    root = MultipartWriter()
    root.append(bytes(size)).headers["Content-Encoding"] = "rare"
    error = await refused(root, "rare needs a library")
    assert error.part == PartRef((0,))


# -- cycles -----------------------------------------------------------------------------------

USES: dict[str, Callable[[MultipartWriter], object]] = {
    "size": lambda root: root.size,
    "headers": lambda root: root.headers,
    "replayable": lambda root: root.replayable,
    "iteration": aiter,
    "payload": lambda root: Payload.of(root.parts[-1].content).size,
}


def cycle(levels: int) -> MultipartWriter:
    root = innermost = MultipartWriter()
    for _ in range(levels):
        innermost = innermost.nested()
    other = MultipartWriter()
    innermost.parts.append(other.append(root))
    return root


@pytest.mark.parametrize("levels", [0, 1, 3])
@pytest.mark.parametrize("use", USES)
def test_a_writer_that_holds_itself(use: str, levels: int) -> None:
    root = cycle(levels)
    with pytest.raises(WriteError, match="that does not hold itself"):
        USES[use](root)


@pytest.mark.parametrize("levels", [0, 1, 3])
async def test_a_writer_that_holds_itself_is_not_written(levels: int) -> None:
    root = cycle(levels)
    await refused(root, "that does not hold itself")
    outer = MultipartWriter()
    outer.append(root)  # as deep as it is, it does not hold `outer`
    await refused(outer, "that does not hold itself")
    with pytest.raises(WriteError, match="does not hold this one"):
        root.append(root)


async def test_one_writer_twice_is_no_cycle() -> None:
    inner = MultipartWriter(boundary="inner")
    inner.append("x")
    root = MultipartWriter()
    for _ in range(2):
        root.append(inner)
    root.nested().append(inner)
    assert root.size == len(await root.as_bytes())


# -- closing ----------------------------------------------------------------------------------


async def test_nothing_comes_of_a_writing_that_was_closed() -> None:
    root = MultipartWriter()
    root.append(bytes(5_000_000))
    outgoing = root.start()
    await anext(outgoing)
    await anext(outgoing)
    await outgoing.aclose()
    with pytest.raises(WriteError, match="it was closed"):
        await anext(outgoing)
    ended = MultipartWriter().start()
    assert b"".join([chunk async for chunk in ended]).endswith(b"--\r\n")
    await ended.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(ended)


async def test_nothing_comes_of_a_writing_that_failed() -> None:
    root = MultipartWriter(boundary="b")
    root.append(Chunked(b"x" * 100_000 + b"\r\n--b", 30_000))
    chunks = aiter(root)

    async def drain() -> None:
        async for _ in chunks:
            pass

    with pytest.raises(WriteError, match="boundary"):
        await drain()
    for _ in range(2):
        with pytest.raises(WriteError, match="cannot be written on"):
            await anext(chunks)
