"""Codings: every one there and back, in any chunking, and all that is hostile, cut or too large.

Knows: bytes in and out. Must not know: parts, streams, handlers.
"""

from __future__ import annotations

import base64
import gzip
import quopri
import random
import re
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from mpflow import InvalidContent, LimitExceeded, UnsupportedCoding, WriteError
from mpflow.testing import splits
from mpflow.wire import (
    Coding,
    CodingDecoder,
    CodingEncoder,
    Decoding,
    Encoding,
    codings_of,
    find_coding,
    register_coding,
)
from mpflow.wire.codings import CODINGS, PIECE, registry

COMPRESSED = ["gzip", "deflate", "br", "zstd"]
NAMES = [*COMPRESSED, "identity", "base64", "quoted-printable", "7bit", "8bit", "binary"]
SAMPLE = b"A line = with\ttwo \r\nbreaks \x00\xff\r\n.\r and\n" + bytes(range(256)) * 2


def coding(name: str) -> Coding:
    return next(row for (_, known), row in CODINGS.items() if known == name)


def undo(names: Iterable[str], chunks: Iterable[bytes], **limits: Any) -> bytes:
    """All that comes of the chunks; each piece is checked for its size."""
    decoding = Decoding([coding(name) for name in names], **limits)
    pieces: list[bytes] = []

    def take() -> None:
        while not decoding.needs_data and not decoding.is_done:
            pieces.append(decoding.next_data())
            assert len(pieces[-1]) <= PIECE + 1000

    for chunk in chunks:
        decoding.receive_data(chunk)
        take()
    decoding.receive_eof()
    take()
    assert decoding.next_data() == b""
    return b"".join(pieces)


def do(names: Iterable[str], chunks: Iterable[bytes]) -> bytes:
    encoding = Encoding([coding(name) for name in names])
    return b"".join([*(encoding.encode(chunk) for chunk in chunks), encoding.finish()])


def cut_at(data: bytes, *places: int) -> list[bytes]:
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def outcome(name: str, chunks: Iterable[bytes]) -> bytes | str:
    try:
        return undo([name], chunks)
    except InvalidContent as error:
        return str(error)


# -- there and back ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", [b"", b"x", SAMPLE, bytes(200_000)], ids=len)
def test_there_and_back(name: str, data: bytes) -> None:
    if name == "7bit":
        data = bytes(byte & 127 or 1 for byte in data)
    encoded = do([name], [data])
    assert undo([name], [encoded]) == data
    assert undo([name], splits_of(encoded)) == data
    if len(data) < 1000:
        assert undo([name], bytewise(encoded)) == data
        assert do([name], bytewise(data)) == encoded or name in COMPRESSED
        for at in range(len(encoded)):
            assert undo([name], [encoded[:at], encoded[at:]]) == data
        for at in range(len(data)):
            assert undo([name], [do([name], [data[:at], data[at:]])]) == data
    size = coding(name).size_of(len(data))
    assert size in (None, len(encoded))


def splits_of(data: bytes) -> list[bytes]:
    return [data[at : at + 997] for at in range(0, len(data), 997)]


CHUNKS = st.lists(
    st.binary(max_size=40) | st.sampled_from([b"\r", b"\n", b" ", b"=", b"\r\n", b" " * 80])
)


@given(
    st.lists(st.sampled_from([name for name in NAMES if name != "7bit"]), max_size=3),
    CHUNKS,
    st.lists(st.integers(0, 300), max_size=5),
)
def test_whatever_is_encoded_comes_back(
    names: list[str], chunks: list[bytes], places: list[int]
) -> None:
    encoded = do(names, chunks)
    assert undo(names, cut_at(encoded, *places)) == b"".join(chunks)


@given(st.sampled_from(["base64", "quoted-printable"]), CHUNKS)
def test_the_text_is_the_same_in_any_chunking(name: str, chunks: list[bytes]) -> None:
    encoded = do([name], chunks)
    assert encoded == do([name], [b"".join(chunks)])
    assert encoded.isascii()
    assert all(len(line) <= 76 for line in encoded.split(b"\r\n"))
    theirs = {"base64": base64.decodebytes, "quoted-printable": quopri.decodestring}[name]
    assert theirs(encoded) == b"".join(chunks)


