"""The header block of a part: fields, heads, the usual shapes and all others, in linear time.

Knows: blocks as they come between a delimiter and a body.
"""

from __future__ import annotations

import contextlib
import gc
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from mpflow.errors import MalformedBody
from mpflow.wire.headers import (
    DEVIATIONS,
    LENIENT,
    TOLERANCES,
    Deviation,
    Head,
    Policy,
    head,
    parse_content_type,
    parse_disposition,
    parse_head,
)

STRICT = Policy(strict=True)
ALL = Policy(tolerate=frozenset(TOLERANCES))
NAMED = b'Content-Disposition: form-data; name="a"'


def codes(parsed: Head) -> set[str]:
    return {deviation.code for deviation in parsed.deviations}


def contents(parsed: Head) -> tuple[object, ...]:
    """Everything that a head says."""
    return (
        parsed.raw,
        parsed.name,
        parsed.filename,
        parsed.disposition,
        parsed.content_type,
        parsed.charset,
        dict(parsed.content_type_params),
        dict(parsed.disposition_params),
        list(parsed.headers.items()),
        parsed.deviations,
        parsed.is_multipart,
    )


def slowly(block: bytes, monkeypatch: pytest.MonkeyPatch, *, default_type: str) -> Head:
    """Parse without the short cut for the usual shapes."""
    with monkeypatch.context() as patch:
        patch.setattr(head, "_USUAL", lambda block: None)
        patch.setattr(head, "_TYPE_FIRST", lambda block: None)
        return parse_head(block, form=True, default_type=default_type)


# -- fields --------------------------------------------------------------------------------------


def test_no_header_at_all() -> None:
    parsed = parse_head(b"")
    assert contents(parsed) == (b"", None, None, None, "text/plain", None, {}, {}, [], (), False)
    assert parse_head(b"", default_type="message/rfc822").content_type == "message/rfc822"


def test_fields_keep_their_order_and_case() -> None:
    parsed = parse_head(b"X-A: 1\r\nx-a:2\r\nContent-ID:\t <a>\t \r\nEmpty:", policy=STRICT)
    assert list(parsed.headers.items()) == [
        ("X-A", "1"), ("x-a", "2"), ("Content-ID", "<a>"), ("Empty", ""),
    ]  # fmt: skip
    assert parsed.headers.getall("X-a") == ["1", "2"]


def test_folded_lines_become_one_space() -> None:
    block = b'Content-Disposition: form-data;\r\n\tname="a  \r\n  b"\r\nX:\r\n y'
    parsed = parse_head(block, form=True, policy=STRICT)
    assert parsed.name == "a b"
    assert parsed.headers["x"] == "y"


def test_a_fold_that_holds_nothing_is_recorded() -> None:
    parsed = parse_head(b"A: b\r\n \t\r\n c\r\nD: e")
    assert list(parsed.headers.items()) == [("A", "b c"), ("D", "e")]
    assert parsed.deviations == (
        Deviation("blank-fold", "expected more of the header, got ' \\t'", None, 6),
    )


@pytest.mark.parametrize(
    ("block", "message", "offset"),
    [
        (b"A: b\r\nno colon here", "expected a header 'name: value', got 'no colon here'", 6),
        (b"A: b\r\n\r\nC: d", "expected a header 'name: value', got ''", 6),
        (b": b", "expected a token as a header's name, got ''", 0),
        (b"A b: c", "expected a token as a header's name, got 'A b'", 0),
        (b"A\xc3\xa9: c", r"expected a token as a header's name, got 'A\xc3\xa9'", 0),
        (b"A: b\r\nC(): d", "expected a token as a header's name, got 'C()'", 6),
        (b" A: b", "expected a header before the folded line ' A: b'", 0),
        (b"A: b\r\nContent-Disposition: ;", "expected a disposition type, got ';'", 6),
    ],
)
def test_what_is_no_header_is_refused(block: bytes, message: str, offset: int) -> None:
    with pytest.raises(MalformedBody) as caught:
        parse_head(block, policy=ALL)
    assert (caught.value.message, caught.value.offset) == (message, offset)


