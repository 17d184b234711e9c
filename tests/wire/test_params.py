"""Content-Type and Content-Disposition: every shape is accepted, recorded or refused on purpose.

The shapes are those in which two parsers of our day differ, and those of the RFCs.
"""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow.errors import MalformedBody
from mpflow.wire.headers import (
    DEVIATIONS,
    TOLERANCES,
    Deviation,
    Policy,
    parse_content_type,
    parse_disposition,
)

STRICT = Policy(strict=True)
ALL = Policy(tolerate=frozenset(TOLERANCES))


def codes(found: tuple[Deviation, ...]) -> set[str]:
    return {deviation.code for deviation in found}


# -- dispositions of a form: what counts, and what is recorded ----------------------------------

# What follows "form-data; ", name, filename, and the codes that are recorded.
FORM: list[tuple[str, str | None, str | None, str]] = [
    # Accepted as it is.
    ('name="a"', "a", None, ""),
    ('NAME="a";FileName="b"', "a", "b", ""),
    ("name=a; filename=b.txt", "a", "b.txt", ""),
    ('name=""; filename=""', "", "", ""),
    ('name="a;b=c"; filename="x;y;z.txt"', "a;b=c", "x;y;z.txt", ""),
    ('name="é' + "\u4e16" + '"', "é\u4e16", None, ""),
    ('\tname="a"  ', "a", None, ""),
    ('name="a"; x=1', "a", None, ""),
    # Quoted pairs, and what browsers write in their place.
    (r'name="a\"b\\c"', 'a"b\\c', None, ""),
    (r'name="a\"; x="', 'a"; x=', None, ""),
    ('name="a%22b%0d%0Ac"', 'a"b\r\nc', None, ""),
    ('name="%2522%41%20%zz"', "%2522%41%20%zz", None, ""),
    (r'name="a\b"', r"a\b", None, "stray-backslash"),
    (r'name=a; x="a\b"', "a", None, "stray-backslash"),
    # Whole Windows paths, as they are and as somebody escaped them.
    (r'name=a; filename="C:\dir\x.php"', "a", r"C:\dir\x.php", "windows-path"),
    (r'name=a; filename="\\srv\share\x"', "a", r"\\srv\share\x", "windows-path"),
    (r'name=a; filename="C:\\dir\\x"', "a", r"C:\dir\x", ""),
    (r'name=a; filename="\\dir\\x"', "a", r"\dir\x", ""),
    (r'name=a; filename="C:\d\"x"', "a", 'C:\\d"x', "stray-backslash"),
    (r'name="C:\dir\x"', r"C:\dir\x", None, "stray-backslash"),
    # Extended parameters: the plain one counts; alone they count, and are recorded.
    ("name=a; filename=p; filename*=UTF-8''e", "a", "p", "extended-parameter"),
    ("name=a; filename*=UTF-8''e; filename=p", "a", "p", "extended-parameter"),
    ("name=a; filename*=UTF-8''%e4%b8%96", "a", "\u4e16", "extended-parameter"),
    ("name*=utf-8'en'a%20b%22", 'a b"', None, "extended-parameter"),
    ('name=a; filename*0="x%22"; filename*1=y', "a", "x%22y", "extended-parameter"),
    ("name=a; filename=p; filename*=bogus", "a", "p", "extended-parameter"),
    # Malformed, harmless, common.
    ('name="a";', "a", None, "empty-parameter"),
    ('; ;name="a"', "a", None, "empty-parameter"),
    ('name = "a"', "a", None, "space-around-equals"),
    ("name= a", "a", None, "space-around-equals"),
    ('name="a"; filename', "a", None, "parameter-without-value"),
    ('name="a"; na me="b;c"', "a", None, "malformed-parameter"),
    ('name="a"; =b; x*00=c', "a", None, "malformed-parameter"),
    ("name=a; \u212aey=b", "a", None, "malformed-parameter"),  # a Kelvin sign is no K
    ('name="a"b; filename="c"', "a", "c", "junk-after-value"),
    ("name=", "", None, "empty-value"),
    ("name=a[0]", "a[0]", None, "unquoted-value"),
    (r"name=a; filename=C:\x", "a", r"C:\x", "unquoted-value"),
    ('name="a" (b); x=1 (c)', "a", None, "comment"),
    ("name=a; x=1; X=2", "a", None, "repeated-parameter"),
    ('name="=?utf-8?q?a?="', "=?utf-8?q?a?=", None, "encoded-word"),
    ('name="a=?b"', "a=?b", None, ""),
    # RFC 7578 demands a name.
    ("x=1", None, None, "form-data-without-name"),
]


