"""The decoder's manners: which object comes out, what is held back, what it costs, how it ends."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from mpflow.errors import (
    EmptyBody,
    InvalidBoundary,
    LimitExceeded,
    MalformedBody,
    PartRef,
    TruncatedBody,
)
from mpflow.wire import (
    NEED_DATA,
    BodyEnd,
    Decoder,
    Deviation,
    Event,
    Limits,
    NeedData,
    PartBegin,
    PartData,
    PartEnd,
    WholePart,
)
from tests.wire.bodies import crlf
from tests.wire.observe import bytewise, cut, observe

MIB = 1 << 20
HEAD = b"--b\r\nA: 1\r\n\r\n"


def events(decoder: Decoder, data: bytes | bytearray | memoryview) -> list[Event]:
    """The events that are there once `data` came."""
    decoder.receive_data(data)
    found: list[Event] = []
    while (event := decoder.next_event()) is not NEED_DATA:
        found.append(event)
        if isinstance(event, BodyEnd):
            break
    return found


def kinds(found: list[Event]) -> list[type]:
    return [type(event) for event in found]


# -- events -----------------------------------------------------------------------------------


def test_part_that_is_whole_in_hand_is_one_event() -> None:
    decoder = Decoder("b")

    found = events(decoder, HEAD + b"x\r\n" + HEAD + b"y\r\n--b--")

    assert kinds(found) == [WholePart, WholePart, BodyEnd]
    whole = found[0]
    assert isinstance(whole, WholePart)
    assert (whole.head.headers["a"], whole.data, whole.offset) == ("1", b"x", len(HEAD))


def test_part_that_is_not_whole_comes_in_pieces() -> None:
    decoder = Decoder("b")

    assert kinds(events(decoder, HEAD)) == [PartBegin]
    assert events(decoder, b"x") == [PartData(b"x")]
    assert kinds(events(decoder, b"y\r\n--b\r\n")) == [PartData, PartEnd]


def test_headers_are_known_before_the_body() -> None:
    decoder = Decoder("b")

    # The blank line's second CRLF may begin a delimiter: the body is not known to be there yet.
    assert events(decoder, HEAD[:-1]) == []
    (begin,) = events(decoder, HEAD[-1:])
    assert isinstance(begin, PartBegin)
    assert begin.offset == len(HEAD)


def test_body_bytes_come_out_as_soon_as_they_are_in() -> None:
    decoder = Decoder("bound")
    events(decoder, b"--bound\r\n\r\n")

    for byte in bytewise(b"live, \n and \x00"):
        assert events(decoder, byte) == [PartData(byte)]


def test_only_what_may_begin_a_delimiter_is_held_back() -> None:
    decoder = Decoder("bound")
    events(decoder, b"--bound\r\n\r\n")

    for byte in bytewise(b"\r\n--boun"):
        assert events(decoder, byte) == []
    assert events(decoder, b"x") == [PartData(b"\r\n--bounx")]
    assert events(decoder, b"\r") == []
    assert events(decoder, b"\r") == [PartData(b"\r")]
    assert events(decoder, b"y\r\n-") == [PartData(b"\ry")]
    assert kinds(events(decoder, b"-bound--")) == [PartEnd, BodyEnd]


def test_part_ends_with_its_delimiter_line_and_not_later() -> None:
    decoder = Decoder("b")
    events(decoder, HEAD + b"x")

    assert kinds(events(decoder, b"\r\n--b\r\n")) == [PartEnd]
    assert kinds(events(decoder, b"\r\n")) == [PartBegin]


def test_body_end_comes_for_ever() -> None:
    decoder = Decoder("b")
    events(decoder, b"--b--")

    decoder.receive_data(b"epilogue")
    assert [decoder.next_event() for _ in range(3)] == [BodyEnd()] * 3
    assert decoder.epilogue_bytes == 8
    decoder.receive_eof()
    assert decoder.next_event() == BodyEnd()


def test_second_close_delimiter_is_epilogue() -> None:
    outcome = observe(Decoder("b"), [b"--b--\r\n--b\r\n\r\nx\r\n--b--"])

    assert outcome.error is None
    assert outcome.parts == []
    assert outcome.epilogue == 17


def test_caller_may_stop_between_any_two_events() -> None:
    decoder = Decoder("b")
    decoder.receive_data(HEAD + b"x\r\n" + HEAD + b"y")

    assert isinstance(decoder.next_event(), WholePart)
    decoder.receive_data(b"z\r\n--b--")
    assert isinstance(decoder.next_event(), PartBegin)
    assert decoder.next_event() == PartData(b"y")
    assert decoder.next_event() == PartData(b"z")
    assert decoder.next_event() == PartEnd()
    assert decoder.next_event() == BodyEnd()


def test_nothing_is_read_past_a_delimiter_in_hand() -> None:
    decoder = Decoder("b", limits=Limits.stream())
    for _ in range(3):
        decoder.receive_data(b"\r\n" + HEAD + b"frame\r\n--b\r\n\r\nlast\r\n--b\r\n")
        found: list[Event | NeedData] = [decoder.next_event() for _ in range(2)]
        assert [event.data for event in found if isinstance(event, WholePart)] == [
            b"frame",
            b"last",
        ]
        assert not decoder.ended
        decoder = Decoder("b", limits=Limits.stream())


@pytest.mark.parametrize(
    ("subtype", "default", "code"),
    [
        ("mixed", "text/plain", []),
        ("digest", "message/rfc822", []),
        ("form-data", "text/plain", ["not-form-data"]),
    ],
)
def test_subtype_decides_how_headers_are_read(subtype: str, default: str, code: list[str]) -> None:
    decoder = Decoder("b", subtype=subtype)

    (whole, _) = events(decoder, crlf("--b\n\nx\n--b--"))

    assert isinstance(whole, WholePart)
    assert whole.head.content_type == default
    assert [deviation.code for deviation in decoder.deviations] == code


# -- objects ----------------------------------------------------------------------------------


def test_chunk_without_a_delimiter_goes_out_as_the_object_that_came_in() -> None:
    decoder = Decoder("b")
    events(decoder, HEAD + b"x")

    for chunk in (b"hello", b"x" * 100_000, bytes(2 * MIB)):
        (event,) = events(decoder, chunk)
        assert isinstance(event, PartData)
        assert event.data is chunk


@pytest.mark.parametrize(
    "kind", [bytearray, lambda data: memoryview(bytearray(data))], ids=["bytearray", "memoryview"]
)
def test_what_can_change_is_copied(kind: Any) -> None:
    decoder = Decoder("b")
    events(decoder, HEAD)
    chunk = kind(b"hello")

    decoder.receive_data(chunk)
    chunk[0] = 0

    assert decoder.next_event() == PartData(b"hello")


def test_subclass_of_bytes_comes_out_as_bytes() -> None:
    class Strange(bytes):
        pass

    decoder = Decoder("b")
    events(decoder, HEAD)
    (event,) = events(decoder, Strange(b"hello"))

    assert isinstance(event, PartData)
    assert type(event.data) is bytes


def test_other_types_are_refused() -> None:
    for wrong in ("text", None, 5, [1]):
        with pytest.raises(TypeError, match="expected bytes, bytearray or memoryview"):
            Decoder("b").receive_data(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("end", [b"", b"\r\n--b--"], ids=["open", "whole"])
def test_large_chunk_is_not_copied_whole(end: bytes) -> None:
    chunk = HEAD + bytes(64 * MIB) + end
    decoder = Decoder("b")
    size = 0
    tracemalloc.start()
    try:
        decoder.receive_data(chunk)
        while (event := decoder.next_event()) is not NEED_DATA and not isinstance(event, BodyEnd):
            size += len(event.data) if isinstance(event, PartData) else 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size == 64 * MIB
    assert peak < 2 * MIB


def test_memory_does_not_grow_with_the_count_of_parts_nor_with_their_size() -> None:
    decoder = Decoder("b", limits=Limits.stream())
    events(decoder, b"--b\r\n")
    tracemalloc.start()
    try:
        for _ in range(3_000):
            events(decoder, b"A: 1\r\n\r\nhello\r\n--b\r\n")
        for _ in range(50):
            events(decoder, b"A: 1\r\n\r\n" + bytes(65536) + b"\r\n--b\r\n")
        size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # No more than the last chunk, and what it was cut into.
    assert size < 4 * 65536
    assert peak < MIB


# -- cost -------------------------------------------------------------------------------------

HOSTILE = {
    "crlf": ("boundary", b"\r\n"),
    "cr": ("boundary", b"\r"),
    "near": ("boundary", b"\r\n--boundar"),
    "line-like-delimiter": ("boundary", b"\r\n--boundaryx"),
    "padding": ("boundary", b"\r\n--boundary" + b" " * 200 + b"x"),
    "dashes": ("-" * 70, b"-"),
    "dashes-near": ("-" * 69 + "b", b"\r\n--" + b"-" * 69),
    "a": ("a" * 70, b"a"),
    "ab": ("ab" * 35, b"\r\n--" + b"ab" * 34),
    "one-character": ("a", b"\r\n--"),
}


def seconds(boundary: str, data: bytes, size: int) -> float:
    """The time of this thread's CPU that one body part takes: the least of three."""
    chunks, times = cut(data, size), list[float]()
    for _ in range(3):
        decoder = Decoder(boundary)
        events(decoder, b"--" + boundary.encode() + b"\r\n\r\nx")
        start = time.thread_time()
        for chunk in chunks:
            events(decoder, chunk)
        times.append(time.thread_time() - start)
    return min(times)


