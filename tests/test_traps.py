"""Where other libraries lost data, hung or fell over: one test a trap, through every split.

The first half holds what one client-and-server framework got wrong, the second what several
parsers made of the same inputs in as many ways.
"""

from __future__ import annotations

import base64
import gzip
import quopri
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from mpflow import (
    InvalidContent,
    LimitExceeded,
    Limits,
    MalformedBody,
    MultipartReader,
    Part,
    TruncatedBody,
)
from mpflow.testing import Bytewise, Chunked, PartSpec, Sentinel, body, content_type_of, splits
from tests.support import TYPE, crlf

pytestmark = pytest.mark.anyio

FORM = content_type_of("b")
MIXED = content_type_of("b", "mixed")


def sources(sent: bytes) -> Iterator[Chunked]:
    """The body in every split in two, byte by byte, and as a whole."""
    yield Chunked(sent)
    yield Bytewise(sent)
    for first, _ in splits(sent):
        yield Chunked(sent, [len(first)] if first else [])


async def each(
    sent: bytes, take: Callable[[MultipartReader], Any], content_type: str = MIXED, **options: Any
) -> Any:
    """What `take` makes of a reader; it must be the same through every split."""
    results = [
        await take(MultipartReader(source, content_type, **options)) for source in sources(sent)
    ]
    assert all(result == results[0] for result in results)
    return results[0]


async def bodies(reader: MultipartReader) -> list[bytes]:
    return [await it.read() async for it in reader]


async def leaves(reader: MultipartReader) -> list[tuple[str, bytes]]:
    return [(it.headers.get("X", ""), await it.read()) async for it in reader.walk()]


async def error(reader: MultipartReader) -> tuple[type[Exception], str]:
    try:
        await reader.drain()
    except (TruncatedBody, MalformedBody) as caught:
        return type(caught), str(caught)
    raise AssertionError("expected an error")


# -- one framework ----------------------------------------------------------------------------


async def test_a_line_that_merely_begins_with_the_delimiter_is_data() -> None:
    sent = crlf("--b\n\none\n--bc\ntwo\n--b-\n--b--\n")
    assert await each(sent, bodies) == [b"one\r\n--bc\r\ntwo\r\n--b-"]


async def test_a_compressed_part_in_many_chunks() -> None:
    lines = "".join(f"line {number}\n" for number in range(100))
    data = gzip.compress(lines.encode())
    sent = body([PartSpec(data, headers={"Content-Encoding": "gzip"})], boundary="b")

    async def take(reader: MultipartReader) -> bytes:
        it = await anext(reader)
        return b"".join([piece async for piece in it.decoded()])

    assert await each(sent, take) == lines.encode()


async def test_what_says_that_it_is_compressed_and_is_not() -> None:
    sent = crlf("--b\nContent-Encoding: gzip\n\nxxxx\n--b--\n")

    async def take(reader: MultipartReader) -> bytes:
        it = await anext(reader)
        with pytest.raises(InvalidContent, match="gzip"):
            await it.text()
        return b""

    assert await each(sent, take) == b""


@pytest.mark.parametrize("encoding", ["quoted-printable", "base64"])
async def test_an_encoded_part_chunk_by_chunk(encoding: str) -> None:
    data = bytes(range(256))
    encode = {"quoted-printable": quopri.encodestring, "base64": base64.encodebytes}[encoding]
    headers = {"Content-Transfer-Encoding": encoding}
    sent = body([PartSpec(encode(data), headers=headers)], boundary="b")

    async def take(reader: MultipartReader) -> list[bytes]:
        it = await anext(reader)
        return [b"".join([piece async for piece in it.decoded()]), *await bodies(reader)]

    assert await each(sent, take) == [data]


async def test_read_goes_on_where_readline_stopped() -> None:
    async def take(reader: MultipartReader) -> list[bytes]:
        it = await anext(reader)
        return [await it.readline(), await it.read()]

    assert await each(crlf("--b\n\nl1\nl2\nl3\n--b--"), take) == [b"l1\r\n", b"l2\r\nl3"]


