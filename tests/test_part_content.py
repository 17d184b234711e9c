"""What a part is taken for: text in its charset, JSON, a form; and codings that nobody knows."""

from __future__ import annotations

import codecs
import json
import typing
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpflow import (
    InvalidContent,
    LimitExceeded,
    Limits,
    MultipartReader,
    Part,
    RouteError,
    UnsupportedCoding,
)
from mpflow.charsets import text_codec
from mpflow.testing import body, content_type_of, part
from tests.support import TYPE, part_of

pytestmark = pytest.mark.anyio

FORM = content_type_of()


def typed(data: bytes, charset: str | None = None, **more: Any) -> Part:
    content_type = None if charset is None else f'text/plain; charset="{charset}"'
    return part(data, content_type=content_type, **more)


# -- text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        ("é日".encode(), None, "é日"),
        ("é日".encode(), "UTF-8", "é日"),
        (b"caf\xe9", "latin-1", "café"),
        (b"\x80", "windows-1252", "€"),
        ("日本".encode("shift_jis"), "Shift_JIS", "日本"),
        ("é".encode("utf-16"), "utf-16", "é"),
        ("é".encode("utf-16-be"), "utf-16-be", "é"),
        (b"", "utf-16", ""),
        (b"", None, ""),
    ],
)
async def test_text_in_its_charset(data: bytes, charset: str | None, text: str) -> None:
    assert await typed(data, charset).text() == text


@pytest.mark.parametrize("charset", [None, "utf-8", "utf-8-sig"])
async def test_the_byte_order_mark_of_utf_8_is_left_out(charset: str | None) -> None:
    assert await typed(codecs.BOM_UTF8 + "a\ufeffb".encode(), charset).text() == "a\ufeffb"


async def test_the_encoding_that_is_asked_for_comes_first() -> None:
    assert await typed(b"\xe9", "utf-8").text("latin-1") == "é"
    with pytest.raises(InvalidContent, match="expected a known charset, got 'utf-7'"):
        await typed(b"x").text("utf-7")


@pytest.mark.parametrize("charset", ["utf-7", "nonsense", "base64", "x" * 200])
async def test_a_charset_that_is_none_is_refused(charset: str) -> None:
    it = typed(b"+ADw-script+AD4-", charset, name="n")
    for take in (it.text, it.json, it.form):
        with pytest.raises(InvalidContent, match="expected a known charset") as caught:
            await take()
        assert caught.value.part == it.info.ref
        assert caught.value.status == 422
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("data", "charset", "message"),
    [
        (b"ok\xff" + b"x" * 99, None, r"text in utf-8, got '\\xffxxxxxxx' at byte 2"),
        (b"\xe9", "us-ascii", r"text in ascii, got '\\xe9' at byte 0"),
        (b"\xed\xa0\x80", None, "text in utf-8"),
        (b"\xc0\xaf", None, "text in utf-8"),
        (b"abc", "utf-16-le", "text in utf-16-le"),
    ],
)
async def test_bytes_that_are_no_such_text(data: bytes, charset: str | None, message: str) -> None:
    with pytest.raises(InvalidContent, match=message) as caught:
        await typed(data, charset).text()
    assert isinstance(caught.value.__cause__, UnicodeError)
    assert isinstance(caught.value, ValueError)


@given(st.text(), st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-16-le"]))
async def test_text_comes_back(text: str, charset: str) -> None:
    data = (codecs.BOM_UTF8 if charset == "utf-8" else b"") + text.encode(charset)
    assert await typed(data, charset).text() == text
    assert await part_of([data[:1], data[1:]] if data else []).text(charset) == text


# -- json -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "charset"),
    [
        ('{"a": "é"}'.encode(), None),
        ('{"a": "é"}'.encode(), "utf-8"),
        (codecs.BOM_UTF8 + '{"a": "é"}'.encode(), None),
        (codecs.BOM_UTF8 + '{"a": "é"}'.encode(), "utf-8"),
        ('{"a": "é"}'.encode("utf-16"), None),
        ('{"a": "é"}'.encode("utf-16"), "utf-16"),
        ('{"a": "é"}'.encode("utf-32-le"), "utf-32"),
        (b'{"a": "\xe9"}', "latin-1"),
    ],
)
async def test_json_in_its_charset(data: bytes, charset: str | None) -> None:
    assert await typed(data, charset).json() == {"a": "é"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected JSON, got nothing"),
        (b"{", "expected JSON, got '{': "),
        (b"\xff\xfe\xfd", "expected JSON"),
        (b"{}" + b"x" * 99, r"got '{}x+'\.\.\.: Extra data"),
        (b"[" * 200_000, "expected JSON, got '.*'...: .*recursion"),
        (b"9" * 5000, "expected JSON"),
    ],
    ids=["empty", "cut", "binary", "junk", "deep", "digits"],
)
async def test_what_is_no_json(data: bytes, message: str) -> None:
    with pytest.raises(InvalidContent, match=message) as caught:
        await part(data).json()
    assert isinstance(caught.value.__cause__, ValueError | RecursionError)
    assert len(str(caught.value)) < 400