@pytest.mark.parametrize("size", [64, 4096, 1 << 30], ids=str)
@pytest.mark.parametrize("shape", HOSTILE)
def test_time_is_linear(shape: str, size: int) -> None:
    boundary, unit = HOSTILE[shape]
    small = seconds(boundary, unit * (MIB // 16 // len(unit)), size)
    large = seconds(boundary, unit * (MIB // len(unit)), size)

    # 16 times as much takes 16 times as long, and 256 times as long where it is quadratic.
    assert large < 64 * max(small, 1e-4)


def test_header_block_that_comes_byte_by_byte_is_looked_at_once() -> None:
    limits = Limits(max_header_line=None, max_header_bytes=None, max_total_header_bytes=None)
    decoder = Decoder("b", limits=limits)
    events(decoder, b"--b\r\nA: ")

    for _ in range(3):
        assert events(decoder, b"x" * MIB) == []
    (begin,) = events(decoder, b"\r\n\r\n")
    assert isinstance(begin, PartBegin)
    assert len(begin.head.raw) == 3 * MIB + 3


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EmptyBody),
        (b"hello", TruncatedBody),
        (b"--b\r\nA\r\n\r\nx\r\n--b--", MalformedBody),
        (b"--b\r\n" + b"A: 1\r\n" * 33 + b"\r\nx\r\n--b--", LimitExceeded),
    ],
)
def test_error_is_raised_again_by_every_later_call(data: bytes, error: type[Exception]) -> None:
    decoder = Decoder("b")
    outcome = observe(decoder, [data])
    assert outcome.error is not None

    raised = []
    for _ in range(3):
        with pytest.raises(error) as caught:
            decoder.next_event()
        raised.append(caught.value)
    assert len(set(map(id, raised))) == 1
    assert not decoder.ended


def test_what_comes_after_an_error_is_not_kept() -> None:
    decoder = Decoder("b")
    with pytest.raises(MalformedBody):
        events(decoder, b"--b\r\nA\r\n\r\n")

    tracemalloc.start()
    try:
        for _ in range(100):
            decoder.receive_data(bytes(MIB))
        assert tracemalloc.get_traced_memory()[0] < MIB
    finally:
        tracemalloc.stop()


def test_what_came_before_an_error_comes_out_first() -> None:
    decoder = Decoder("b", limits=Limits(max_part_bytes=3))
    decoder.receive_data(HEAD + b"x\r\n" + HEAD + b"hello")

    assert isinstance(decoder.next_event(), WholePart)
    assert isinstance(decoder.next_event(), PartBegin)
    assert decoder.next_event() == PartData(b"hel")
    with pytest.raises(LimitExceeded):
        decoder.next_event()


def test_data_after_the_end_is_a_mistake_of_the_caller() -> None:
    decoder = Decoder("b")
    decoder.receive_eof()

    with pytest.raises(RuntimeError, match="after receive_eof"):
        decoder.receive_data(b"x")


def test_empty_chunks_mean_nothing() -> None:
    decoder = Decoder("b")
    assert events(decoder, b"") == []
    assert kinds(events(decoder, b"--b--")) == [BodyEnd]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "expected a multipart body with the delimiter '--b', and the body is empty"),
        (b"--b\nA: 1\n\nx\n--b--\n", "its lines end with a bare LF, where RFC 2046 asks for CRLF"),
        (b'{"a": 1}', "it did not come; the body begins with '{\"a\": 1}' (at byte 8)"),
        (b"--bx\r\n", "it did not come; the body begins with '--bx' (at byte 6)"),
        (b"--b\r\nA: 1", "the body ended after 9 bytes, in the headers of a part (in part 0"),
        (HEAD + b"hello", "in the body of a part, of which 5 bytes came (in part 0, at byte 18)"),
    ],
)
def test_messages_of_bodies_that_are_cut(data: bytes, text: str) -> None:
    decoder = Decoder("b")
    outcome = observe(decoder, [data])
    assert outcome.error is not None

    with pytest.raises(TruncatedBody) as caught:
        decoder.next_event()
    assert text in str(caught.value)