async def test_the_next_part_comes_after_one_readline() -> None:
    async def take(reader: MultipartReader) -> list[bytes]:
        line = await (await anext(reader)).readline()
        return [line, *await bodies(reader)]

    assert await each(crlf("--b\n\nl1\nl2\nl3\n--b\n\nnext\n--b--"), take) == [b"l1\r\n", b"next"]


async def test_a_charset_field_with_a_boundary_from_the_real_world() -> None:
    boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW1"
    sent = body([("_charset_", "latin-1"), ("name", b"\xe9")], boundary=boundary)

    async def take(reader: MultipartReader) -> list[tuple[str | None, str]]:
        return [(it.name, await it.text()) async for it in reader]

    assert await each(sent, take, content_type_of(boundary)) == [("name", "é")]


NESTED = """\
--b
Content-Type: multipart/mixed; boundary=in

--in
X: inner

x
--in--{epilogue}
--b
{header}
after
--b--
"""


@pytest.mark.parametrize("header", ["X: after\n", ""], ids=["header", "none"])
async def test_the_delimiter_of_the_parent_may_follow_at_once(header: str) -> None:
    sent = crlf(NESTED.format(epilogue="", header=header))
    assert await each(sent, leaves) == [("inner", b"x"), ("after" if header else "", b"after")]


@pytest.mark.parametrize("lines", [1, 2, 5])
async def test_an_inner_epilogue_of_several_lines(lines: int) -> None:
    sent = crlf(NESTED.format(epilogue="\nbye" * lines, header="X: after\n"))
    assert await each(sent, leaves) == [("inner", b"x"), ("after", b"after")]


@pytest.mark.parametrize("boundary", ["a;b", "a=b", "a b", "a,b", "'a'", "a/b?c"])
async def test_a_boundary_that_needs_quotes(boundary: str) -> None:
    sent = body([{"data": "x"}], boundary=boundary)
    assert await each(sent, bodies, f'multipart/mixed; boundary="{boundary}"') == [b"x"]


@pytest.mark.parametrize("filename", ["x;y;z.txt", "a; name=evil", "=;=", ";;;"])
async def test_semicolons_in_a_filename(filename: str) -> None:
    head = f'Content-Disposition: form-data; name="n"; filename="{filename}"'

    async def take(reader: MultipartReader) -> tuple[str | None, str | None]:
        it = await anext(reader)
        return it.name, it.filename

    assert await each(crlf(f"--b\n{head}\n\nx\n--b--"), take, FORM) == ("n", filename)


async def test_the_part_before_never_looks_empty() -> None:
    async def take(reader: MultipartReader) -> bytes:
        first = await anext(reader)
        second = await anext(reader)
        with pytest.raises(anyio.ClosedResourceError, match="part 0 is no longer current"):
            await first.read()
        return await second.read()

    assert await each(crlf("--b\n\none\n--b\n\ntwo\n--b--"), take) == b"two"


async def test_small_pieces_with_a_long_boundary() -> None:
    boundary = "x" * 70

    async def take(reader: MultipartReader) -> bytes:
        data, it = b"", await anext(reader)
        try:
            while True:
                piece = await it.receive(8)
                assert 1 <= len(piece) <= 8
                data += piece
        except anyio.EndOfStream:
            return data

    sent = body([{"data": b"0123456789\r\n" * 3}], boundary=boundary)
    assert await each(sent, take, content_type_of(boundary)) == b"0123456789\r\n" * 3


@pytest.mark.parametrize("header", ["", "Content-Length: 5\n", "Content-Length: 99\n"])
async def test_a_live_stream_gives_what_has_come(header: str) -> None:
    sent = crlf(f"--b\n{header}\nhello")
    for source in (Sentinel(sent, size=1), Sentinel(sent, size=100)):
        it, data = await anext(MultipartReader(source, MIXED)), b""
        while data != b"hello":
            data += await it.receive()
    # With the next delimiter line the part is whole.
    ended = sent + crlf("\n--b\n")
    for source in (Sentinel(ended, size=1), Sentinel(ended, size=100)):
        assert await (await anext(MultipartReader(source, MIXED))).read() == b"hello"