@given(
    st.sampled_from(NAMES),
    st.lists(st.sampled_from([b"YQ", b"Q==", b"=", b"=3", b"D", b"=\r\n", b"\r", b"\n", b" ", b"!",
                              b"eA==", b"\xff", b"\t", b"abcd", b"=\n", b"\x1f\x8b", b"x\x9c"])),
)  # fmt: skip
def test_any_bytes_in_any_chunking_have_one_outcome(name: str, chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    expected = outcome(name, [whole])
    in_pieces = [outcome(name, chunks), outcome(name, bytewise(whole))]
    if isinstance(expected, bytes):
        assert in_pieces == [expected] * 2
    else:
        assert all(isinstance(other, str) for other in in_pieces)


# -- gzip, deflate, br, zstd ------------------------------------------------------------------


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("data", [b"", b"x", SAMPLE])
def test_both_forms_of_deflate(data: bytes, level: int) -> None:
    for encoded in (zlib.compress(data, level), zlib.compress(data, level, wbits=-15)):
        assert undo(["deflate"], [encoded]) == data
        assert undo(["deflate"], bytewise(encoded)) == data


def test_deflate_is_written_in_the_form_of_zlib() -> None:
    assert zlib.decompress(do(["deflate"], [b"x"])) == b"x"


def test_gzip_of_several_members() -> None:
    encoded = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two" * 99)
    for chunks in ([encoded], bytewise(encoded), *([e[:7], e[7:]] for e in [encoded])):
        assert undo(["gzip"], chunks) == b"one" + b"two" * 99


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("size", [PIECE - 1, PIECE, 3 * PIECE])
def test_output_that_fills_a_piece_to_the_last_byte(name: str, size: int) -> None:
    data = random.Random(2).randbytes(size)
    for sent in (data, bytes(size)):
        assert undo([name], [do([name], [sent])]) == sent


def test_zstd_of_several_frames() -> None:
    encoded = do(["zstd"], [b"one"]) + do(["zstd"], [b"two"])
    assert undo(["zstd"], bytewise(encoded)) == undo(["zstd"], [encoded]) == b"onetwo"


def test_gzip_says_nothing_of_when_or_where() -> None:
    assert do(["gzip"], [b"x"]) == do(["gzip"], [b"x"])
    assert gzip.decompress(do(["gzip"], [b"x"])) == b"x"


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_compressed_body_that_is_cut_anywhere_is_refused(name: str) -> None:
    encoded = do([name], [SAMPLE])
    for end in range(len(encoded)):
        for chunks in ([encoded[:end]], bytewise(encoded[:end])):
            with pytest.raises(InvalidContent, match=f"whole body in {name}, and it is cut or e"):
                undo([name], chunks)


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("junk", [b"\0", b"X", b"junk", b"\0" * 512, b"x" * 70_000])
def test_what_follows_a_compressed_body_is_refused(name: str, junk: bytes) -> None:
    encoded = do([name], [b"data"])
    told: set[str] = set()
    for chunks in ([encoded + junk], [encoded, junk], bytewise(encoded + junk)):
        with pytest.raises(InvalidContent, match=rf"{name}.* (after|behind) it") as caught:
            undo([name], chunks)
        told.add(str(caught.value))
    assert len(told) == 1


@pytest.mark.parametrize("name", COMPRESSED)
def test_what_was_never_compressed_is_refused_each_time(name: str) -> None:
    decoding = Decoding([coding(name)])
    decoding.receive_data(b"\xff\xfe\xfd plain text, and not compressed at all")
    errors: list[InvalidContent] = []
    for _ in range(2):
        with pytest.raises(InvalidContent, match=f"expected a body in {name}") as caught:
            decoding.next_data()
        errors.append(caught.value)
    assert errors[0] is errors[1]
    assert errors[0].__cause__ is not None
    assert errors[0].status == 422


def test_a_flipped_bit_never_passes() -> None:
    encoded = bytearray(do(["gzip"], [SAMPLE]))
    for at in range(10, len(encoded)):
        encoded[at] ^= 4
        assert outcome("gzip", [bytes(encoded)]) != SAMPLE or at < 10
        encoded[at] ^= 4


def test_zstd_with_a_window_that_is_too_large() -> None:
    zstd = import_module("compression.zstd" if has("compression.zstd") else "backports.zstd")
    options = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.content_size_flag: 0,
    }
    stream = zstd.ZstdCompressor(options=options)
    encoded = stream.compress(bytes(100)) + stream.flush()
    with pytest.raises(InvalidContent, match="zstd"):
        undo(["zstd"], [encoded])


