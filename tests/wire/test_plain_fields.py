"""Fields that are decoded many at once: nobody can tell.

Knows: what a decoder gives in one chunk and in many. Must not know: how many it takes at once.
"""

from __future__ import annotations

from typing import Any

import pytest

from mpflow import LimitExceeded
from mpflow.wire import (
    NEED_DATA,
    BodyEnd,
    Budget,
    Decoder,
    Event,
    Limits,
    PartBegin,
    WholePart,
    decoder,
    plainfields,
)
from mpflow.wire.headers import Head, parse_head, plain_head

HEAD = b'Content-Disposition: form-data; name="%s"\r\n\r\n'
NONE = Limits(max_parts=None, max_total_header_bytes=None)


def body(*parts: bytes) -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


def field(name: bytes, value: bytes = b"v") -> bytes:
    return HEAD % name + value


FIELDS = body(*(field(b"f%d" % i, b"v" * i) for i in range(50)))


def started(event: Event) -> bool:
    return isinstance(event, WholePart | PartBegin)


def names(decoder: Decoder, data: bytes, size: int | None) -> list[str | None]:
    """The names of what begins, until it fails."""
    found: list[str | None] = []
    for at in range(0, len(data), size or len(data)):
        decoder.receive_data(data[at : at + (size or len(data))])
        while True:
            event = decoder.next_event()
            if event is NEED_DATA or isinstance(event, BodyEnd):
                break
            if isinstance(event, WholePart | PartBegin):
                found.append(event.head.name)
    return found


SHAPES = {
    b"field": field(b"field"),
    b"file": b'Content-Disposition: form-data; name="file"; filename="x"\r\n'
    b"Content-Type: Image/PNG\r\n\r\nv",
    b"named": b'Content-Disposition: form-data; name="named"; filename="y"\r\n\r\nv',
    b"odd": b'X-Odd: 1\r\nContent-Disposition: form-data; name="odd"\r\n\r\nv',
    b"latin": b'Content-Disposition: form-data; name="latin"; filename="\xff"\r\n\r\nv',
}


@pytest.mark.parametrize("first", SHAPES)
def test_shapes_of_headers_in_any_order(first: bytes) -> None:
    """Of two in a row, and with a third behind them: each is what it is by itself."""
    for second in SHAPES:
        for third in SHAPES:
            parts = [SHAPES[first], SHAPES[second], SHAPES[third], SHAPES[b"field"]]
            decoder = Decoder("b", subtype="form-data")
            decoder.receive_data(body(*parts))
            for part in parts:
                event = decoder.next_event()
                assert isinstance(event, WholePart)
                head = event.head
                alone = parse_head(part[: part.index(b"\r\n\r\n")], form=True)
                assert (head.raw, head.name, head.filename) == (
                    alone.raw, alone.name, alone.filename,
                )  # fmt: skip
                assert (head.content_type, head.charset) == (alone.content_type, alone.charset)
                assert [it.code for it in head.deviations] == [it.code for it in alone.deviations]
                assert event.data == b"v"


@pytest.mark.parametrize("size", [None, 1000, 100, 1])
def test_what_stands_between_fields_is_seen(size: int | None) -> None:
    parts = [
        *(field(b"a%d" % i) for i in range(3)),
        b"\r\nno headers",
        b'Content-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + b"x" * 300,
        field(b"b", b"in the body: \r\n--bb\r\n"),
        field("ü".encode()),
        field(b"\xff"),
        field(b""),
        field(b"last", b""),
    ]
    found = names(Decoder("b", subtype="form-data"), body(*parts), size)
    assert found == ["a0", "a1", "a2", None, "file", "b", "ü", "\udcff", "", "last"]


@pytest.mark.parametrize("size", [None, 700, 1])
def test_padding_between_fields(size: int | None) -> None:
    data = FIELDS.replace(b"--b\r\n", b"--b \t\r\n", 5).replace(b'name="f20"', b'name="%66"')
    assert len(names(Decoder("b", subtype="form-data"), data, size)) == 50


def test_offsets() -> None:
    decoder = Decoder("b", limits=NONE)
    decoder.receive_data(FIELDS)
    event = decoder.next_event()
    seen = 0
    while isinstance(event, WholePart):
        assert FIELDS[event.offset :].startswith(event.data + b"\r\n--b")
        assert FIELDS[: event.offset].endswith(b'name="f%d"\r\n\r\n' % seen)
        seen += 1
        event = decoder.next_event()
    assert seen == 50


