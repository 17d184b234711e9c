"""Headers written: what gets out, what must not, and that all of it is read back.

Knows: the formats of one header and of a block.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow.wire.headers import (
    Head,
    Policy,
    format_disposition,
    format_head,
    format_parameter,
    parse_content_type,
    parse_disposition,
    quote,
)

STRICT = Policy(strict=True)


def test_a_form_is_escaped_as_browsers_do() -> None:
    formatted = format_disposition("form-data", name='a"\r\n%', filename="é\t\\")
    assert formatted == 'form-data; name="a%22%0D%0A%"; filename="é\t\\\\"'
    assert format_disposition("form-data") == "form-data"


def test_elsewhere_strings_are_quoted_or_extended() -> None:
    assert format_disposition("attachment", filename='a"\\') == r'attachment; filename="a\"\\"'
    assert format_disposition("inline", filename="é '") == "inline; filename*=UTF-8''%C3%A9%20%27"
    assert format_disposition("inline", filename="\udce9") == 'inline; filename="\udce9"'


def test_a_parameter_is_quoted_where_it_is_no_token() -> None:
    assert format_parameter("boundary", "abc") == "boundary=abc"
    assert format_parameter("boundary", "a:b") == 'boundary="a:b"'
    assert format_parameter("x", "") == 'x=""'
    assert quote("a\tb") == '"a\tb"'


@pytest.mark.parametrize("bad", [chr(code) for code in (*range(32), 127) if code != 9])
def test_no_control_character_gets_out(bad: str) -> None:
    for refused in (
        lambda: quote(bad),
        lambda: format_parameter("x", bad),
        lambda: format_disposition("attachment", filename=bad),
        lambda: format_head([("X", bad)]),
        lambda: format_head([(bad, "x")]),
    ):
        with pytest.raises(ValueError, match="expected"):
            refused()
    if bad not in "\r\n":
        with pytest.raises(ValueError, match="expected no control character in a name"):
            format_disposition("form-data", name=bad)


@pytest.mark.parametrize("bad", ["", "a b", "a:", "é", 'a"'])
def test_what_must_be_a_token_is_checked(bad: str) -> None:
    with pytest.raises(ValueError, match="expected a token as a disposition type"):
        format_disposition(bad)
    with pytest.raises(ValueError, match="expected a token as a parameter name"):
        format_parameter(bad, "x")
    with pytest.raises(ValueError, match="expected a token as a header's name"):
        format_head([(bad, "x")])


def test_a_head_is_written_line_by_line() -> None:
    assert format_head([]) == b""
    assert format_head([("A", "é"), ("B", "\udcff")]) == b"A: \xc3\xa9\r\nB: \xff\r\n"
    for bad in ("\ud800", "\udc41"):  # a surrogate that stands for no byte, or for an ASCII one
        with pytest.raises(ValueError, match="expected text that UTF-8 can hold"):
            format_head([("A", bad)])


text = st.text(
    st.one_of(
        st.sampled_from("\"\\;=% '()*:/Ca2"),
        st.characters(codec="utf-8", exclude_categories=("Cc",)),
    )
)
names = text.filter(lambda s: not any(e in s.upper() for e in ("%22", "%0D", "%0A")))


@given(
    name=st.one_of(st.none(), names), filename=names, type=st.sampled_from(["form-data", "inline"])
)
def test_what_is_formatted_is_read_back(name: str | None, filename: str, type: str) -> None:
    formatted = format_disposition(type, name=name, filename=filename)
    parsed = parse_disposition(formatted)
    assert (parsed.type, parsed.name, parsed.filename) == (type, name, filename)
    assert {deviation.code for deviation in parsed.deviations} <= {"encoded-word"}


@given(value=text)
def test_a_parameter_is_read_back(value: str) -> None:
    parsed = parse_content_type(f"a/b; {format_parameter('x', value)}", policy=STRICT)
    assert parsed.params["x"] == value


@given(
    name=names.filter(lambda s: "=?" not in s),
    others=st.lists(st.tuples(st.from_regex(r"\AX-[!a-zA-Z0-9]{1,5}\Z"), text), max_size=3),
)
def test_a_head_is_read_back(name: str, others: list[tuple[str, str]]) -> None:
    disposition = format_disposition("form-data", name=name)
    head = Head.of([("Content-Disposition", disposition), *others], form=True, policy=STRICT)
    assert head.name == name
    assert [(key, value) for key, value in head.headers.items()] == [
        ("Content-Disposition", disposition),
        *((key, value.strip(" \t")) for key, value in others),
    ]