def has(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("br", "br", r"brotli 1\.2.*\[brotli\]"), ("zstd", "zstd", r"zstd: .*\[zstd\]")],
)
def test_a_library_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(f"mpflow.wire.codings.{module}.import_module", missing)
    for make in (coding(name).decoder, coding(name).encoder):
        with pytest.raises(UnsupportedCoding, match=extra) as caught:
            make()
        assert caught.value.status == 415


def test_a_brotli_whose_output_has_no_bound_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        class Decompressor:
            pass

    monkeypatch.setattr("mpflow.wire.codings.br.import_module", lambda name: Old)
    with pytest.raises(UnsupportedCoding, match=r"brotli 1\.2"):
        coding("br").decoder()


# -- base64 -----------------------------------------------------------------------------------


def each_chunking(data: bytes) -> list[list[bytes]]:
    return [[data], bytewise(data), *([data[:at], data[at:]] for at in range(1, len(data)))]


@pytest.mark.parametrize(
    ("encoded", "data"),
    [
        (b"", b""),
        (b" \r\n\t", b""),
        (b"YWJj", b"abc"),
        (b"Y W\r\nJ\tj\r\n\r\n", b"abc"),
        (b"YQ==", b"a"),
        (b"YQ==\r\n", b"a"),
        (b"YQ=\r\n=", b"a"),
        (b"YWI=", b"ab"),
        (b"Y" + b" " * 500 + b"Q" + b"\r\n" * 99 + b"= =", b"a"),
        (b"+/+/", b"\xfb\xff\xbf"),
    ],
)
def test_base64(encoded: bytes, data: bytes) -> None:
    for chunks in each_chunking(encoded):
        assert undo(["base64"], chunks) == data


@pytest.mark.parametrize(
    ("encoded", "got"),
    [
        (b"YW!Jj", r"got '!', at byte 2 of"),
        (b"YWJjZ!", r"got '!', at byte 5 of"),
        (b"YW\r\n\r\nJj_w==", r"at byte 8 of"),
        (b"YWJj\x00", r"got '\\x00', at byte 4 of"),
        (b"YWJj\xe9", r"got '\\xe9', at byte 4 of"),
        (b"-_-_", r"at byte 0 of"),
        (b"Y", r"got 1 of the 4 characters .*, at byte 1 of"),
        (b"YQ", r"got 2 of the 4 characters"),
        (b"YWI", r"got 3 of the 4 characters"),
        (b"YQ=", r"got 3 of the 4 characters"),
        (b"YWJjYQ", r"got 2 of the 4 characters"),
        (b"=", r"padding where none fits, at byte 0 of"),
        (b"YWJj=", r"padding where none fits, at byte 4 of"),
        (b"Y===", r"padding where none fits, at byte 1 of"),
        (b"YWI==", r"more padding after the padding, at byte 4 of"),
        (b"YQ==YQ==", r"got 'Y' after the padding, at byte 4 of"),
        (b"YQ=Q", r"got 'Q' after the padding, at byte 3 of"),
        (b"YQ== =", r"padding"),
        (b"YQ==!", r"got '!' after the padding, at byte 4 of"),
        (b"S!G@k=\x00=", r"got '!', at byte 1 of"),
    ],
)
def test_what_is_no_base64(encoded: bytes, got: str) -> None:
    for chunks in each_chunking(encoded):
        with pytest.raises(InvalidContent, match=r"expected base64, got .* of the encoded body$"):
            undo(["base64"], chunks)
        with pytest.raises(InvalidContent, match=got):
            undo(["base64"], chunks)


def test_base64_is_wrapped_without_a_break_at_the_end() -> None:
    encoded = do(["base64"], [bytes(115)])
    assert [len(line) for line in encoded.split(b"\r\n")] == [76, 76, 4]
    for size in range(400):
        assert coding("base64").size_of(size) == len(do(["base64"], [bytes(size)]))


def test_white_space_alone_costs_no_more_than_its_size() -> None:
    blanks = [b" " * PIECE] * 64 + [b"YQ==" + b"\r\n" * 1000]
    began = time.perf_counter()
    assert undo(["base64"], blanks) == b"a"
    assert undo(["base64"], [b"Y" + b" " * 4_000_000 + b"Q=" + b"\t" * 4_000_000 + b"="]) == b"a"
    assert time.perf_counter() - began < 5