async def test_a_content_length_that_lies_changes_nothing() -> None:
    for length in ("0", "3", "5000", "-1", "+5", "junk", "9" * 999):
        sent = crlf(f"--b\nContent-Length: {length}\n\nhello\n--b--")
        assert await each(sent, bodies) == [b"hello"]


LIMITED: dict[str, tuple[bytes, Limits]] = {
    "max_preamble": (b"x" * 20_000, Limits()),
    "max_parts": (crlf("--b\n\n\n") * 1001, Limits()),
    "max_total_bytes": (crlf("--b\n\nx\n") * 200, Limits(max_total_bytes=1024)),
    "max_part_bytes": (crlf("--b\n\n") + b"x" * 2000, Limits(max_part_bytes=1024)),
}


@pytest.mark.parametrize("limit", LIMITED)
@pytest.mark.parametrize("size", [7, 100_000])
async def test_a_limit_bounds_all_that_is_read(limit: str, size: int) -> None:
    sent, limits = LIMITED[limit]
    with pytest.raises(LimitExceeded) as caught:
        await MultipartReader(Chunked(sent, size), MIXED, limits=limits).drain()
    assert caught.value.limit == limit


async def test_a_limit_bounds_what_is_read_in_pieces() -> None:
    sent = crlf("--b\n\n") + b"x" * 2000
    it = await anext(MultipartReader(Bytewise(sent), MIXED, limits=Limits(max_part_bytes=1024)))

    async def read() -> None:
        while await it.receive(100):
            assert it.bytes_received <= 1024

    with pytest.raises(LimitExceeded):
        await read()


async def test_a_limit_bounds_the_levels() -> None:
    sent, depth = b"x", 200
    for level in range(depth):
        head = crlf(f"--b{level}\nContent-Type: multipart/mixed; boundary=b{level - 1}\n\n")
        sent = head + sent + crlf(f"\n--b{level}--")

    async def descend(reader: MultipartReader) -> None:
        await descend((await anext(reader)).multipart())

    for source in (Chunked(sent), Chunked(sent, 13)):
        with pytest.raises(LimitExceeded) as caught:
            await descend(MultipartReader(source, content_type_of(f"b{depth - 1}", "mixed")))
        assert (caught.value.limit, caught.value.value) == ("max_depth", 4)


# -- several parsers --------------------------------------------------------------------------


async def test_a_body_that_is_cut_is_never_a_shorter_one() -> None:
    whole = crlf("--b\n\none\n--b\n\ntwo\n--b--")
    for end in range(1, len(whole)):
        reader = MultipartReader(Chunked(whole[:end]), MIXED)
        with pytest.raises(TruncatedBody):
            await reader.drain()
        with pytest.raises(TruncatedBody):
            await reader.next_part()


async def test_a_preamble_is_skipped() -> None:
    assert await each(crlf("Hello!\nthis is --b\n--b\n\nx\n--b--"), bodies) == [b"x"]


async def test_transport_padding_is_skipped() -> None:
    assert await each(crlf("--b \t\n\nx\n--b  \n\ny\n--b-- \n"), bodies) == [b"x", b"y"]


async def test_lines_that_end_with_a_bare_lf_are_named_in_the_error() -> None:
    kind, message = await each(b"--b\nX: 1\n\nx\n--b--\n", error)
    assert kind is TruncatedBody
    assert "end with a bare LF, where RFC 2046 asks for CRLF" in message


async def test_a_folded_header_is_unfolded() -> None:
    sent = crlf('--b\nContent-Disposition: form-data;\n\tname="n";\n filename="f.txt"\n\nx\n--b--')

    async def take(reader: MultipartReader) -> tuple[str | None, str | None, str]:
        it = await anext(reader)
        return it.name, it.filename, it.headers["Content-Disposition"]

    unfolded = 'form-data; name="n"; filename="f.txt"'
    name, filename, value = await each(sent, take, FORM)
    assert (name, filename) == ("n", "f.txt")
    assert value.replace("\t", " ") == unfolded