@pytest.mark.parametrize(("value", "name", "filename", "code"), FORM, ids=[row[0] for row in FORM])
def test_form_data(value: str, name: str | None, filename: str | None, code: str) -> None:
    value = f"Form-Data; {value}"
    parsed = parse_disposition(value, form=True)
    assert (parsed.type, parsed.name, parsed.filename) == ("form-data", name, filename)
    assert codes(parsed.deviations) == set(code.split())
    if code:
        with pytest.raises(MalformedBody, match=f"strict refuses '{code}'"):
            parse_disposition(value, form=True, policy=STRICT)
    else:
        assert parse_disposition(value, form=True, policy=STRICT) == parsed


@pytest.mark.parametrize(
    ("value", "params", "code"),
    [
        ("form-data", {}, "form-data-without-name"),
        ('attachment; name="%22"', {"name": "%22"}, "not-form-data"),
        ('form-data x; name="a"', {"name": "a"}, "junk-after-value"),
        ('form-data; name="a"; x="1\\2"; X=3', {"name": "a", "x": "12"}, "stray-backslash"),
    ],
)
def test_a_disposition_in_a_form(value: str, params: dict[str, str], code: str) -> None:
    parsed = parse_disposition(value, form=True)
    assert dict(parsed.params) == params
    assert code in codes(parsed.deviations)


def test_a_form_of_its_own_demands_nothing_elsewhere() -> None:
    assert parse_disposition("attachment").deviations == ()
    assert parse_disposition("form-data").deviations == ()


# -- ambiguous: refused, unless tolerated; what counts then --------------------------------------

# What follows "form-data; " or "attachment; ", the code, and what counts once it is tolerated.
AMBIGUOUS: list[tuple[str, str, str, str | None]] = [
    ("form-data", "name=a; name=b", "duplicate-parameter", None),
    ("form-data", "name=a; filename=b; FILENAME=b", "duplicate-parameter", "b"),
    ("attachment", "name=a; filename*=''b; filename*=''c", "duplicate-parameter", "b"),
    ("attachment", "name=a; filename*0=b; filename*0=c", "duplicate-parameter", "b"),
    ("attachment", "name=a; filename*=''b; filename*0=c", "duplicate-parameter", "b"),
    ("form-data", 'name=a; filename="b', "unclosed-quote", "b"),
    ("form-data", 'name=a; filename="b\\"', "unclosed-quote", 'b"'),
    ("form-data", 'name="a"x"; filename="b"', "misplaced-quote", "b"),
    ("form-data", 'name=a; filename=a"b', "misplaced-quote", 'a"b'),
    ("form-data", '"x"=b; name=a', "misplaced-quote", None),
    ("form-data", "name=a; filename=b c; x=1", "unquoted-space", "b c"),
    ("form-data", "name=a; filename=photo (1)", "unquoted-space", "photo (1)"),
    ("form-data", 'name=a; filename="a\0b"', "nul", "a\0b"),
    ("attachment", "name=a; filename*=''a%00b", "nul", "a\0b"),
    ("form-data", 'name=a; filename="a\x01"', "control-character", "a\x01"),
    ("form-data", 'name=a; filename="a\x7f"', "control-character", "a\x7f"),
    ("attachment", "name=a; filename*=''a%0D%0Ab", "control-character", "a\r\nb"),
    ("form-data", 'name=a; filename="a\rb"', "bare-cr-lf", "a b"),
    ("form-data", 'name=a; filename="a\n b"', "bare-cr-lf", "a  b"),
]


@pytest.mark.parametrize(
    ("type", "value", "code", "filename"), AMBIGUOUS, ids=[ascii(row[:3]) for row in AMBIGUOUS]
)
def test_an_ambiguous_disposition(type: str, value: str, code: str, filename: str | None) -> None:
    with pytest.raises(MalformedBody, match=f"tolerate names '{code}'"):
        parse_disposition(f"{type}; {value}")
    parsed = parse_disposition(f"{type}; {value}", policy=ALL)
    assert (parsed.name, parsed.filename) == ("a", filename)
    assert code in codes(parsed.deviations)


def test_a_quote_before_the_first_semicolon_is_ambiguous() -> None:
    with pytest.raises(MalformedBody, match="tolerate names 'misplaced-quote'"):
        parse_disposition('form-data name="a"; filename=b')
    assert dict(parse_disposition('form-data name="a"; x=b', policy=ALL).params) == {"x": "b"}