# -- boundaries -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("boundary", "text"),
    [
        ("", "got an empty one"),
        ("b ", "does not end in a space"),
        ("a\r\nb", r"got 'a\r\nb'"),
        ("a\x7f", "printable ASCII"),
        ("b\u00e9", "in ASCII"),
        (b"\xff", "printable ASCII"),
    ],
)
def test_boundaries_that_cannot_be(boundary: str | bytes, text: str) -> None:
    with pytest.raises(InvalidBoundary) as caught:
        Decoder(boundary)
    assert text in str(caught.value)
    assert caught.value.status == 400


def test_boundary_that_is_too_long() -> None:
    with pytest.raises(LimitExceeded, match="at most 70 characters, got 71") as caught:
        Decoder("x" * 71)
    assert (caught.value.limit, caught.value.status) == ("max_boundary", 400)
    observe(Decoder("x" * 70), [b""])
    long = Decoder("x" * 5000, limits=Limits(max_boundary=None))
    assert observe(long, [b"--" + b"x" * 5000 + b"--"]).ended


def test_boundary_of_odd_characters_is_recorded_or_refused() -> None:
    assert Decoder("a{b}").deviations == [Deviation("boundary-characters", "'a{b}'")]
    with pytest.raises(MalformedBody, match="boundary-characters"):
        Decoder("a{b}", strict=True)