async def test_the_decoder_of_json_gets_utf_8_without_a_mark() -> None:
    got: list[bytes] = []
    for data, charset in [(b"\xef\xbb\xbf\xc3\xa9", None), (b"\xe9", "latin-1")]:
        await typed(data, charset).json(decoder=got.append)
    assert got == [b"\xc3\xa9"] * 2


async def test_what_the_decoder_of_json_raises() -> None:
    def refuse(data: bytes) -> object:
        raise ValueError("no")

    with pytest.raises(InvalidContent, match="got 'x': no") as caught:
        await part(b"x").json(decoder=refuse)
    assert str(caught.value.__cause__) == "no"

    def break_down(data: bytes) -> object:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        await part(b"x").json(decoder=break_down)


async def test_json_into_what_is_called() -> None:
    assert await part(b"[1, 2]").json(into=len) == 2
    with pytest.raises(InvalidContent, match="invalid literal"):
        await part(b'"x"').json(into=lambda value: int(value))


UserId = NewType("UserId", int)
_OLD: Any = typing  # its own forms of what `|` and `list[...]` say today


@pytest.mark.parametrize(
    ("into", "data", "value", "wrong"),
    [
        (_OLD.Optional[int], b"null", None, b'"x"'),
        (_OLD.Union[int, str], b'"x"', "x", b"null"),
        (_OLD.List[int], b"[1]", [1], b'"1"'),
        (UserId, b"7", 7, b'"x"'),
        (Literal["a"], b'"a"', "a", b'"b"'),
        (Annotated[int, "of years"], b"1", 1, b"null"),
    ],
)
async def test_json_takes_what_annotations_are_made_of(
    into: Any, data: bytes, value: object, wrong: bytes
) -> None:
    assert await part(data).json(into=into) == value
    with pytest.raises(InvalidContent, match="expected JSON"):
        await part(wrong).json(into=into)


async def test_json_into_anything() -> None:
    into: Any = Any
    assert await part(b"[1]").json(into=into) == [1]


async def test_json_passes_on_that_it_cannot_be_structured() -> None:
    def into(value: object) -> object:
        raise RouteError("msgspec is missing")

    with pytest.raises(RouteError, match="msgspec is missing"):
        await part(b"{}").json(into=into)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=9))
async def test_json_comes_back(value: Any) -> None:
    data = json.dumps(value).encode()
    assert await part(data).json() == value
    assert await part_of([data[i : i + 1] for i in range(len(data))]).json() == value


# -- forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "charset", "pairs"),
    [
        (b"", None, []),
        (b"a=1&b=&a=2&c", None, [("a", "1"), ("b", ""), ("a", "2"), ("c", "")]),
        (b"a+b=c%20d", None, [("a b", "c d")]),
        (b"a=1;b=2", None, [("a", "1;b=2")]),
        ("é=%C3%A9".encode(), None, [("é", "é")]),
        (b"\xe9=%E9", "latin-1", [("é", "é")]),
        (codecs.BOM_UTF8 + b"a=1", None, [("a", "1")]),
    ],
)
async def test_forms(data: bytes, charset: str | None, pairs: list[tuple[str, str]]) -> None:
    assert await typed(data, charset).form() == pairs


async def test_the_encoding_of_a_form_may_be_given() -> None:
    assert await part(b"a=%E9").form("latin-1") == [("a", "é")]


async def test_what_is_no_form() -> None:
    with pytest.raises(InvalidContent, match="expected a urlencoded form, got 'a=%FF'") as caught:
        await part(b"a=%FF").form()
    assert isinstance(caught.value.__cause__, UnicodeError)
    assert len(await part(b"&".join([b"a=1"] * 1000)).form()) == 1000
    with pytest.raises(InvalidContent, match="expected a urlencoded form"):
        await part(b"&".join([b"a=1"] * 1001)).form()


@pytest.mark.parametrize("take", ["text", "json", "form"])
async def test_what_is_taken_is_bounded(take: str) -> None:
    level = MultipartReader(b"", TYPE, limits=Limits(max_memory=8))
    with pytest.raises(LimitExceeded) as caught:
        await getattr(part_of([b'"1234567"'], level=level), take)()
    assert caught.value.limit == "max_memory"


# -- _charset_ --------------------------------------------------------------------------------


def form_of(charset: str | bytes, *more: bytes) -> bytes:
    return body([("_charset_", charset), *(("f", value) for value in more)])


@pytest.mark.parametrize("size", [1, 5, 10_000])
async def test_the_charset_field_counts_for_what_follows(size: int) -> None:
    sent = body(
        [
            ("before", "é"),
            ("_charset_", " iso-8859-1\r\n"),
            ("text", b"\xe9"),
            ("form", b"a=%E9"),
            ("json", b'"\xe9"'),
            {"name": "own", "data": "é", "content_type": "text/plain; charset=utf-8"},
        ]
    )
    chunks = [sent[i : i + size] for i in range(0, len(sent), size)]
    reader = MultipartReader(_each(chunks), FORM)
    got = {}
    async for it in reader:
        take: dict[str | None, Callable[[], Awaitable[object]]] = {"form": it.form, "json": it.json}
        got[it.name] = await take.get(it.name, it.text)()
    assert got == {"before": "é", "text": "é", "form": [("a", "é")], "json": "é", "own": "é"}
    assert reader.charset == "iso-8859-1"