AMBIGUOUS: list[tuple[bytes, str, int, list[tuple[str, str]]]] = [
    (b"A: b\r\nC : d", "space-before-colon", 6, [("A", "b"), ("C", "d")]),
    (b"A: b\nC: d", "bare-cr-lf", 4, [("A", "b"), ("C", "d")]),
    (b"A: b\rC: d", "bare-cr-lf", 4, [("A", "b C: d")]),
    (b"A: b\r\r\nC: d\r", "bare-cr-lf", 4, [("A", "b"), ("C", "d")]),
    (b"A: b\n c", "bare-cr-lf", 4, [("A", "b c")]),
    (b"A: b\0", "nul", 4, [("A", "b\0")]),
    (b"A: b\x0bc", "control-character", 4, [("A", "b\x0bc")]),
    (b"A: b\x7fc", "control-character", 4, [("A", "b\x7fc")]),
    (b"Content-Type: a/b\r\ncontent-type: c/d", "duplicate-header", 19,
     [("Content-Type", "a/b"), ("content-type", "c/d")]),
    (NAMED + b"\r\n" + NAMED.replace(b'"a"', b'"b"'), "duplicate-header", 42,
     [("Content-Disposition", 'form-data; name="a"'),
      ("Content-Disposition", 'form-data; name="b"')]),
    (b"Content-Transfer-Encoding: a\r\nContent-Transfer-Encoding: b", "duplicate-header", 30,
     [("Content-Transfer-Encoding", "a"), ("Content-Transfer-Encoding", "b")]),
    (b"A: b\r\nContent-Type: a/b; charset=x; charset=y", "duplicate-parameter", 6,
     [("A", "b"), ("Content-Type", "a/b; charset=x; charset=y")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("block", "code", "offset", "headers"), AMBIGUOUS, ids=[ascii(row[0]) for row in AMBIGUOUS]
)
def test_an_ambiguous_block(
    block: bytes, code: str, offset: int, headers: list[tuple[str, str]]
) -> None:
    with pytest.raises(MalformedBody, match=f"tolerate names '{code}'") as caught:
        parse_head(block)
    assert caught.value.offset == offset
    parsed = parse_head(block, policy=Policy(strict=True, tolerate=frozenset({code})))
    assert list(parsed.headers.items()) == headers
    assert [(found.code, found.offset) for found in parsed.deviations] == [(code, offset)]


def test_of_two_headers_the_first_counts() -> None:
    other = b"Content-Type: c/d\r\nContent-Disposition: attachment; name=b; filename=c"
    parsed = parse_head(NAMED + b"\r\nContent-Type: a/b\r\n" + other, policy=ALL)
    assert contents(parsed)[1:6] == ("a", None, "form-data", "a/b", None)
    assert codes(parsed) == {"duplicate-header"}


def test_bytes_that_are_not_utf8_are_kept() -> None:
    for raw in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"):
        parsed = parse_head(b'Content-Disposition: form-data; name="' + raw + b'"', form=True)
        assert parsed.name is not None
        assert parsed.name.encode("utf-8", "surrogateescape") == raw
        assert [(found.code, found.offset) for found in parsed.deviations] == [
            ("non-utf8-header", 38)
        ]
        with pytest.raises(MalformedBody, match="strict refuses 'non-utf8-header'"):
            parse_head(parsed.raw, policy=STRICT)


# -- heads ---------------------------------------------------------------------------------------


def test_a_part_of_a_form_without_disposition_is_recorded() -> None:
    parsed = parse_head(b"A: b\r\nContent-Type: a/b", form=True)
    assert parsed.disposition is None
    assert dict(parsed.disposition_params) == {}
    assert [(found.code, found.offset) for found in parsed.deviations] == [("not-form-data", 0)]
    assert parse_head(b"A: b").deviations == ()


def test_a_malformed_content_type_gives_the_default() -> None:
    parsed = parse_head(b"Content-Type: x; charset=y", default_type="message/rfc822")
    assert (parsed.content_type, parsed.charset) == ("message/rfc822", None)
    assert codes(parsed) == {"malformed-content-type"}


def test_the_content_type_of_a_head() -> None:
    parsed = parse_head(b'Content-Type: Multipart/Mixed; boundary="a b"; charset=UTF-8')
    assert parsed.is_multipart
    assert (parsed.content_type, parsed.charset) == ("multipart/mixed", "UTF-8")
    assert parsed.content_type_params == {"boundary": "a b", "charset": "UTF-8"}
    assert parse_head(b"Content-Type: a/b; charset=").charset is None


def test_form_data_in_another_multipart_is_still_form_data() -> None:
    parsed = parse_head(b"Content-Disposition: form-data; name=\"%22\"; filename*=''b")
    assert (parsed.name, parsed.filename) == ('"', "b")
    assert codes(parsed) == {"extended-parameter"}


def test_a_head_is_plain_without_codings() -> None:
    assert parse_head(NAMED).is_plain
    assert parse_head(NAMED + b"\r\nX: y").is_plain
    assert not parse_head(NAMED + b"\r\ncontent-encoding: gzip").is_plain
    assert not parse_head(NAMED + b"\r\nContent-transfer-encoding: base64").is_plain


def test_equal_heads_have_equal_blocks() -> None:
    parsed = parse_head(NAMED)
    assert parsed == parse_head(NAMED, form=True)
    assert hash(parsed) == hash(parse_head(NAMED))
    assert parsed != parse_head(NAMED + b"\r\nA: b")
    assert parsed != NAMED
    assert repr(parsed) == "<Head name='a' filename=None text/plain>"
    assert len(repr(parse_head(NAMED.replace(b"a", b"a" * 1000)))) < 200


@pytest.mark.parametrize("kind", [dict[str, str], CIMultiDict[str], lambda pairs: iter(pairs)])
def test_a_head_of_headers(kind: Callable[[list[tuple[str, str]]], dict[str, str]]) -> None:
    made = Head.of(kind([("Content-Type", "a/b"), ("X", "é")]), default_type="c/d")
    assert made.raw == b"Content-Type: a/b\r\nX: \xc3\xa9"
    assert made.content_type == "a/b"
    assert Head.of({}, default_type="c/d").content_type == "c/d"
    assert codes(Head.of({}, form=True)) == {"not-form-data"}


@pytest.mark.parametrize("bad", [("A", "b\r\nC: d"), ("A", "\0"), ("A\r\nB", "c"), ("A:", "b")])
def test_a_head_of_headers_that_smuggle_is_refused(bad: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Head.of([bad])


# -- the short cut for the usual shapes ----------------------------------------------------------

TYPE = b"Content-Type: Text/HTML; charset=UTF-8"
FILE = NAMED + b'; filename="\xc3\xa9.jpg"'


@pytest.mark.parametrize(
    "block",
    [
        NAMED,
        NAMED.lower().replace(b"; ", b";"),
        FILE,
        FILE + b"\r\nContent-Type: image/jpeg",
        NAMED + b"\r\n" + TYPE,
        TYPE + b"\r\n" + FILE,
        b"Content-Type: multipart/mixed\r\n" + NAMED,
    ],
)
def test_what_clients_send_takes_the_short_cut(
    block: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = contents(slowly(block, monkeypatch, default_type="c/d"))
    with monkeypatch.context() as patch:
        patch.setattr(head, "_read", None)  # not called before somebody asks for more
        parsed = parse_head(block, form=True, default_type="c/d", policy=STRICT)
        assert (parsed.disposition, parsed.deviations) == ("form-data", ())
    assert contents(parsed) == expected


shapes = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(NAMED, FILE, TYPE, b"\r\n", b'name="', b'"', b'; filename="', b";", b" "),
                *(b"Content-Type: ", b"a/b", b"; charset=x", b"Content-Disposition: form-data"),
                *(b"\\", b"%22", b"=", b"=?x?=", b"\xc3", b"\xa9", b"\x85", b"\0", b"\t", b"?"),
            ]
        ),
        st.binary(max_size=2),
    ),
    max_size=8,
).map(b"".join)