@pytest.mark.parametrize("size", [None, 500, 1])
@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (Limits(max_parts=20), "max_parts"),
        (Limits(max_total_header_bytes=850), "max_total_header_bytes"),
        (Limits(max_part_bytes=20), "max_part_bytes"),
        (Limits(max_header_line=41), "max_header_line"),
    ],
)
def test_a_limit_ends_it_at_the_same_part(limits: Limits, limit: str, size: int | None) -> None:
    decoder = Decoder("b", limits=limits, subtype="form-data")
    with pytest.raises(LimitExceeded) as caught:
        names(decoder, FIELDS, size)
    assert caught.value.limit == limit
    part = {"max_parts": 20, "max_total_header_bytes": 20, "max_part_bytes": 21}
    assert caught.value.part is not None
    assert caught.value.part.path == (part.get(limit, 10),)


@pytest.mark.parametrize("size", [None, 700, 150, 1])
@pytest.mark.parametrize("had", [1, 2, 19])
def test_limits_that_are_tightened_meanwhile(size: int | None, had: int) -> None:
    """They hold for what nobody has had, though it was in hand."""
    budget = Budget(NONE, given=False)
    decoder = Decoder("b", subtype="form-data", budget=budget)
    count = 0
    caught: LimitExceeded | None = None
    try:
        for at in range(0, len(FIELDS), size or len(FIELDS)):
            decoder.receive_data(FIELDS[at : at + (size or len(FIELDS))])
            while (event := decoder.next_event()) is not NEED_DATA:
                if isinstance(event, BodyEnd):
                    break
                count += started(event)
                if count == had and isinstance(event, WholePart | PartBegin):
                    decoder.tighten(Limits(max_parts=20))
    except LimitExceeded as error:
        caught = error
    assert caught is not None
    assert caught.limit == "max_parts"
    assert caught.part is not None
    assert caught.part.path == (20,)
    assert count == 20
    assert budget.counts.parts == 21


def test_limits_that_are_tightened_below_what_was_had() -> None:
    decoder = Decoder("b", subtype="form-data", budget=Budget(NONE, given=False))
    many = body(*(field(b"f%d" % i) for i in range(200)))
    cut = many.index(b"\r\n--b\r\n" + HEAD % b"f30")
    assert len(names(decoder, many[:cut], None)) == 30
    decoder.tighten(Limits(max_parts=3))
    with pytest.raises(LimitExceeded, match="max_parts") as caught:
        names(decoder, many[cut:], None)
    assert caught.value.part is not None
    assert caught.value.part.path == (30,)


@pytest.mark.parametrize("limits", [Limits(max_parts=12), Limits(max_total_header_bytes=500)])
def test_what_was_taken_ahead_counts_once_it_is_had(limits: Limits) -> None:
    """Another level has its share of the limits meanwhile."""
    ends: list[list[str]] = []
    for size in (len(FIELDS), 1):
        budget = Budget(limits, given=True)
        outer = Decoder("b", subtype="form-data", budget=budget)
        seen: list[str] = []
        for at in range(0, len(FIELDS), size):
            outer.receive_data(FIELDS[at : at + size])
            try:
                while (event := outer.next_event()) is not NEED_DATA:
                    if not isinstance(event, WholePart | PartBegin):
                        continue
                    seen.append(str(event.head.name))
                    if len(seen) == 3:
                        inner = Decoder("b", subtype="form-data", budget=budget.nested((2,)))
                        seen += [str(n) for n in names(inner, body(*[field(b"in")] * 5), None)]
            except LimitExceeded as error:
                seen.append(f"{error.limit} {error.part} {error.offset}")
                break
        ends.append(seen)
    assert ends[0] == ends[1]
    assert "max_" in ends[0][-1]


@pytest.mark.parametrize("count", [1, 2, 10, 300])
def test_each_head_is_read_once(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Also that of the last part, behind which stands the close delimiter."""
    read = 0

    def counted(*given: Any) -> Head:
        nonlocal read
        read += 1
        return plain_head(*given)

    for module in (plainfields, decoder):
        monkeypatch.setattr(module, "plain_head", counted)
    data = body(*[SHAPES[b"file"]] * count)
    found = names(Decoder("b", subtype="form-data"), data, None)
    assert (len(found), read) == (count, count)