# -- deviations -------------------------------------------------------------------------------


def test_deviations_name_the_part_and_the_offset() -> None:
    decoder = Decoder("b", subtype="form-data")
    events(decoder, crlf("--b\nContent-Disposition: form-data\n\nx\n--b\nA: 1\n\nx\n--b\n--b--"))

    assert [(d.code, d.part, d.offset) for d in decoder.deviations] == [
        ("form-data-without-name", (0,), 5),
        ("not-form-data", (1,), 47),
        ("not-form-data", (2,), 63),
        ("no-blank-line", (2,), 61),
    ]


def test_deviations_are_bounded() -> None:
    decoder = Decoder("b", subtype="form-data", limits=Limits.stream())
    events(decoder, b"--b\r\n\r\nx\r\n" * 1500)

    assert len(decoder.deviations) == 1000


def test_strict_accepts_what_rfc_2046_allows() -> None:
    data = crlf("preamble\n--b \t\nA: 1\n 2\n\n--b\n\n\n--b--  \nepilogue")

    outcome = observe(Decoder("b", strict=True), [data])

    assert outcome.error is None
    assert [part.data for part in outcome.parts] == [b"", b""]


def test_unknown_tolerance_is_refused() -> None:
    with pytest.raises(ValueError, match="expected tolerate to name some of"):
        Decoder("b", tolerate={"everything"})