@given(block=shapes)
def test_the_short_cut_changes_nothing(block: bytes) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        try:
            expected = contents(slowly(block, monkeypatch, default_type="c/d"))
        except MalformedBody as error:
            with pytest.raises(MalformedBody, match=re.escape(str(error))):
                parse_head(block, form=True, default_type="c/d")
        else:
            parsed = parse_head(block, form=True, default_type="c/d")
            assert contents(parsed) == expected


# -- whatever comes ------------------------------------------------------------------------------


@given(block=shapes, form=st.booleans(), tolerate=st.sets(st.sampled_from(sorted(TOLERANCES))))
def test_whatever_comes_only_malformed_body_leaves(
    block: bytes, form: bool, tolerate: set[str]
) -> None:
    policy = Policy(tolerate=frozenset(tolerate))
    with contextlib.suppress(MalformedBody):
        parsed = parse_head(block, form=form, policy=policy)
        assert codes(parsed) <= DEVIATIONS.keys() | tolerate
        assert len(parsed.deviations) == len(codes(parsed))
        assert all(len(found.detail) < 300 for found in parsed.deviations)


def test_an_error_quotes_a_bounded_piece() -> None:
    for block in (b"a" * 5000, b"a" * 5000 + b"\0: x", b'Content-Type: a/b; x="' + b"y" * 5000):
        with pytest.raises(MalformedBody) as caught:
            parse_head(block)
        assert len(str(caught.value)) < 300