@pytest.mark.parametrize(
    "value", ["", ";", "; name=a", 'name="a"', "form-data,name=a", "\u212a; name=a"]
)
def test_a_disposition_without_a_type_is_refused(value: str) -> None:
    with pytest.raises(MalformedBody, match="expected a disposition type"):
        parse_disposition(value, policy=ALL)


# -- extended parameters outside of forms --------------------------------------------------------

EXTENDED: list[tuple[str, str | None, set[str]]] = [
    ("filename=p; filename*=UTF-8''e", "e", set()),
    ("filename*=UTF-8''%E2%82%AC%20it's*", "\u20ac it's*", set()),
    ("filename*=iso-8859-1'en'%A3", "\xa3", set()),
    ("filename*=''a", "a", set()),
    ("filename*=\"UTF-8''a\"", "a", {"quoted-extended-value"}),
    ("filename*0=a; filename*1=b", "ab", set()),
    ("filename*2=c; filename*0=a; filename*1=b", "abc", set()),
    ("filename*0*=utf-8''%E4%B8; filename*1*=%96; filename*2=%41", "\u4e16%41", set()),
    ("filename*0=a; filename*1*=%C3%A9", "aé", set()),
    ("filename*0=a; filename*2=c", "a", {"continuation-gap"}),
    ("filename*1=b", None, {"continuation-gap"}),
    ("filename=p; filename*1=b", "p", {"continuation-gap", "extended-parameter"}),
    ("filename=p; filename*0=a", "a", {"extended-parameter"}),
    ("filename=p; filename*=UTF-7''e", "p", {"bad-extended-value"}),
    ("filename=p; filename*=UTF-8''%e4", "p", {"bad-extended-value"}),
    ("filename=p; filename*=UTF-8''%zz", "p", {"bad-extended-value"}),
    ("filename=p; filename*=UTF-8''é", "p", {"bad-extended-value", "unquoted-value"}),
    ("filename=p; filename*=e", "p", {"bad-extended-value"}),
    ("filename=p; filename*=UTF-8'e", "p", {"bad-extended-value"}),
]


@pytest.mark.parametrize(
    ("params", "filename", "found"), EXTENDED, ids=[row[0] for row in EXTENDED]
)
def test_an_extended_parameter(params: str, filename: str | None, found: set[str]) -> None:
    disposition = parse_disposition(f"attachment; {params}")
    assert disposition.filename == filename
    assert codes(disposition.deviations) == found


@pytest.mark.parametrize("value", ["utf-7''a", "idna''a", "UTF-8''%", "UTF-8''%C0%AF", "a", "é''"])
@pytest.mark.parametrize("key", ["filename*", "filename*0*"])
def test_an_extended_value_that_means_nothing_is_refused(key: str, value: str) -> None:
    with pytest.raises(MalformedBody, match="expected an extended 'filename'"):
        parse_disposition(f"attachment; {key}={value}", policy=ALL)


def test_every_charset_of_an_extended_value_is_known_to_python() -> None:
    from mpflow.wire.headers.extended import _CHARSETS

    for charset in _CHARSETS:
        assert parse_disposition(f"attachment; filename*={charset}''a").filename == "a"


# -- content types -------------------------------------------------------------------------------

TYPES: list[tuple[str, str, dict[str, str], str]] = [
    ("Text/HTML; CharSet=UTF-8", "text/html", {"charset": "UTF-8"}, ""),
    ('multipart/mixed; boundary="a;b"', "multipart/mixed", {"boundary": "a;b"}, ""),
    ("multipart/mixed; boundary=--:", "multipart/mixed", {"boundary": "--:"}, "unquoted-value"),
    ("multipart/mixed; boundary=a=b", "multipart/mixed", {"boundary": "a=b"}, "unquoted-value"),
    (r'multipart/x; boundary="a\:b"', "multipart/x", {"boundary": "a:b"}, "stray-backslash"),
    ("multipart/x; boundary=a ;", "multipart/x", {"boundary": "a"}, "empty-parameter"),
    ("a/b; charset=us-ascii (Plain text)", "a/b", {"charset": "us-ascii"}, "comment"),
    ("a/b (c); x=y", "a/b", {"x": "y"}, "comment"),
    ("a/b charset=x", "a/b", {}, "junk-after-value"),
    ("a/b; charset=", "a/b", {"charset": ""}, "empty-value"),
    ("a/b; name*=utf-8''%41", "a/b", {"name": "A"}, ""),
]


