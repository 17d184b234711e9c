"""`Limits` themselves, and the wire's axes: exactly at the limit passes, one more is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from mpflow.errors import LimitExceeded, PartRef
from mpflow.wire import NEED_DATA, Budget, Decoder, Limits, WholePart
from mpflow.wire.limits import parse_size
from tests.wire.bodies import crlf
from tests.wire.observe import Outcome, Seen, bytewise, observe

OFF: dict[str, Any] = dict.fromkeys(attrs.fields_dict(Limits))


@attrs.frozen
class Axis:
    """A body that reaches `limit` exactly, and what is said of the one that passes it by one.

    `make(n)` is a body with n of what is counted. `offset` and `part` are where the first thing
    too many stands.
    """

    limit: str
    make: Callable[[int], bytes]
    value: int
    offset: int
    part: PartRef | None


def _parts(n: int) -> bytes:
    return b"--b\r\n\r\nx\r\n" * n + b"--b--"


def _headers(n: int) -> bytes:
    return b"--b\r\n" + b"A: 1\r\n" * n + b"\r\n\r\n--b--"


def _folded(n: int) -> bytes:
    return b"--b\r\nA: 1\r\n " + b"x" * (n - 1) + b"\r\nB: 2\r\n\r\nx\r\n--b--"


AXES = [
    Axis("max_parts", _parts, 3, 3 * 10 + 3, PartRef((3,))),
    Axis("max_headers", _headers, 3, 5 + 3 * 6, PartRef((0,))),
    Axis(
        "max_header_line",
        lambda n: b"--b\r\nA: " + b"x" * (n - 3) + b"\r\n\r\n\r\n--b--",
        9,
        5 + 9,
        PartRef((0,)),
    ),
    Axis(
        "max_header_line",
        lambda n: b"--b\r\nA: " + b"x" * (n - 3) + b"\r\n--b--",
        9,
        5 + 9,
        PartRef((0,)),
    ),
    Axis("max_header_line", _folded, 9, 11 + 9, PartRef((0,))),
    Axis(
        "max_header_line",
        lambda n: b"--b\r\n\r\nx\r\n--b" + b" " * n + b"\r\n\r\n\r\n--b--",
        9,
        8,
        PartRef((0,)),
    ),
    Axis(
        "max_header_bytes",
        lambda n: b"--b\r\nA: 1\r\nB: " + b"x" * (n - 9) + b"\r\n\r\n\r\n--b--",
        12,
        5 + 12,
        PartRef((0,)),
    ),
    Axis(
        "max_header_bytes",
        lambda n: b"--b\r\nA: 1\r\nB: " + b"x" * (n - 9) + b"\r\n\r\n--b--",
        12,
        5 + 12,
        PartRef((0,)),
    ),
    Axis(
        "max_total_header_bytes",
        lambda n: b"--b\r\nA: 1\r\n\r\n\r\n--b\r\nB: " + b"x" * (n - 7) + b"\r\n\r\n\r\n--b--",
        12,
        20 + 8,
        PartRef((1,)),
    ),
    Axis("max_preamble", lambda n: b"x" * n + b"\r\n--b\r\n\r\nx\r\n--b--", 12, 12, None),
    Axis(
        "max_preamble", lambda n: b"\r\n" * (n // 2) + b"x" * (n % 2) + b"\r\n--b--", 12, 12, None
    ),
    Axis("max_epilogue", lambda n: b"--b--" + b"x" * n, 12, 5 + 12, None),
    Axis(
        "max_part_bytes",
        lambda n: b"--b\r\n\r\n" + b"x" * n + b"\r\n--b--",
        12,
        7 + 12,
        PartRef((0,)),
    ),
    Axis(
        "max_part_bytes",
        lambda n: b"--b\r\nA: 1\r\n\r\n" + b"\r" * n + b"\r\n--b--",
        12,
        13 + 12,
        PartRef((0,)),
    ),
    Axis(
        "max_total_bytes",
        lambda n: b"--b\r\n\r\n" + b"x" * (n - 14) + b"\r\n--b--",
        30,
        30,
        PartRef((0,)),
    ),
    Axis("max_total_bytes", lambda n: b"x" * (n - 7) + b"\r\n--b--", 30, 30, None),
]


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: f"{axis.limit}-{AXES.index(axis)}")
class TestAxis:
    def observe(self, axis: Axis, data: bytes, limits: Limits) -> Any:
        whole = observe(Decoder("b", limits=limits), [data])
        assert observe(Decoder("b", limits=limits), bytewise(data)) == whole
        return whole

    def test_exactly_at_the_limit_passes(self, axis: Axis) -> None:
        limits = Limits(**{**OFF, axis.limit: axis.value})

        outcome = self.observe(axis, axis.make(axis.value), limits)

        assert outcome.error is None
        assert outcome.ended

    def test_one_more_is_refused(self, axis: Axis) -> None:
        limits = Limits(**{**OFF, axis.limit: axis.value})

        outcome = self.observe(axis, axis.make(axis.value + 1), limits)

        assert outcome.error is not None
        kind, limit, offset, part, status, message = outcome.error
        assert kind is LimitExceeded
        assert limit == (axis.limit, axis.value)
        assert offset == axis.offset
        assert part == axis.part
        assert status == 413
        assert str(axis.value) in message or "max_preamble" not in message

    def test_none_switches_it_off(self, axis: Axis) -> None:
        outcome = self.observe(axis, axis.make(3000), Limits(**OFF))

        assert outcome.error is None
        assert outcome.ended

    def test_nothing_is_kept_of_what_is_too_much(self, axis: Axis) -> None:
        decoder = Decoder("b", limits=Limits(**{**OFF, axis.limit: axis.value}))
        observe(decoder, [axis.make(axis.value + 1)], eof=False)

        for _ in range(3):
            decoder.receive_data(b"\r\n--b--")
            with pytest.raises(LimitExceeded, match=r"expected"):
                decoder.next_event()


SMALL = [axis for axis in AXES if getattr(Limits(), axis.limit) <= 8192]


@pytest.mark.parametrize("axis", SMALL, ids=lambda axis: f"{axis.limit}-{AXES.index(axis)}")
def test_default_holds(axis: Axis) -> None:
    value = getattr(Limits(), axis.limit)
    limits = Limits(**{**OFF, axis.limit: value})

    assert observe(Decoder("b", limits=limits), [axis.make(value)]).error is None
    for chunks in ([axis.make(value + 1)], bytewise(axis.make(value + 1))):
        error = observe(Decoder("b"), chunks).error
        assert error is not None
        # A line of headers is shorter than a block: of the defaults, that of the line is hit first.
        assert error[1] in {(axis.limit, value), ("max_header_line", 4096)}


def test_parts_without_headers_give_no_header_bytes_back() -> None:
    limits = Limits(max_total_header_bytes=8)
    data = crlf("--b\nA: 1\n\nx\n" + "--b\n\nx\n" * 9 + "--b\nB: 2\n\nx\n--b\nC: 3\n\nx\n--b--")

    for chunks in ([data], bytewise(data)):
        outcome = observe(Decoder("b", limits=limits), chunks)
        assert outcome.error is not None
        assert outcome.error[1] == ("max_total_header_bytes", 8)
        assert len(outcome.parts) == 11


def test_limit_of_a_part_can_be_set_for_a_decoder() -> None:
    decoder = Decoder("b", limits=Limits(max_part_bytes=2))
    decoder.part_limit = 4

    outcome = observe(decoder, [b"--b\r\n\r\nabcd\r\n--b\r\n\r\nabcde\r\n--b--"])

    assert [part.data for part in outcome.parts] == [b"abcd", b"abcd"]
    assert outcome.error is not None
    assert outcome.error[1] == ("max_part_bytes", 4)


def test_error_names_the_part_by_what_the_client_called_it() -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n'
    outcome = observe(Decoder("b", limits=Limits(max_part_bytes=2)), [head + b"abc\r\n--b--"])

    assert outcome.error is not None
    assert outcome.error[3] == PartRef((0,), "a", "f")


def test_epilogue_is_counted_as_it_comes() -> None:
    decoder = Decoder("b", limits=Limits(max_epilogue=3))
    assert observe(decoder, [b"--b--"], eof=False).ended

    decoder.receive_data(b"abc")
    decoder.next_event()
    assert decoder.epilogue_bytes == 3
    decoder.receive_data(b"d")
    with pytest.raises(LimitExceeded) as caught:
        decoder.next_event()
    assert (caught.value.limit, caught.value.offset) == ("max_epilogue", 8)


# -- levels -----------------------------------------------------------------------------------


def test_levels_share_their_counts() -> None:
    outer = Budget(Limits(max_parts=3, max_total_header_bytes=8))
    inner = outer.nested((0,))
    observe(Decoder("b", budget=outer), [b"--b\r\nA: 1\r\n\r\n"], eof=False)

    outcome = observe(Decoder("b", budget=inner), [crlf("--b\nB: 2\n\nx\n--b\nC: 3\n\nx\n--b--")])
    assert outcome.error is not None
    assert outcome.error[1:4] == (("max_total_header_bytes", 8), 21, PartRef((0, 1)))
    outcome = observe(Decoder("b", budget=inner), [b"--b\r\n\r\nx\r\n--b--"])
    assert outcome.error is not None
    assert outcome.error[1] == ("max_parts", 3)


def test_total_bytes_are_counted_by_the_outermost_level_alone() -> None:
    outer = Budget(Limits(max_total_bytes=5))
    data = b"--b\r\n\r\nhello\r\n--b--"

    assert observe(Decoder("b", budget=outer.nested((0,))), [data]).error is None
    assert observe(Decoder("b", budget=outer), [data]).error is not None


def test_a_level_with_limits_of_its_own_has_a_total() -> None:
    inner = Budget(Limits(max_total_bytes=50, max_parts=9)).nested((0,))
    assert inner.total is None
    inner.tighten(Limits(max_total_bytes=18, max_parts=99))
    assert (inner.total, inner.limits.max_total_bytes, inner.limits.max_parts) == (18, 18, 9)
    assert inner.nested((0, 0)).total is None

    outcome = observe(Decoder("b", budget=inner), [b"--b\r\n\r\nhello\r\n--b--"])
    assert outcome.error is not None
    assert outcome.error[1:3] == (("max_total_bytes", 18), 18)


# -- limits that come later -------------------------------------------------------------------


def later(limits: Limits, data: bytes, at: int, *, own: Limits | None = None) -> Outcome:
    """What a decoder makes of `data` whose limits came after `at` bytes."""
    decoder = Decoder("b", limits=own)
    begun = observe(decoder, [data[:at]], eof=False)
    decoder.tighten(limits)
    rest = observe(decoder, bytewise(data[at:]))
    rest.parts = begun.parts + rest.parts
    return rest


@pytest.mark.parametrize("own", [None, Limits()])
@pytest.mark.parametrize(
    ("limit", "value"),
    [("max_parts", 2), ("max_headers", 1), ("max_header_line", 4), ("max_header_bytes", 9),
     ("max_total_header_bytes", 13), ("max_part_bytes", 4), ("max_total_bytes", 40),
     ("max_epilogue", 2)],
)  # fmt: skip
def test_limits_that_come_between_two_parts(limit: str, value: int, own: Limits | None) -> None:
    begin = crlf("--b\nA: 1\n\nhello\n--b\n")
    data = begin + crlf("B: 2\nC: 33\n\nworld\n--b\n\n\n--b--\nepi")
    # One that is off means the same as one that is large.
    for rest in ({}, {"max_preamble": None}):
        outcome = later(Limits(**{limit: value}, **rest), data, len(begin), own=own)
        assert outcome.parts[0].data == b"hello"
        assert outcome.error is not None
        assert outcome.error[1] == (limit, value)
    assert later(Limits(), data, len(begin), own=own).error is None


def test_limits_that_what_came_has_passed_already() -> None:
    begin, rest = b"--b\r\n\r\nhello", b", world\r\n--b--"
    for limit in ("max_part_bytes", "max_total_bytes"):
        # Nothing more of it is given out, and nothing of what was is taken back.
        outcome = later(Limits(**{limit: 3}), begin + rest, len(begin))
        assert outcome.parts[0].data == b"hello"
        assert outcome.error is not None
        assert outcome.error[1] == (limit, 3)


def test_a_total_that_what_is_in_hand_has_passed() -> None:
    data = b"--b\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\nepilogue"
    end = data.rindex(b"--") + 2
    for most in (end, end - 1):
        decoder = Decoder("b")
        decoder.receive_data(data)
        assert decoder.next_event() is not NEED_DATA
        decoder.tighten(Limits(max_total_bytes=most))
        outcome = observe(decoder, [])
        assert outcome.ended is (most == end)
        expected = None if most == end else (("max_total_bytes", most), most, PartRef((1,)))
        assert (outcome.error and outcome.error[1:4]) == expected


@pytest.mark.parametrize("tolerate", [(), ("bare-lf",)])
def test_of_what_is_in_hand_nothing_past_a_new_total_is_decoded(tolerate: tuple[str, ...]) -> None:
    field = 'Content-Disposition: form-data; name="a"'
    file = f'{field}; filename="b"\nContent-Type: text/plain'
    parts = [field, file, "X: y", "", "no colon"]
    data = crlf("".join(f"--b\n{head}\n\nvalue\n--b   \n\nz\r\n--bc\n" for head in parts))
    data += b"--b--\r\nepilogue"
    first = data.index(b"--b   \r\n") + 8
    for most in range(first, len(data) + 1):
        usual = Decoder("b", limits=Limits(max_total_bytes=most), tolerate=tolerate)
        expected = observe(usual, bytewise(data))
        for size in (len(data), first + 30):
            decoder = Decoder("b", tolerate=tolerate)
            decoder.receive_data(data[:size])
            begun = decoder.next_event()
            assert isinstance(begun, WholePart)
            decoder.tighten(Limits(max_total_bytes=most))
            outcome = observe(decoder, [data[size:]] if size < len(data) else [])
            outcome.parts.insert(0, Seen(begun.head.raw, begun.offset, begun.data, True))
            assert outcome == expected, (most, size)


def test_a_default_gives_way_to_the_first_limits_and_to_no_others() -> None:
    decoder = Decoder("b")
    decoder.tighten(Limits(max_parts=5000, max_part_bytes=None))
    assert decoder.part_limit is None
    decoder.tighten(Limits(max_parts=9000, max_part_bytes=7))
    assert decoder.part_limit == 7
    data = b"--b\r\n\r\n\r\n" * 5001 + b"--b--"
    outcome = observe(decoder, [data])
    assert outcome.error is not None
    assert outcome.error[1] == ("max_parts", 5000)


def test_a_boundary_that_is_too_long_for_later_limits() -> None:
    decoder = Decoder("boundary")
    with pytest.raises(LimitExceeded, match="at most 7 characters"):
        decoder.tighten(Limits(max_boundary=7))


# -- nesting and memory -----------------------------------------------------------------------


def test_depth_is_limited() -> None:
    budget = Budget(Limits(max_depth=2))

    inner = budget.nested((3,))
    assert inner.path == (3,)
    with pytest.raises(LimitExceeded) as caught:
        inner.nested((3, 1), part=PartRef((3, 1)))
    assert (caught.value.limit, caught.value.value) == ("max_depth", 2)
    assert caught.value.part == PartRef((3, 1))
    assert Budget(Limits(max_depth=None)).nested((0,) * 99).path == (0,) * 99


def test_memory_is_counted_over_all_parts() -> None:
    budget = Budget(Limits(max_total_memory=10))
    budget.take_memory(6)
    budget.nested((0,)).take_memory(4)

    with pytest.raises(LimitExceeded) as caught:
        budget.take_memory(1)
    assert (caught.value.limit, caught.value.value) == ("max_total_memory", 10)
    budget.take_memory(100, allow=111)
    budget.take_memory(1 << 40, allow=None)
    Budget(Limits(max_total_memory=None)).take_memory(1 << 60)


# -- Limits -----------------------------------------------------------------------------------


def test_every_default_is_finite() -> None:
    assert all(value is not None for value in attrs.asdict(Limits()).values())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (65536, 65536),
        ("0", 0),
        ("10", 10),
        ("10 B", 10),
        ("64KiB", 65536),
        ("64 kib", 65536),
        ("2 GiB", 2 << 30),
        ("1.5 MB", 1_500_000),
        ("0.25 KiB", 256),
        ("1 TB", 10**12),
        ("1 TiB", 1 << 40),
        (" 3 MiB ", 3 << 20),
        (None, None),
    ],
)
def test_sizes(text: Any, size: int | None) -> None:
    assert parse_size(text) == size
    assert Limits(max_boundary=text).max_boundary == size


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "1 XB", "1.", ".5 KB", "1e3", "1  GiB", "1 GiBs", "1" * 19, "\u0661", -2],
)
def test_wrong_sizes(text: Any) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        Limits(max_parts=text)


@pytest.mark.parametrize("value", [True, 1.5, b"1", [1]])
def test_sizes_of_the_wrong_type(value: Any) -> None:
    with pytest.raises(TypeError, match="expected a size as int"):
        Limits(max_parts=value)


def test_times_and_ratios() -> None:
    limits = Limits(idle_timeout=1, stall_timeout=None, max_decoded_ratio=None)

    assert (limits.idle_timeout, limits.stall_timeout, limits.max_decoded_ratio) == (
        1.0,
        None,
        None,
    )
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="more than 0 seconds"):
            Limits(idle_timeout=wrong)
    for kind in (True, "1"):
        with pytest.raises(TypeError, match="seconds as a number"):
            Limits(handler_timeout=kind)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ratio of at least 1"):
        Limits(max_decoded_ratio=0.5)


PAIRS = [
    ("max_header_line", "max_header_bytes"),
    ("max_header_bytes", "max_total_header_bytes"),
    ("max_total_header_bytes", "max_total_bytes"),
    ("max_part_bytes", "max_total_bytes"),
    ("max_memory", "max_total_memory"),
    ("max_memory", "max_decoded_bytes"),
]


@pytest.mark.parametrize(("small", "large"), PAIRS)
def test_two_given_limits_of_which_one_cannot_be_reached(small: str, large: str) -> None:
    with pytest.raises(ValueError, match=f"{small} = 6 can never be reached below {large} = 5"):
        Limits(**{small: 6, large: 5})
    assert getattr(Limits(**{small: 5, large: 5}), small) == 5
    assert getattr(Limits(**{small: None, large: 5}), small) is None


@pytest.mark.parametrize(("small", "large"), PAIRS)
def test_a_default_gives_way_in_silence(small: str, large: str) -> None:
    assert getattr(Limits(**{large: 5}), large) == 5
    assert getattr(Limits(**{small: 1 << 50}), small) == 1 << 50


def test_stream_has_no_totals() -> None:
    limits = Limits.stream(max_parts=7, max_part_bytes="1 MiB")

    assert (limits.max_parts, limits.max_part_bytes) == (7, 1 << 20)
    assert limits.max_total_bytes is None
    assert limits.max_total_header_bytes is None
    assert limits.max_total_memory is None
    assert limits.max_headers == Limits().max_headers


def test_tighten_takes_the_smaller_of_each() -> None:
    one = Limits(max_parts=5, max_total_bytes=None, max_part_bytes="2 GiB", idle_timeout=3)
    other = Limits(max_parts=None, max_total_bytes="1 GiB", max_part_bytes=None, idle_timeout=None)

    for tight in (one.tighten(other), other.tighten(one)):
        assert (tight.max_parts, tight.max_total_bytes) == (5, 1 << 30)
        # Each was checked when it was made: of the two together one may be out of reach.
        assert (tight.max_part_bytes, tight.idle_timeout) == (2 << 30, 3.0)
        assert isinstance(tight, Limits)
    assert Limits(**OFF).tighten(Limits(**OFF)) == Limits(**OFF)
    assert one.tighten(one) == one


def test_limits_are_frozen_and_keyword_only() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Limits().max_parts = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        Limits(5)  # type: ignore[misc]
    with pytest.raises(TypeError, match="max_files"):
        Limits(max_files=5)  # type: ignore[call-arg]