async def test_the_charset_field_is_counted_but_not_given_out() -> None:
    reader = MultipartReader(form_of("utf-8", b"x"), FORM)
    assert [(it.name, it.index) async for it in reader] == [("f", 1)]


async def test_the_charset_field_is_one_of_forms_alone() -> None:
    names = [it.name async for it in MultipartReader(form_of("latin-1"), TYPE)]
    assert names == ["_charset_"]
    file = body([{"name": "_charset_", "filename": "f", "data": "latin-1"}])
    reader = MultipartReader(file, FORM)
    assert [it.name async for it in reader] == ["_charset_"]
    assert reader.charset is None


async def test_the_charset_field_counts_in_levels_below() -> None:
    inner = body([("g", b"\xe9")], boundary="in")
    sent = body([("_charset_", "latin-1"), {"data": inner, "content_type": content_type_of("in")}])
    assert [await it.text() async for it in MultipartReader(sent, FORM).walk()] == ["é"]


@pytest.mark.parametrize(
    "value", [b"utf-7", b"", b"nonsense", b"\xff", b"x" * 65, b"x" * 66, b" " * 3000]
)
@pytest.mark.parametrize("size", [1, 64, 10**6])
async def test_a_charset_field_that_names_none_is_refused(value: bytes, size: int) -> None:
    sent = form_of(value, b"x")
    chunks = [sent[i : i + size] for i in range(0, len(sent), size)]
    with pytest.raises(InvalidContent, match="known charset in the field _charset_") as caught:
        await MultipartReader(_each(chunks), FORM).next_part()
    assert str(caught.value).endswith("(in part 0 '_charset_')")
    assert len(str(caught.value)) < 200


async def test_a_charset_field_needs_no_memory() -> None:
    reader = MultipartReader(form_of("latin-1", b"\xe9"), FORM, limits=Limits(max_memory=1))
    assert [await it.text() async for it in reader] == ["é"]


def _each(chunks: list[bytes]) -> Any:
    class Chunks:
        async def receive(self) -> bytes:
            return chunks.pop(0)

    return Chunks()


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("UTF8", "utf-8"),
        ("Latin1", "iso8859-1"),
        ("windows-1252", "cp1252"),
        ("utf-7", None),
        ("base64", None),
        ("rot13", None),
        ("idna", None),
        ("unicode_escape", None),
        ("nonsense", None),
        ("", None),
        ("a\0b", None),
        ("x" * 10_000, None),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_charsets_that_are_text(charset: str, codec: str | None) -> None:
    assert text_codec(charset) == codec


# -- codings ----------------------------------------------------------------------------------

# What is undone is shown in test_decoding.py.
UNKNOWN = [
    {"Content-Encoding": "identity, rot13"},
    {"Content-Transfer-Encoding": "x-own"},
]
PLAIN = [
    {},
    {"X-Other": "1"},
    {"Content-Encoding": "Identity"},
    {"Content-Encoding": ""},
    *({"Content-Transfer-Encoding": value} for value in ("7bit", "8BIT", " binary ")),
]


@pytest.mark.parametrize("headers", UNKNOWN, ids=str)
async def test_a_coding_is_refused_never_given_out_undecoded(headers: dict[str, str]) -> None:
    def coded() -> Part:
        return part_of([b"{}"], headers=headers, name="n")

    calls: list[Callable[[], Awaitable[object]]] = [
        coded().text, coded().json, coded().form, lambda: coded().read(decode=True),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(UnsupportedCoding) as caught:
            await call()
        assert caught.value.status == 415
        assert caught.value.part == coded().info.ref
    with pytest.raises(UnsupportedCoding, match="expected a"):
        coded().decoded()
    with pytest.raises(UnsupportedCoding):
        coded().decode(b"{}")
    assert await coded().read() == b"{}"
    assert await coded().receive() == b"{}"


@pytest.mark.parametrize("headers", PLAIN, ids=str)
async def test_what_is_no_coding_is_none(headers: dict[str, str]) -> None:
    it = part_of([b"{}"], headers=headers)
    assert it.decoded() is it
    assert it.stored() is it
    assert it.decode(b"x") == b"x"
    assert await it.json() == {}


async def test_one_of_the_codings_may_be_kept() -> None:
    unknown = part_of([b"x"], headers={"Content-Encoding": "rot13"})
    assert unknown.decoded(content=False) is unknown
    with pytest.raises(UnsupportedCoding):
        unknown.decoded(transfer=False)
    unknown = part_of([b"x"], headers={"Content-Transfer-Encoding": "x-own"})
    assert unknown.decoded(transfer=False) is unknown