# -- parts that are thrown away ---------------------------------------------------------------

SKIPPED = b"--b\r\n\r\nfirst\r\n--c\r\n--b \r\nA: 1\r\n\r\nsecond\r\n--b--"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("at", range(SKIPPED.index(b"first"), SKIPPED.index(b"--b ") - 1))
def test_what_is_left_of_a_part_is_thrown_away(at: int, size: int) -> None:
    decoder = Decoder("b")
    begun = observe(decoder, cut(SKIPPED[:at], size), eof=False)
    assert [part.whole for part in begun.parts] == [False]
    decoder.skip_part()
    outcome = observe(decoder, cut(SKIPPED[at:], size))
    assert outcome.error is None
    assert outcome.pairs == [(b"A: 1", b"second")]


def test_what_is_in_hand_of_a_part_is_thrown_away() -> None:
    decoder = Decoder("b")
    decoder.receive_data(b"--b\r\n\r\nfir")
    assert isinstance(decoder.next_event(), PartBegin)
    decoder.receive_data(SKIPPED[SKIPPED.index(b"st") :])
    assert isinstance(decoder.next_event(), PartData)
    decoder.skip_part()
    assert observe(decoder, []).pairs == [(b"A: 1", b"second")]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"st..\r\n--b--", None),
        (b"st...\r\n--b--", LimitExceeded),
        (b"st", TruncatedBody),
    ],
)
def test_limits_and_errors_hold_for_what_is_thrown_away(
    data: bytes, error: type[Exception] | None
) -> None:
    for chunks in ([data], bytewise(data)):
        decoder = Decoder("b", limits=Limits(max_part_bytes=7))
        observe(decoder, [b"--b\r\n\r\nfir"], eof=False)
        decoder.part_limit = None  # as a flow sets it, which counts parts of its own
        decoder.skip_part()
        outcome = observe(decoder, chunks)
        assert (outcome.error and outcome.error[0]) is error
        assert outcome.parts == []
        if outcome.error is not None:
            assert outcome.error[3] == PartRef((0,))


@pytest.mark.parametrize("tail", [b"more", b"cut\r", b"", bytearray(b"mutable")])
def test_chunks_of_a_large_part_may_come_before_anybody_asks(tail: bytes | bytearray) -> None:
    decoder = Decoder("b")
    data = b""
    for chunk in (b"--b\r\n\r\nbegin", b"one", b"two", b"three"):
        decoder.receive_data(chunk)
        while (event := decoder.next_event()) is not NEED_DATA:
            data += event.data if isinstance(event, PartData) else b""
    for chunk in (b"four", tail, b"five", b"\r\n--b--"):
        decoder.receive_data(chunk)
    decoder.receive_eof()
    while not isinstance(event := decoder.next_event(), BodyEnd):
        data += event.data if isinstance(event, PartData) else b""
    assert data == b"beginonetwothreefour" + tail + b"five"