# -- quoted-printable -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoded", "data"),
    [
        (b"", b""),
        (b"a=3D=3d", b"a=="),
        (b"soft=\r\nbreak", b"softbreak"),
        (b"soft=\nbreak", b"softbreak"),
        (b"soft= \t\r\nbreak", b"softbreak"),
        (b"keep =\r\nthis", b"keep this"),
        (b"ends \t\r\nhere  \nand \t", b"ends\r\nhere\nand"),
        (b"at the end=", b"at the end"),
        (b"at the end= ", b"at the end"),
        (b"at the end=\r\n", b"at the end"),
        (b"caf\xe9 \x01\r\n", b"caf\xe9 \x01\r\n"),
        (b"a \rb \r", b"a \rb \r"),
        (b"=20\r\n=0D=0A", b" \r\n\r\n"),
        (b"x" * 500, b"x" * 500),
        (b" " * 998 + b"x", b" " * 998 + b"x"),
        (b" " * 998 + b"\r\n", b"\r\n"),
    ],
)
def test_quoted_printable(encoded: bytes, data: bytes) -> None:
    for chunks in each_chunking(encoded):
        assert undo(["quoted-printable"], chunks) == data


@pytest.mark.parametrize(
    ("encoded", "at"),
    [
        (b"a=", None),
        (b"a=3", 1),
        (b"a=ZZ", 1),
        (b"ab==3D", 2),
        (b"a \r\nb=\rc", 5),
        (b"a=\r", 1),
        (b"= x", 0),
        (b"=3\r\n", 0),
        (b" " * 999, 0),
        (b"x \t" + b"\t" * 998, 1),
    ],
)
def test_what_is_no_quoted_printable(encoded: bytes, at: int | None) -> None:
    if at is None:
        assert undo(["quoted-printable"], [encoded]) == b"a"
        return
    for chunks in each_chunking(encoded):
        with pytest.raises(InvalidContent, match=r"^expected quoted-printable, got ") as caught:
            undo(["quoted-printable"], chunks)
        assert f"at byte {at} of the encoded body" in caught.value.message
        assert caught.value.status == 422


def until_wrong(name: str, chunks: Iterable[bytes]) -> tuple[bytes, str]:
    """What comes before the error, and the error; raised once more at each further call."""
    decoding, out = Decoding([coding(name)]), b""
    try:
        for chunk in chunks:
            decoding.receive_data(chunk)
            while not decoding.needs_data:
                out += decoding.next_data()
        decoding.receive_eof()
        while not decoding.is_done:
            out += decoding.next_data()
    except InvalidContent as error:
        with pytest.raises(InvalidContent, match=re.escape(error.message)):
            decoding.next_data()
        return out, error.message
    return out, ""


@pytest.mark.parametrize(
    ("name", "encoded", "right"),
    [
        ("base64", b"YWJj" * 10_000 + b"YW!JYWJj", b"abc" * 10_000),
        ("base64", b"YWJjYQ==YWJj", b"abca"),
        ("base64", b"YWJjYWI==", b"abcab"),
        ("base64", b"YWJj=", b"abc"),
        ("quoted-printable", b"a=3Db\r\n" * 5_000 + b"c =3Z=3D", b"a=b\r\n" * 5_000 + b"c "),
        ("quoted-printable", b"ab=3" + b" " * 999, b"ab"),
        ("quoted-printable", b"ab=" + b" " * 999, b"ab"),
        ("quoted-printable", b"ab" + b" " * 999 + b"=ZZ", b"ab"),
    ],
)
def test_all_that_is_right_comes_before_the_error(name: str, encoded: bytes, right: bytes) -> None:
    ends = {until_wrong(name, chunks) for chunks in ([encoded], bytewise(encoded))}
    ((out, message),) = ends
    assert (out, message[:9]) == (right, "expected ")


