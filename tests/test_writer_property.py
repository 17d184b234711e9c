"""decode(encode(x)) == x: parts, headers, nesting, codings, kinds of bodies and chunkings."""

from __future__ import annotations

import io
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow import Limits, MultipartReader, MultipartWriter, Part, WriteError
from mpflow.testing import Chunked
from mpflow.wire.codings import Decoding, codings_of

pytestmark = [pytest.mark.anyio]

Tree: TypeAlias = "tuple[list[tuple[str, str]], bytes | list[Tree]]"

LIMITS = Limits(max_depth=8)
NAMES = st.sampled_from(["X-A", "x-b", "Content-ID", "Content-Description", "X-!#$"])
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30).map(
    lambda text: text.strip(" \t")
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n--", b"-", b"--", b"x", b"--b", b"\0"])).map(
        b"".join
    ),
    st.builds(lambda size, byte: bytes([byte]) * size, st.integers(0, 20_000), st.integers(0, 255)),
)
TREES: Any = st.recursive(
    st.tuples(HEADERS, BODIES),
    lambda below: st.tuples(HEADERS, st.lists(below, max_size=4)),
    max_leaves=8,
)


def append(writer: MultipartWriter, tree: Tree, kind: str, size: int) -> None:
    headers, body = tree
    if isinstance(body, list):
        inner = writer.nested("mixed", headers=headers)
        for below in body:
            append(inner, below, kind, size)
        return
    obj: Any = {
        "bytes": body,
        "file": io.BufferedReader(io.BytesIO(body)),  # type: ignore[arg-type]
        "stream": Chunked(body, size),
    }[kind]
    writer.append(obj, headers)


async def tree_of(part: Part) -> Tree:
    own = {"content-type", "content-length"}
    headers = [(name, value) for name, value in part.headers.items() if name.lower() not in own]
    if part.is_multipart:
        return headers, [await tree_of(inner) async for inner in part.multipart()]
    return headers, await part.read(limit=None)


@given(
    st.lists(TREES, max_size=4),
    st.sampled_from(["bytes", "file", "stream"]),
    st.sampled_from([100, 1000, 65536]),
    st.sampled_from([97, 65536]),
)
async def test_what_is_written_is_read(trees: list[Tree], kind: str, size: int, chunk: int) -> None:
    root = MultipartWriter()
    for tree in trees:
        append(root, tree, kind, size)
    expected = root.size
    data = await root.as_bytes()
    assert expected in (None, len(data))
    reader = MultipartReader(Chunked(data, chunk), root.content_type, limits=LIMITS, strict=True)
    assert [await tree_of(part) async for part in reader] == trees


def decoded(part: Part, data: bytes) -> bytes:
    decoding = Decoding(codings_of(part.headers))
    if data:
        decoding.receive_data(data)
    pieces: list[bytes] = []
    while not decoding.is_done:
        pieces.append(decoding.next_data())
        if not pieces[-1] and decoding.needs_data:
            decoding.receive_eof()
    return b"".join(pieces)


@given(BODIES, st.sampled_from(["", "gzip", "deflate", "gzip, deflate"]),
       st.sampled_from(["", "base64", "quoted-printable", "binary"]), st.booleans())  # fmt: skip
async def test_codings_are_undone(body: bytes, coding: str, encoding: str, stream: bool) -> None:
    root = MultipartWriter()
    payload = root.append(Chunked(body, 1000) if stream else body)
    if coding:
        payload.headers["Content-Encoding"] = coding
    if encoding:
        payload.headers["Content-Transfer-Encoding"] = encoding
    size = root.size
    data = await root.as_bytes()
    assert size in (None, len(data))
    async for part in MultipartReader(data, root.content_type):
        assert decoded(part, await part.read(limit=None)) == body


