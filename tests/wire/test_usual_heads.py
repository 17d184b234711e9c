"""Header blocks that one pattern reads: what it makes of them is what the whole parser makes.

Knows: the blocks that browsers and clients send. Must not know: delimiters, bodies.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow import MalformedBody
from mpflow.wire import NEED_DATA, Decoder, WholePart
from mpflow.wire.headers import Head, Policy, parse_head

BOUNDARIES = st.one_of(
    st.from_regex(r"[0-9A-Za-z'()+_,\-./:=? ]{1,20}", fullmatch=True).map('"{}"'.format),
    st.from_regex(r"[0-9A-Za-z'+_\-.]{1,20}", fullmatch=True),
    st.sampled_from(['""', '"a"b', "a b", "a;b", '"a', "%41", "ü", '"a\\"b"', "a/b", "x*", "x'y'"]),
)
TYPES = st.one_of(
    st.sampled_from(["text/plain", "Image/PNG", "multipart/mixed", "Multipart/Form-Data", "a/b*c"]),
    st.sampled_from(["text/plain; charset=UTF-8", "text/plain;charset=", "text/html; charset=a b"]),
    st.builds(
        "{}/{};{}{}={}".format,
        st.sampled_from(["multipart", "Multipart", "text"]),
        st.sampled_from(["mixed", "X-New", "a+b"]),
        st.sampled_from(["", " ", "  "]),
        st.sampled_from(["boundary", "Boundary", "boundary*", "charset"]),
        BOUNDARIES,
    ),
)
VALUES = st.one_of(
    st.text("ab ;:'()[]", max_size=8),
    st.sampled_from(
        ["", "ü", "名", "a%22b", "a\\b", "=?utf-8?q?x?=", "a\u0085b", "\u2028", "\x7f"]
    ),
)


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """One to two headers, most of them as everybody writes them."""
    cased = draw(st.sampled_from(["Content-Disposition", "content-disposition"]))
    disposition = f'{cased}: form-data;{draw(st.sampled_from(["", " "]))}name="{draw(VALUES)}"'
    if draw(st.booleans()):
        disposition += f'; filename="{draw(VALUES)}"'
    lines = [disposition]
    if draw(st.booleans()):
        lines.append(f"{draw(st.sampled_from(['Content-Type', 'content-type']))}: {draw(TYPES)}")
    if draw(st.booleans()):
        lines.reverse()
    return "\r\n".join(lines).encode()


def shown(head: Head) -> tuple[object, ...]:
    return (
        head.raw, head.name, head.filename, head.content_type, head.charset, head.boundary,
        head.disposition, head.is_multipart, head.is_plain, list(head.headers.items()),
        head.parsed_content_type, dict(head.content_type_params), dict(head.disposition_params),
        [(it.code, it.detail) for it in head.deviations],
    )  # fmt: skip


@given(block=blocks(), form=st.booleans(), strict=st.booleans())
def test_the_patterns_and_the_parser_agree(block: bytes, form: bool, strict: bool) -> None:
    """A header that nobody knows, in front, is what no pattern takes."""
    policy = Policy(strict=strict)
    try:
        parsed = parse_head(b"X: y\r\n" + block, form=form, policy=policy)
    except MalformedBody:
        with pytest.raises(MalformedBody):
            parse_head(block, form=form, policy=policy)
        return
    whole = shown(parsed)
    usual = shown(parse_head(block, form=form, policy=policy))
    assert usual[1:9] == whole[1:9]
    assert usual[9] == whole[9][1:]  # type: ignore[index]
    assert usual[10:] == whole[10:]


@pytest.mark.parametrize("value", ['"in ner"', "inner", "'in'"])
def test_the_boundary_of_a_multipart_inside(value: str) -> None:
    decoder = Decoder("b", subtype="form-data")
    decoder.receive_data(
        b'--b\r\nContent-Disposition: form-data; name="n"\r\n'
        b"Content-Type: multipart/mixed; boundary=" + value.encode() + b"\r\n\r\nv\r\n--b\r\n"
    )
    event = decoder.next_event()
    assert isinstance(event, WholePart)
    assert event.head.boundary == value.strip('"')
    assert event.head.content_type == "multipart/mixed"
    assert event.head.content_type_params == {"boundary": value.strip('"')}
    assert decoder.next_event() is NEED_DATA


def test_who_is_no_multipart_has_no_boundary() -> None:
    head = Head.of({"Content-Disposition": 'form-data; name="a"', "Content-Type": "text/plain"})
    assert head.boundary is None
    assert parse_head(b"Content-Type: text/plain; boundary=x").boundary == "x"