@given(
    st.sampled_from(["base64", "quoted-printable"]),
    st.lists(st.sampled_from([b"YQ", b"Q==", b"=", b"=3", b"D", b"=\r\n", b"\r", b"\n", b" ", b"!",
                              b"\t", b"abcd", b"=\n", b" " * 998])),
)  # fmt: skip
def test_any_chunking_goes_as_far_and_says_the_same(name: str, chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    expected = until_wrong(name, [whole] if whole else [])
    assert until_wrong(name, [chunk for chunk in chunks if chunk]) == expected
    assert until_wrong(name, bytewise(whole)) == expected


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        (b"a=b", b"a=3Db"),
        (b"line \r\nline\t\r\n", b"line=20\r\nline=09\r\n"),
        (b"a\rb\nc", b"a=0Db=0Ac"),
        (b"ends with a blank ", b"ends with a blank=20"),
        (b"ends with\r", b"ends with=0D"),
        (b"caf\xc3\xa9", b"caf=C3=A9"),
        (b".\r\n. \0", b".\r\n. =00"),
        (b"x" * 76, b"x" * 76),
        (b"x" * 77, b"x" * 75 + b"=\r\nxx"),
        (b"x" * 74 + b"=x", b"x" * 74 + b"=\r\n=3Dx"),
    ],
)
def test_quoted_printable_is_written_so(data: bytes, encoded: bytes) -> None:
    for chunks in each_chunking(data):
        assert do(["quoted-printable"], chunks) == encoded


def test_quoted_printable_of_others() -> None:
    data = bytes(range(256)) * 20
    assert undo(["quoted-printable"], [quopri.encodestring(data).replace(b"\n", b"\r\n")])
    encoded = quopri.encodestring(data, quotetabs=True)
    assert undo(["quoted-printable"], splits_of(encoded)) == data