CODINGS = st.fixed_dictionaries(
    {},
    optional={
        "Content-Encoding": st.sampled_from(["gzip", "deflate", "identity", "Deflate, GZIP"]),
        "Content-Transfer-Encoding": st.sampled_from(
            ["base64", "Quoted-Printable", "binary", "8bit"]
        ),
    },
)
KINDS = st.sampled_from(["bytes", "file", "stream"])
LEAVES = st.tuples(HEADERS, CODINGS, KINDS, BODIES)
INNER: Any = st.tuples(HEADERS, st.lists(LEAVES, max_size=3))
MIDDLE: Any = st.tuples(HEADERS, st.lists(st.one_of(LEAVES, INNER), max_size=3))
MESSAGES: Any = st.lists(st.one_of(LEAVES, MIDDLE), max_size=3)
"""Messages of three levels at most; each leaf with codings and a kind of its own."""


def append_coded(writer: MultipartWriter, tree: Any, size: int) -> None:
    if len(tree) == 2:
        inner = writer.nested("mixed", headers=tree[0])
        for below in tree[1]:
            append_coded(inner, below, size)
        return
    headers, codings, kind, body = tree
    append(writer, (headers, body), kind, size)
    writer.parts[-1].headers.update(codings)  # after they were appended


async def decoded_tree_of(part: Part) -> Any:
    """What came: other headers, and the body without its codings."""
    own = {"content-type", "content-length", "content-encoding", "content-transfer-encoding"}
    headers = [(name, value) for name, value in part.headers.items() if name.lower() not in own]
    if part.is_multipart:
        return headers, [await decoded_tree_of(inner) async for inner in part.multipart()]
    return headers, await part.read(decode=True, limit=None)


def without_codings(tree: Any) -> Any:
    if len(tree) == 2:
        return tree[0], [without_codings(below) for below in tree[1]]
    return tree[0], tree[3]


@given(MESSAGES, st.sampled_from([1, 100, 65536]), st.sampled_from([1, 2, 7, 997, 65536]),
       st.booleans())  # fmt: skip
async def test_what_is_coded_is_read(
    message: list[Any], size: int, chunk: int, relayed: bool
) -> None:
    root = MultipartWriter()
    for tree in message:
        append_coded(root, tree, size)
    expected = root.size
    data = await root.as_bytes()
    assert expected in (None, len(data))
    assert root.replayable is all(payload.replayable for payload in root.parts)
    if root.replayable:
        assert await root.as_bytes() == data
    if relayed:
        source = MultipartReader(Chunked(data, chunk), root.content_type)
        root = MultipartWriter(parts=source)
        data = await root.as_bytes()
    # As a whole: some thousand chunks of one byte each are enough.
    reader = MultipartReader(Chunked(data, max(chunk, len(data) // 5000)), root.content_type)
    assert [await decoded_tree_of(part) async for part in reader] == [
        without_codings(tree) for tree in message
    ]


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n--b", b"-", b"--b", b"x"])).map(b"".join),
       st.sampled_from([1, 2, 3, 100]), st.booleans())  # fmt: skip
async def test_a_boundary_in_the_data_is_never_sent(body: bytes, size: int, stream: bool) -> None:
    root = MultipartWriter(boundary="b")
    root.append(Chunked(body, size) if stream else body)
    if b"\r\n--b" in b"\r\n" + body:
        with pytest.raises(WriteError, match="boundary"):
            await root.as_bytes()
    else:
        data = await root.as_bytes()
        async for part in MultipartReader(data, root.content_type):
            assert await part.read() == body


# As a browser's, a name that has an escape of itself is read as what that stands for.
PLAIN = st.text(max_size=20).filter(
    lambda text: not any(escape in text.upper() for escape in ("%22", "%0D", "%0A"))
)


@given(st.text(max_size=20), PLAIN, PLAIN)
async def test_headers_inject_nothing(name: str, value: str, filename: str) -> None:
    root = MultipartWriter()
    payload = root.append(b"body")
    try:
        payload.headers[name] = value
        payload.set_content_disposition("form-data", name=value, filename=filename)
        data = await root.as_bytes()
    except WriteError:
        return
    async for part in MultipartReader(data, root.content_type):
        assert len(part.headers) == len(payload.headers)
        assert part.name == value
        assert part.filename == filename
        assert await part.read() == b"body"
