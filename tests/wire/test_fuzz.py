"""Generated parts go through encoder and decoder unharmed; no bytes raise anything unexpected."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mpflow.errors import MultipartError
from mpflow.wire import (
    DEVIATIONS,
    NEED_DATA,
    TOLERANCES,
    BodyEnd,
    Decoder,
    Encoder,
    Event,
    Head,
    Limits,
    PartBegin,
    PartData,
    PartEnd,
    WholePart,
)
from tests.wire.observe import bytewise, observe

BCHARS = "0123456789abcXYZ'()+_,-./:=?"


@st.composite
def boundaries(draw: st.DrawFn) -> str:
    """A boundary, rich in dashes."""
    text = draw(st.text(st.sampled_from(BCHARS + "-----"), min_size=1, max_size=70))
    return text[:-1] + "x" if text.endswith(" ") else text


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["A", "X-Long-Name", "Content-Type", "content-disposition"]),
        st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20).map(str.strip),
    ),
    max_size=3,
    unique_by=lambda pair: pair[0],
)


@st.composite
def forms(draw: st.DrawFn) -> tuple[str, list[tuple[Head, list[bytes]]]]:
    """A boundary, and parts whose bodies are full of beginnings of its delimiter."""
    boundary = draw(boundaries())
    delimiter = b"\r\n--" + boundary.encode()
    pieces = st.one_of(
        st.sampled_from([b"\r", b"\n", b"-", b"\r\n", b"--", b"x", b"\0", b"\xff"]),
        st.integers(0, len(delimiter) - 1).map(lambda n: delimiter[:n]),
        st.integers(1, len(delimiter)).map(lambda n: delimiter[n:]),
        st.binary(max_size=5),
    )
    parts: list[tuple[Head, list[bytes]]] = []
    for headers in draw(st.lists(HEADERS, max_size=4)):
        body = draw(st.lists(pieces, max_size=12))
        if delimiter not in b"\r\n" + b"".join(body):
            try:
                parts.append((Head.of(headers), body))
            except MultipartError:
                continue  # a disposition that is refused
    return boundary, parts


def encode(boundary: str, parts: list[tuple[Head, list[bytes]]], *, whole: bool) -> bytes:
    encoder = Encoder(boundary)
    sent: list[bytes] = []
    for head, pieces in parts:
        events: list[Event] = [WholePart(head, b"".join(pieces))]
        if not whole:
            events = [PartBegin(head), *(PartData(p) for p in pieces if p), PartEnd()]
        sent += map(encoder.send, events)
    return b"".join([*sent, encoder.send(BodyEnd())])


@given(forms(), st.lists(st.integers(0, 2000), max_size=8))
def test_what_is_encoded_comes_out_again(
    form: tuple[str, list[tuple[Head, list[bytes]]]], cuts: list[int]
) -> None:
    boundary, parts = form
    data = encode(boundary, parts, whole=True)
    expected = [(head.raw, b"".join(pieces)) for head, pieces in parts]

    assert encode(boundary, parts, whole=False) == data
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    chunks = [data[a:b] for a, b in pairwise(places)]
    for cut in ([data], bytewise(data), chunks):
        outcome = observe(Decoder(boundary), cut)
        assert outcome.error is None
        assert outcome.pairs == expected
        assert outcome.ended


@given(forms(), st.integers(1, 40))
def test_encoding_what_was_decoded_gives_the_same_bytes(
    form: tuple[str, list[tuple[Head, list[bytes]]]], size: int
) -> None:
    boundary, parts = form
    data = encode(boundary, parts, whole=True)
    decoder, encoder = Decoder(boundary), Encoder(boundary)
    sent: list[bytes] = []
    for i in range(0, len(data), size):
        decoder.receive_data(data[i : i + size])
        while (event := decoder.next_event()) is not NEED_DATA and not isinstance(event, BodyEnd):
            sent.append(encoder.send(event))

    assert b"".join([*sent, encoder.send(BodyEnd())]) == data


SOUP = st.lists(
    st.sampled_from(
        [
            *(b"\r\n", b"\r", b"\n", b"--b", b"\r\n--b", b"--", b" ", b":", b"A: 1", b";"),
            b"\t" * 13,  # more than the smallest max_header_line
            *(b'"', b"=", b"\0", b"\xff", b"Content-Disposition: form-data", b"name=", b"a", b"\\"),
            *(
                b"filename*=UTF-8''%",
                b"Content-Type: ",
                b"text/plain",
                b"charset",
                b"(",
                b"\r\n\r\n",
            ),
        ]
    )
    | st.binary(max_size=4),
    max_size=40,
).map(b"".join)
OPTIONS = st.fixed_dictionaries(
    {
        "strict": st.booleans(),
        "tolerate": st.sets(st.sampled_from(sorted(TOLERANCES))),
        "subtype": st.sampled_from(["mixed", "form-data", "digest"]),
        "limits": st.sampled_from(
            [
                Limits(),
                Limits(max_headers=1, max_header_line=12, max_parts=2, max_preamble=4),
                Limits(max_total_bytes=40, max_part_bytes=5, max_epilogue=3),
                Limits(max_total_header_bytes=20, max_header_bytes=15),
            ]
        ),
    }
)


LINES = st.lists(
    st.sampled_from(
        [
            *(b"\n", b"\n\n", b"\n--b", b"--b", b"--b\n", b"\r\n", b"\r", b"--", b" ", b"\t" * 13),
            *(b"A: 1", b"A:", b"a"),
        ]
    ),
    max_size=30,
).map(b"".join)
"""Lines that end in all ways, for what is tolerated of them."""


@given(
    SOUP | LINES | SOUP.map(lambda soup: b"--b\r\n" + soup), OPTIONS, st.sampled_from(["b", "--b"])
)
def test_nothing_but_multipart_errors_leaves_and_no_chunking_matters(
    data: bytes, options: dict[str, Any], boundary: str
) -> None:
    whole = observe(Decoder(boundary, **options), [data])

    assert observe(Decoder(boundary, **options), bytewise(data)) == whole
    half = len(data) // 2
    assert observe(Decoder(boundary, **options), [data[:half], data[half:]]) == whole
    known = DEVIATIONS.keys() | (options["tolerate"])
    assert {deviation.code for deviation in whole.deviations} <= known