DISPOSITION = "form-data; name=x"
HOSTILE: dict[str, Callable[[int], str]] = {
    "semicolons": lambda n: DISPOSITION + ";" * n,
    "semicolons in quotes": lambda n: DISPOSITION + '; x="' + ";" * n,
    "names": lambda n: DISPOSITION + ";" + "a;" * (n // 2),
    "quotes and backslashes": lambda n: DISPOSITION + "; x=" + '"\\' * (n // 2),
    "backslashes": lambda n: DISPOSITION + '; filename="' + "\\" * n,
    "closed backslashes": lambda n: DISPOSITION + '; filename="' + "\\\\" * (n // 2) + '"',
    "stray backslashes": lambda n: DISPOSITION + '; filename="' + "\\a" * (n // 2) + '"',
    "open comments": lambda n: DISPOSITION + "; x=y " + "(" * n,
    "continuations": lambda n: DISPOSITION + "".join(f"; filename*{i}=" for i in range(n // 14)),
    "one number": lambda n: DISPOSITION + "; filename*0=" * (n // 13),
    "a long number": lambda n: DISPOSITION + "; filename*" + "1" * n + "=a",
    "percent signs": lambda n: DISPOSITION + "; filename*=UTF-8''" + "%41" * (n // 3),
    "browsers' escapes": lambda n: DISPOSITION + '; filename="' + "%0d" * (n // 3) + '"',
    "spaces": lambda n: DISPOSITION + "; x" + " " * n + "=" + " " * n + "y",
    "words": lambda n: DISPOSITION + "; x=" + "a " * (n // 2),
    "equals signs": lambda n: DISPOSITION + ";" + "=" * n,
    "encoded words": lambda n: DISPOSITION + '; filename="' + "=?" * (n // 2) + '"',
    "controls": lambda n: DISPOSITION + '; filename="' + "\0\r\x01" * (n // 3) + '"',
    "folds": lambda n: DISPOSITION + "\r\n " * (n // 3),
    "full folds": lambda n: DISPOSITION + "\r\n ;" * (n // 4),
    "headers": lambda n: "a:\r\n" * (n // 4) + "a:",
    "spaces before a colon": lambda n: "a" + " " * n + ":",
    "slashes": lambda n: "a/" * (n // 2),
}


def seconds(act: Callable[[], object]) -> float:
    """The processor's time of the shortest of a few runs, without the garbage collector's."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(3):
            start = time.process_time()
            with contextlib.suppress(MalformedBody):
                act()
            best = min(best, time.process_time() - start)
    finally:
        gc.enable()
    return best


@pytest.mark.parametrize("shape", HOSTILE)
def test_time_grows_with_the_length_only(shape: str) -> None:
    def cost(size: int) -> float:
        text = HOSTILE[shape](size)
        block = b"Content-Disposition: " + text.encode()
        if shape in ("headers", "spaces before a colon"):
            block = text.encode()
        return max(
            seconds(lambda: parse_head(block, form=True, policy=ALL)),
            seconds(lambda: parse_disposition(text, policy=ALL)),
            seconds(lambda: parse_content_type(text, policy=ALL)),
            seconds(lambda: parse_content_type("a/b; " + text, policy=LENIENT)),
        )

    # Linear work grows 4 times over two doublings, quadratic work 16 times; the rest is room for a
    # machine that does other things. A few milliseconds more are no growth.
    small, large = cost(64 * 1024), cost(256 * 1024)
    assert large < 2 * 4 * small + 0.005, f"{small:.4f} s became {large:.4f} s"