@pytest.mark.parametrize("unit", [b" " * 998 + b"x", b"=", b" \t\r", b"= ", b"=3D", b" \n", b"\r"])
def test_quoted_printable_costs_no_more_than_its_size(unit: bytes) -> None:
    body = unit * (2_000_000 // len(unit))
    began = time.perf_counter()
    outcome("quoted-printable", [body])
    assert time.perf_counter() - began < 3


def test_7bit_is_kept_when_it_is_written() -> None:
    assert undo(["7bit"], [b"\xff\0"]) == b"\xff\0"
    for data in (b"ok\xff", b"\0"):
        with pytest.raises(WriteError, match="from 1 to 127 for the transfer encoding 7bit, got"):
            do(["7bit"], [data])


# -- limits -----------------------------------------------------------------------------------


def bomb(name: str, size: int) -> bytes:
    encoding = Encoding([coding(name)])
    zeros = bytes(1024 * 1024)
    pieces = [encoding.encode(zeros) for _ in range(size // len(zeros))]
    return b"".join([*pieces, encoding.finish()])


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ({"max_bytes": 3_000_000}, "max_decoded_bytes"),
        ({"max_bytes": 10**9, "max_ratio": 100.0}, "max_decoded_ratio"),
    ],
)
def test_a_bomb_stops_at_its_limit(name: str, limits: dict[str, float], limit: str) -> None:
    encoded = bomb(name, 64 * 1024 * 1024)
    decoding = Decoding([coding(name)], **limits)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        decoding.receive_data(encoded)
        size = 0
        caught: LimitExceeded | None = None
        while caught is None:
            try:
                size += len(decoding.next_data())
            except LimitExceeded as error:
                caught = error
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (caught.limit, caught.status) == (limit, 413)
    with pytest.raises(LimitExceeded):
        decoding.next_data()
    assert size == 3_000_000 or limit == "max_decoded_ratio"
    assert 1024 * 1024 - PIECE <= size <= 10_000_000
    assert peak < 512 * 1024


@pytest.mark.parametrize(
    ("limits", "most"),
    [({"max_bytes": 256 * 1024 * 1024, "max_ratio": 100}, 8 * 1024 * 1024),
     ({"max_bytes": 256 * 1024 * 1024}, 256 * 1024 * 1024)],
    ids=["ratio", "size"],
)  # fmt: skip
def test_a_bomb_of_a_gibibyte(limits: dict[str, Any], most: int) -> None:
    decoding = Decoding([coding("gzip")], **limits)
    decoding.receive_data(bomb("gzip", 64 * 1024 * 1024) * 16)
    size = 0
    tracemalloc.start()
    try:
        with suppress(LimitExceeded):
            while not decoding.is_done:
                size += len(decoding.next_data())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    with pytest.raises(LimitExceeded):
        decoding.next_data()
    assert size <= most
    assert peak < 512 * 1024


def test_a_bomb_inside_a_bomb() -> None:
    encoded = do(["gzip"], [bomb("gzip", 32 * 1024 * 1024)])
    assert len(encoded) < 1000
    for limits in ({"max_bytes": 2_000_000}, {"max_ratio": 100}):
        with pytest.raises(LimitExceeded):
            undo(["gzip", "gzip"], [encoded], **limits)


def test_the_ratio_counts_only_past_a_mebibyte() -> None:
    encoded = bomb("gzip", 1024 * 1024)
    assert len(undo(["gzip"], [encoded], max_ratio=2)) == 1024 * 1024


def _end(names: list[str], chunks: Iterable[bytes], **limits: Any) -> tuple[int, str]:
    """How much came, and what was wrong in the end."""
    decoding = Decoding([coding(name) for name in names], **limits)
    size, given_out = 0, iter([*chunks, None])
    try:
        while not decoding.is_done:
            if decoding.needs_data:
                chunk = next(given_out)
                decoding.receive_eof() if chunk is None else decoding.receive_data(chunk)
            size += len(decoding.next_data())
    except LimitExceeded as error:
        return size, error.limit
    return size, ""


@pytest.mark.parametrize("names", [["gzip"], ["br"], ["zstd"], ["gzip", "base64"]], ids=str)
def test_the_ratio_is_the_same_however_a_body_is_cut(names: list[str]) -> None:
    # The beginning is a bomb for who sees nothing else, and the whole is none.
    noise = random.Random(1).randbytes(40_000)
    encoded = do(names, [bytes(4 * 1024 * 1024), noise])
    whole = _end(names, [encoded], max_ratio=110)
    assert whole == (4 * 1024 * 1024 + 40_000, "")
    assert _end(names, bytewise(encoded), max_ratio=110) == whole
    refused = _end(names, [encoded], max_ratio=60)
    assert refused[1] == "max_decoded_ratio"
    assert _end(names, bytewise(encoded), max_ratio=60) == refused


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 1_500_000)), min_size=1, max_size=4),
    st.integers(1, 400),
    st.none() | st.integers(900_000, 4_000_000),
    st.lists(st.integers(0, 300_000), max_size=6),
    st.sampled_from([["gzip"], ["deflate"], ["gzip", "base64"]]),
)
def test_any_chunking_comes_to_the_same_end(
    runs: list[tuple[bool, int]],
    ratio: int,
    most: int | None,
    places: list[int],
    names: list[str],
) -> None:
    noise = random.Random(2)
    data = [noise.randbytes(size // 10) if noisy else bytes(size) for noisy, size in runs]
    encoded = do(names, data)
    whole = _end(names, [encoded], max_ratio=ratio, max_bytes=most)
    assert _end(names, cut_at(encoded, *places), max_ratio=ratio, max_bytes=most) == whole


def test_what_is_within_the_limit_comes() -> None:
    encoded = do(["gzip"], [b"x" * 10])
    assert undo(["gzip"], [encoded], max_bytes=10) == b"x" * 10
    decoding = Decoding([coding("gzip")], max_bytes=4)
    decoding.receive_data(encoded)
    assert decoding.next_data() == b"xxxx"
    with pytest.raises(LimitExceeded, match="at most 4 bytes when its codings are undone"):
        decoding.next_data()
    decoding = Decoding([coding("gzip")], max_bytes=0)
    decoding.receive_data(encoded)
    with pytest.raises(LimitExceeded):
        decoding.next_data()


def test_many_tiny_members_cost_no_more_than_their_size() -> None:
    member = gzip.compress(b"")
    began = time.perf_counter()
    assert undo(["gzip"], [member * (2_000_000 // len(member))]) == b""
    assert time.perf_counter() - began < 10


def test_one_call_does_a_bounded_amount_of_work() -> None:
    decoding = Decoding([coding("gzip")])
    decoding.receive_data(gzip.compress(b"") * 20_000)  # 400 kB, and nothing comes of them
    calls = 0
    while not decoding.needs_data:
        assert decoding.next_data() == b""
        calls += 1
    assert calls >= 6


def test_a_compressed_body_of_random_bytes_in_random_chunks() -> None:
    rand = random.Random(1)
    data = rand.randbytes(300_000) + bytes(300_000)
    for name in COMPRESSED:
        encoded = do([name], [data])
        places = [rand.randrange(len(encoded)) for _ in range(40)]
        assert undo([name], cut_at(encoded, *places)) == data


# -- the table, and the headers ---------------------------------------------------------------


def names_of(headers: list[tuple[str, str]], **options: bool) -> list[str]:
    return [found.name for found in codings_of(CIMultiDict(headers), **options)]


def test_the_headers_name_codings_in_the_order_in_which_they_were_applied() -> None:
    headers = [
        ("Content-Encoding", "gzip, BR"),
        ("content-transfer-encoding", " Base64 "),
        ("Content-Encoding", "x-gzip,identity,"),
    ]
    assert names_of(headers) == ["gzip", "br", "gzip", "identity", "identity", "base64"]
    assert names_of(headers, transfer=False) == ["gzip", "br", "gzip", "identity", "identity"]
    assert names_of(headers, content=False) == ["base64"]
    assert names_of([]) == []
    encoded = do(names_of(headers), [SAMPLE])
    assert undo(names_of(headers), bytewise(encoded)) == SAMPLE
    assert gzip.decompress(undo(["base64"], [encoded]))


@pytest.mark.parametrize(
    ("header", "value", "match"),
    [
        ("Content-Encoding", "gzip, rot13", "content coding among br, .*zstd, got 'rot13'"),
        ("Content-Transfer-Encoding", "x-uuencode", "transfer encoding among .*, got 'x-uuencode'"),
        ("Content-Transfer-Encoding", "gzip", "transfer encoding"),
        ("Content-Encoding", "base64", "content coding"),
        ("Content-Encoding", "x" * 5000, "content coding"),
    ],
)
def test_a_coding_that_nobody_knows(header: str, value: str, match: str) -> None:
    with pytest.raises(UnsupportedCoding, match=match) as caught:
        names_of([(header, value)])
    assert len(str(caught.value)) < 250


def test_one_more_coding_is_a_pair_of_classes_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    swap = bytes.maketrans(b"abAB", b"ABab")

    class Decode(CodingDecoder):
        def decode(self, data: bytes, limit: int) -> bytes:
            return data.translate(swap)

        def finish(self) -> bytes:
            return b"!"

    class Encode(CodingEncoder):
        def encode(self, data: bytes) -> bytes:
            return data.translate(swap)

        def finish(self) -> bytes:
            return b""

    monkeypatch.setattr(registry, "_table", table := dict(registry._table))
    register_coding(Coding("X-Swap", "content", decoder=Decode, encoder=Encode, aliases=("swap",)))
    found = find_coding("content", "x-SWAP")
    assert found is find_coding("content", "swap") is table["content", "x-swap"]
    assert found.size_of(5) is None
    assert Encoding([found]).encode(b"abc") == b"ABc"
    decoding = Decoding([found])
    decoding.receive_data(b"ABc")
    assert decoding.next_data() == b"abc"
    decoding.receive_eof()
    assert decoding.next_data() == b"!"
    assert decoding.is_done


def test_without_codings_bytes_go_through() -> None:
    chunks: list[bytes] = [b"a", b"", b"bc" * 50_000]
    assert undo([], chunks) == b"".join(chunks)
    assert undo(["identity", "binary"], chunks) == b"".join(chunks)
    assert do([], chunks) == b"".join(chunks)


def test_the_decoders_of_codings_that_change_nothing() -> None:
    for name in ("identity", "7bit", "8bit", "binary"):
        decoder = coding(name).decoder()
        assert decoder.decode(b"\xff\0", PIECE) + decoder.finish() == b"\xff\0"


def test_all_splits_of_a_small_body() -> None:
    encoded = do(["deflate", "base64"], [b"a line of text"])
    take: Callable[[Iterable[bytes]], bytes] = lambda chunks: undo(["deflate", "base64"], chunks)  # noqa: E731
    assert {take(chunks) for chunks in splits(encoded)} == {b"a line of text"}


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Encoding", ",".join(["br"] * 1300))],
        [("Content-Encoding", "gzip, gzip, gzip")] * 2,
        [("Content-Encoding", "gzip")] * 6,
    ],
)
def test_more_codings_than_anybody_uses_are_refused(headers: list[tuple[str, str]]) -> None:
    """Each would hold a window of its own, and one line can ask for a thousand."""
    with pytest.raises(UnsupportedCoding, match="at most 5 content codings"):
        codings_of(CIMultiDict(headers))
    assert len(codings_of(CIMultiDict(headers[:1] if len(headers) == 6 else []))) < 2
