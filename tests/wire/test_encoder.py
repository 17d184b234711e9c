"""The encoder: the order of events, the bytes on the wire, and what it refuses to send."""

from __future__ import annotations

import re

import pytest

from mpflow.errors import InvalidBoundary, LimitExceeded, WriteError
from mpflow.wire import (
    BodyEnd,
    Encoder,
    Event,
    Head,
    PartBegin,
    PartData,
    PartEnd,
    WholePart,
    new_boundary,
)
from tests.wire.observe import chunkings

NONE = Head.of([])
ONE = Head.of([("A", "1")])


def encode(*events: Event, boundary: str = "b") -> bytes:
    encoder = Encoder(boundary)
    return b"".join(map(encoder.send, events))


def test_bytes_of_a_body() -> None:
    parts: list[Event] = [
        WholePart(ONE, b"x"),
        PartBegin(NONE),
        PartData(b"y"),
        PartEnd(),
        BodyEnd(),
    ]

    assert encode(*parts) == b"--b\r\nA: 1\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\n"


def test_bytes_of_no_parts() -> None:
    assert encode(BodyEnd()) == b"--b--\r\n"


def test_bytes_of_empty_parts() -> None:
    assert encode(WholePart(NONE, b""), WholePart(ONE, b""), BodyEnd()) == (
        b"--b\r\n\r\n\r\n--b\r\nA: 1\r\n\r\n\r\n--b--\r\n"
    )


def test_body_goes_out_as_the_object_that_came_in() -> None:
    encoder = Encoder("b")
    encoder.send(PartBegin(NONE))
    data = bytes(100_000)

    assert encoder.send(PartData(data)) is data


@pytest.mark.parametrize(
    "body", [b"\r\n--b", b"x\r\n--bound", b"--b", b"--b--", b"a\r\n--b\r\n", b"x" * 99 + b"\r\n--b"]
)
def test_body_with_a_delimiter_is_refused_however_it_is_cut(body: bytes) -> None:
    with pytest.raises(WriteError, match="delimiter"):
        encode(WholePart(NONE, body))
    for chunks in chunkings(body):
        with pytest.raises(WriteError, match="delimiter"):
            encode(PartBegin(NONE), *map(PartData, chunks))


def test_body_that_begins_like_a_delimiter_is_sent() -> None:
    body = b"\r\n-\r\n--\r--b\n--b\r\n"

    for chunks in chunkings(body):
        assert encode(PartBegin(NONE), *map(PartData, chunks)) == b"--b\r\n\r\n" + body


def test_tail_of_one_part_does_not_meet_the_next() -> None:
    whole = WholePart(NONE, b"\r\n--")

    assert encode(whole, PartBegin(NONE), PartData(b"b"), PartEnd(), BodyEnd()).endswith(
        b"b\r\n--b--\r\n"
    )


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([PartData(b"x")], "got PartData outside of a part"),
        ([PartEnd()], "got PartEnd outside of a part"),
        ([PartBegin(NONE), PartBegin(NONE)], "inside a part"),
        ([PartBegin(NONE), WholePart(NONE, b"")], "inside a part"),
        ([PartBegin(NONE), BodyEnd()], "got BodyEnd inside a part"),
        ([BodyEnd(), BodyEnd()], "no event after BodyEnd"),
        ([BodyEnd(), WholePart(NONE, b"")], "no event after BodyEnd, got WholePart"),
        ([PartBegin(NONE), PartEnd(), PartData(b"x")], "outside of a part"),
    ],
)
def test_events_out_of_order_are_refused(events: list[Event], text: str) -> None:
    encoder = Encoder("b")
    for event in events[:-1]:
        encoder.send(event)

    with pytest.raises(WriteError) as caught:
        encoder.send(events[-1])
    assert text in str(caught.value)
    assert caught.value.status == 500


def test_refused_event_changes_nothing() -> None:
    encoder = Encoder("b")
    with pytest.raises(WriteError):
        encoder.send(WholePart(NONE, b"\r\n--b"))

    assert encoder.send(WholePart(NONE, b"x")) == b"--b\r\n\r\nx"
    with pytest.raises(WriteError):
        encoder.send(WholePart(NONE, b"--b"))
    assert encoder.send(BodyEnd()) == b"\r\n--b--\r\n"


@pytest.mark.parametrize("boundary", ["", "b ", "a\r\nb", "\u00e9"])
def test_boundaries_that_cannot_be(boundary: str) -> None:
    with pytest.raises(InvalidBoundary):
        Encoder(boundary)


def test_boundary_that_is_too_long() -> None:
    with pytest.raises(LimitExceeded):
        Encoder("x" * 71)


def test_boundaries_are_new_each_time() -> None:
    made = {Encoder().boundary for _ in range(100)} | {new_boundary() for _ in range(100)}

    assert len(made) == 200
    assert all(re.fullmatch("[KQXZ]{70}", boundary) for boundary in made)


def test_new_boundaries_are_found_missing_quickly() -> None:
    """The search tells bytes apart by their lowest six bits: see `mpflow.wire.boundary`."""
    common = b"\r\n- etaoinsrhldcumfgpwybvkxjqz0123456789"

    made = {byte & 63 for byte in new_boundary().encode()}

    assert made.isdisjoint({byte & 63 for byte in common})