@pytest.mark.parametrize(
    ("value", "essence", "params", "code"), TYPES, ids=[row[0] for row in TYPES]
)
def test_a_content_type(value: str, essence: str, params: dict[str, str], code: str) -> None:
    parsed = parse_content_type(value)
    assert (parsed.essence, dict(parsed.params)) == (essence, params)
    assert codes(parsed.deviations) == set(code.split())
    assert parsed.charset == (params.get("charset") or None)
    assert parsed.boundary == params.get("boundary")
    assert parsed.is_multipart == essence.startswith("multipart/")


@pytest.mark.parametrize("value", ["", "text", "text/", "/plain", "text/a/b", "a/b,c/d", "te xt/a"])
def test_what_is_no_content_type_is_refused(value: str) -> None:
    with pytest.raises(MalformedBody, match="expected a content type 'type/subtype'"):
        parse_content_type(value, policy=ALL)


@pytest.mark.parametrize(
    ("value", "code", "boundary"),
    [
        ("boundary=a; boundary=b", "duplicate-parameter", "a"),
        ("boundary=a; charset=x; charset=x", "duplicate-parameter", "a"),
        ("boundary*=utf-8''a", "extended-boundary", "a"),
        ("boundary*0=a; boundary*1=b", "extended-boundary", "ab"),
        ("boundary=a; boundary*=utf-8''b", "extended-boundary", "a"),
        ("boundary=a b", "unquoted-space", "a b"),
    ],
)
def test_an_ambiguous_content_type(value: str, code: str, boundary: str) -> None:
    with pytest.raises(MalformedBody, match=f"tolerate names '{code}'"):
        parse_content_type(f"multipart/mixed; {value}")
    parsed = parse_content_type(f"multipart/mixed; {value}", policy=ALL)
    assert parsed.boundary == boundary
    assert code in codes(parsed.deviations)


# -- the policy ----------------------------------------------------------------------------------


def test_a_policy_takes_any_iterable_of_known_names() -> None:
    assert Policy(tolerate=["nul", "nul"]).tolerate == frozenset({"nul"})
    assert Policy(tolerate="nul").tolerate == frozenset({"nul"})
    with pytest.raises(ValueError, match=r"dashed-boundary.*got 'typo'"):
        Policy(tolerate=frozenset({"typo"}))
    with pytest.raises(ValueError, match="got 'comment'"):  # a deviation is no tolerance
        Policy(tolerate=frozenset({"comment"}))


def test_what_is_tolerated_by_name_is_accepted_by_a_strict_policy_too() -> None:
    policy = Policy(strict=True, tolerate=frozenset({"unquoted-space"}))
    parsed = parse_content_type("multipart/mixed; x=a b", policy=Policy(tolerate=policy.tolerate))
    assert codes(parsed.deviations) == {"unquoted-space"}
    assert parse_content_type("multipart/mixed; x=a b", policy=policy) == parsed
    found: list[Deviation] = []
    policy.note("unquoted-space", "it came", found, part=(1,), offset=7)
    assert found == [Deviation("unquoted-space", "it came", (1,), 7)]
    with pytest.raises(MalformedBody, match="strict refuses 'comment'"):
        policy.note("comment", "it came", found)


def test_each_code_has_one_meaning() -> None:
    assert not DEVIATIONS.keys() & TOLERANCES.keys()
    assert all(text.endswith(".") for text in (*DEVIATIONS.values(), *TOLERANCES.values()))


def test_a_deviation_is_recorded_once_a_header() -> None:
    parsed = parse_content_type("text/plain" + ";" * 1000)
    assert [deviation.code for deviation in parsed.deviations] == ["empty-parameter"]


# -- whatever comes -------------------------------------------------------------------------------

junk = st.text(st.one_of(st.sampled_from(";=\"\\*'% \t()\r\n\0a0"), st.characters()), max_size=60)
known = ["; name=", "; filename*=", "; filename*0*=", "UTF-8''", '"', "%", "boundary"]
pieces = st.lists(st.one_of(junk, st.sampled_from(known)))


@given(parts=pieces, tolerate=st.sets(st.sampled_from(sorted(TOLERANCES))), strict=st.booleans())
def test_whatever_comes_only_malformed_body_leaves(
    parts: list[str], tolerate: set[str], strict: bool
) -> None:
    policy = Policy(strict=strict, tolerate=frozenset(tolerate))
    for value in ("".join(parts), "a/b" + "".join(parts), "form-data" + "".join(parts)):
        for parse in (parse_content_type, parse_disposition):
            with contextlib.suppress(MalformedBody):
                parsed = parse(value, policy=policy)
                accepted = set(tolerate) if strict else DEVIATIONS.keys() | tolerate
                assert codes(parsed.deviations) <= accepted