async def test_an_empty_part_is_a_part() -> None:
    head = 'Content-Disposition: form-data; name="n"'
    sent = crlf(f"--b\n{head}\n\n\n--b\n{head}\n\n--b\n{head}\n--b\n\n--b--")

    async def take(reader: MultipartReader) -> list[tuple[str | None, bytes]]:
        return [(it.name, await it.read()) async for it in reader]

    assert await each(sent, take, FORM) == [("n", b"")] * 3 + [(None, b"")]


@pytest.mark.parametrize("sent", ["--b--", "--b--\n", "nothing\n--b--\nbye"])
async def test_a_body_without_parts(sent: str) -> None:
    assert await each(crlf(sent), bodies) == []


async def test_a_part_without_a_disposition_is_recorded() -> None:
    async def take(reader: MultipartReader) -> tuple[str | None, bytes, list[str]]:
        it = await anext(reader)
        return it.name, await it.read(), [found.code for found in reader.deviations]

    assert await each(crlf("--b\n\nx\n--b--"), take, FORM) == (None, b"x", ["not-form-data"])
    assert await each(crlf("--b\n\nx\n--b--"), take, MIXED) == (None, b"x", [])


async def test_an_extended_filename_leaves_a_file_a_file() -> None:
    async def take(reader: MultipartReader) -> tuple[str | None, list[str]]:
        return (await anext(reader)).filename, [found.code for found in reader.deviations]

    head = "Content-Disposition: form-data; name=\"n\"; filename*=UTF-8''%C3%A9.txt"
    alone = await each(crlf(f"--b\n{head}\n\nx\n--b--"), take, FORM)
    assert alone == ("é.txt", ["extended-parameter"])
    both = await each(crlf(f'--b\n{head}; filename="e.txt"\n\nx\n--b--'), take, FORM)
    assert both == ("e.txt", ["extended-parameter"])


@pytest.mark.parametrize("form", [True, False])
async def test_what_browsers_escape_is_unescaped_in_forms(form: bool) -> None:
    sent = crlf(
        '--b\nContent-Disposition: form-data; name="a%22b"; filename="a%22%41.txt"\n\n\n--b--'
    )

    async def take(reader: MultipartReader) -> tuple[str | None, str | None]:
        it = await anext(reader)
        return it.name, it.filename

    if form:
        assert await each(sent, take, FORM) == ('a"b', 'a"%41.txt')
    else:
        mixed = sent.replace(b"form-data", b"attachment")
        assert await each(mixed, take, MIXED) == ("a%22b", "a%22%41.txt")


async def test_headers_of_ones_own_are_kept() -> None:
    async def take(reader: MultipartReader) -> list[list[tuple[str, str]]]:
        return [list(it.headers.items()) async for it in reader]

    sent = crlf("--b\nX-Own: 1\nx-own: 2\nContent-ID: <a>\n\nx\n--b--")
    own = [("X-Own", "1"), ("x-own", "2"), ("Content-ID", "<a>")]
    assert await each(sent, take) == [own]


async def test_parts_of_one_name_all_come() -> None:
    sent = body([("n", "1"), ("n", "2"), ("n", "3")])

    async def take(reader: MultipartReader) -> list[tuple[str | None, bytes]]:
        return [(it.name, await it.read()) async for it in reader]

    assert await each(sent, take, TYPE) == [("n", b"1"), ("n", b"2"), ("n", b"3")]


async def test_every_line_end_in_a_body_is_kept() -> None:
    data = b"\r\n\n\r\r\n--\r\n-\r\n\r\n--b\n\r--b\r\r\n"
    sent = b"--b\r\n\r\n" + data + b"\r\n--b--"
    assert await each(sent, bodies) == [data]


async def test_the_parts_of_a_level_are_of_the_class_of_parts() -> None:
    reader = MultipartReader(crlf("--b\n\nx\n--b--"), MIXED)
    assert [type(it) async for it in reader] == [Part]
