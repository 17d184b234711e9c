"""The fast lane of large parts: nobody can tell, whatever its chunks end in.

Knows: what a decoder gives in one chunk and in many. Must not know: which chunks take the lane.
"""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow import LimitExceeded, TruncatedBody
from mpflow.wire import NEED_DATA, Budget, Decoder, Limits, PartBegin, PartData
from mpflow.wire.scanner import WINDOW
from tests.wire.observe import Outcome, observe

HEAD = b'Content-Disposition: form-data; name="n"\r\n\r\n'
BOUNDARIES = ["b", "-", "--", "ab" * 3, "-" * 20]


def body(boundary: bytes, *payloads: bytes) -> bytes:
    parts = b"".join(b"--" + boundary + b"\r\n" + HEAD + data + b"\r\n" for data in payloads)
    return parts + b"--" + boundary + b"--\r\n"


@st.composite
def near(draw: st.DrawFn) -> tuple[str, bytes]:
    """A boundary, and a body made of what may begin its delimiter."""
    boundary = draw(st.sampled_from(BOUNDARIES))
    delimiter = b"\r\n--" + boundary.encode()
    pieces = [delimiter[:size] for size in range(1, len(delimiter))]
    pieces += [b"\r", b"\n", b"x", b"\r\r\n", delimiter + b"x", delimiter[1:]]
    payloads = draw(
        st.lists(
            st.lists(st.sampled_from(pieces), max_size=40).map(b"".join), min_size=1, max_size=3
        )
    )
    data = body(boundary.encode(), *payloads)
    return boundary, data[: len(data) - draw(st.sampled_from([0, 0, 0, 1, 5, 9, 30]))]


def seen(boundary: str, chunks: list[bytes], limits: Limits) -> Outcome:
    return observe(Decoder(boundary, subtype="form-data", limits=limits), chunks)


@given(
    what=near(),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=50),
    part=st.one_of(st.none(), st.integers(0, 60)),
    total=st.one_of(st.none(), st.integers(0, 300)),
)
def test_what_may_begin_a_delimiter_at_the_end_of_any_chunk(
    what: tuple[str, bytes], sizes: list[int], part: int | None, total: int | None
) -> None:
    boundary, data = what
    if part is not None and total is not None:
        part = min(part, total)
    limits = Limits(max_part_bytes=part, max_total_bytes=total)
    chunks, at = list[bytes](), 0
    while at < len(data):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(data[at : at + size])
        at += size
    whole = seen(boundary, [data], limits)
    assert seen(boundary, chunks, limits) == whole
    assert seen(boundary, [bytes([it]) for it in data], limits) == whole


@pytest.mark.parametrize("size", [7, 1024, 40_000])
@pytest.mark.parametrize("boundary", ["-" * 70, "b" + "-" * 69, "ab" * 35])
def test_each_of_many_chunks_ends_in_what_may_begin_a_delimiter(boundary: str, size: int) -> None:
    raw = boundary.encode()
    payload = (b"\r\n--" + raw)[:-1] * (6 * size // 73 + 60)
    data = body(raw, payload, payload + b"\r\n--" + raw[:-1])
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    outcome = seen(boundary, chunks, Limits())
    assert outcome.error is None
    assert [it.data for it in outcome.parts] == [payload, payload + b"\r\n--" + raw[:-1]]


def in_the_lane(decoder: Decoder, *chunks: bytes) -> bytes:
    """A part that is open, of which these came; what was given of it."""
    data = b""
    for chunk in (b"--bound\r\n" + HEAD + b"x" * 20, b"y" * 20, *chunks):
        decoder.receive_data(chunk)
        while (event := decoder.next_event()) is not NEED_DATA:
            if isinstance(event, PartData):
                data += event.data
            else:
                assert isinstance(event, PartBegin)
    return data


def test_what_is_held_is_given_once_it_is_no_delimiter() -> None:
    decoder = Decoder("bound")
    assert in_the_lane(decoder, b"zz\r\n--bo") == b"x" * 20 + b"y" * 20 + b"zz"
    for chunk, given_ in ((b"u", b""), (b"n", b""), (b"!", b"\r\n--boun!"), (b"\r", b"")):
        decoder.receive_data(chunk)
        event = decoder.next_event()
        assert (event.data if isinstance(event, PartData) else b"") == given_
        while event is not NEED_DATA:
            event = decoder.next_event()


@pytest.mark.parametrize("end", [b"x", b"\r"])
def test_a_large_chunk_behind_what_is_held_is_not_copied_whole(end: bytes) -> None:
    decoder = Decoder("bound")
    in_the_lane(decoder, b"z\r")
    chunk = bytes(8 * WINDOW) + end
    tracemalloc.start()
    try:
        decoder.receive_data(chunk)
        size = 0
        while (event := decoder.next_event()) is not NEED_DATA:
            assert isinstance(event, PartData)
            size += len(event.data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 8 * WINDOW + 2 - (end == b"\r")
    assert peak < 4 * WINDOW


@pytest.mark.parametrize("cut", [b"\r", b"\r\n--bo", b"z\r\n--bo", b"z"])
def test_a_body_that_ends_there_says_how_much_came(cut: bytes) -> None:
    decoder, whole = Decoder("bound"), Decoder("bound")
    in_the_lane(decoder, b"w", cut)
    whole.receive_data(b"--bound\r\n" + HEAD + b"x" * 20 + b"y" * 20 + b"w" + cut)
    messages: list[str] = []
    for it in (decoder, whole):
        while it.next_event() is not NEED_DATA:
            pass
        it.receive_eof()
        with pytest.raises(TruncatedBody) as caught:
            it.next_event()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_limits_that_are_tightened_while_something_is_held() -> None:
    for left in range(12):
        decoder = Decoder("bound", budget=Budget(Limits(), given=False))
        before = len(in_the_lane(decoder, b"z\r\n--bo"))
        decoder.tighten(Limits(max_part_bytes=before + left))
        decoder.receive_data(b"0123456789")
        data = b""
        with pytest.raises(LimitExceeded, match="max_part_bytes") as caught:  # noqa: PT012
            while True:
                event = decoder.next_event()
                assert isinstance(event, PartData)
                data += event.data
        assert data == b"\r\n--bo0123456789"[:left]
        assert caught.value.offset == len(b"--bound\r\n" + HEAD) + before + left


def test_a_part_that_is_skipped_while_something_is_held() -> None:
    decoder = Decoder("bound")
    in_the_lane(decoder, b"z\r\n--bo")
    decoder.skip_part()
    decoder.receive_data(b"und\r\n" + HEAD + b"next\r\n--bound--\r\n")
    event = decoder.next_event()
    assert getattr(event, "data", None) == b"next"
