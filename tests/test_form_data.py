"""`FormData`: fields as browsers send them, and what the reader makes of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from multidict import MultiDict
from starlette.datastructures import FormData as StarletteForm
from werkzeug.datastructures import MultiDict as WerkzeugDict

from mpflow import FormData, MultipartReader, MultipartWriter, Part, WriteError
from mpflow.testing import Chunked, part
from mpflow.wire.headers import Head, parse_head
from tests.support import crlf

pytestmark = pytest.mark.anyio


async def fields(form: MultipartWriter) -> list[tuple[str | None, str | None, bytes]]:
    data = await form.as_bytes()
    assert form.size in (None, len(data))
    reader = MultipartReader(data, form.content_type, strict=True)
    return [(p.name, p.filename, await p.read()) async for p in reader]


async def test_the_bytes_of_a_form(tmp_path: Path) -> None:
    photo = tmp_path / "photo.gif"
    photo.write_bytes(b"GIF89a")
    form = FormData({"user": "é"}, boundary="b")
    form.add("raw", b"\0")
    form.add("photo", photo)
    form.add("note", "text", filename="note", content_type="text/x-note")
    form.add("data", b"x", filename="data", headers={"X-A": "1"})
    form.add("meta", "{}", content_type="application/json")
    expected = crlf("""\
--b
Content-Disposition: form-data; name="user"

é
--b
Content-Disposition: form-data; name="raw"

\0
--b
Content-Type: image/gif
Content-Disposition: form-data; name="photo"; filename="photo.gif"

GIF89a
--b
Content-Type: text/x-note
Content-Disposition: form-data; name="note"; filename="note"

text
--b
Content-Type: application/octet-stream
X-A: 1
Content-Disposition: form-data; name="data"; filename="data"

x
--b
Content-Type: application/json
Content-Disposition: form-data; name="meta"

{}
--b--
""")
    assert await form.as_bytes() == expected
    assert form.headers["Content-Type"] == "multipart/form-data; boundary=b"
    assert form.size == len(expected)
    assert form.replayable


NAMES = ["", "a b", 'a"b', "a\r\nb", "a\rb", "a\nb", "日本 🦊", "a;b=c", "a'b", "é.txt"]


@pytest.mark.parametrize("name", NAMES)
async def test_hard_names(name: str) -> None:
    form = FormData()
    form.add(name, "value")
    form.add("file", b"x", filename=name)
    raw = await form.as_bytes()
    escaped = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    assert f'name="{escaped}"\r\n'.encode() in raw
    assert f'filename="{escaped}"\r\n'.encode() in raw
    found = [(p.name, p.filename) async for p in MultipartReader(raw, form.content_type)]
    assert found == [(name, None), ("file", name)]


@pytest.mark.parametrize("bad", ["a\0b", "a\x1fb", "a\x7fb"])
def test_names_that_cannot_be(bad: str) -> None:
    form = FormData()
    with pytest.raises(WriteError):
        form.add(bad, "x")
    with pytest.raises(WriteError):
        form.add("x", "x", filename=bad)
    with pytest.raises(WriteError):
        form.add("x", "x", content_type=f"text/{bad}")
    assert form.parts == []


async def test_line_ends_of_values_are_left_alone() -> None:
    assert await fields(FormData({"a": "1\n2\r3\r\n"})) == [("a", None, b"1\n2\r3\r\n")]


async def test_pairs_and_kinds() -> None:
    form = FormData([("a", "1"), ("a", "2"), ("b", Chunked(b"stream"))])
    form.add("c", io.BytesIO(b"memory"))
    form.add("d", io.StringIO("text"))
    form.add("e", bytearray(b"bytes"))
    assert await fields(form) == [
        ("a", None, b"1"),
        ("a", None, b"2"),
        ("b", None, b"stream"),
        ("c", None, b"memory"),
        ("d", None, b"text"),
        ("e", None, b"bytes"),
    ]


async def test_text_in_another_charset() -> None:
    form = FormData()
    form.add("a", "é", content_type="text/plain; charset=latin-1")
    assert await fields(form) == [("a", None, b"\xe9")]


async def test_a_received_part_under_another_name() -> None:
    given: Part = part(b"x", name="old", filename="f.txt", content_type="text/x-any")
    form = FormData()
    form.add("new", given)
    data = await form.as_bytes()
    async for p in MultipartReader(data, form.content_type):
        assert (p.name, p.filename, p.content_type) == ("new", "f.txt", "text/x-any")


@pytest.mark.parametrize("value", [1, 1.0, True, None, ["a"], {"a": "b"}])
def test_values_that_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="to send, got"):
        FormData({"a": value})
    name: Any = 1
    with pytest.raises(TypeError, match="name of a field"):
        FormData({name: "a"})


@pytest.mark.parametrize("header", ["Content-Encoding", "Content-Transfer-Encoding"])
def test_codings_have_no_place_in_a_form(header: str) -> None:
    coding = "gzip" if header == "Content-Encoding" else "base64"
    with pytest.raises(WriteError, match="RFC 7578"):
        FormData().add("a", b"x", headers={header: coding})


async def test_every_part_of_a_form_has_a_name() -> None:
    form = FormData({"a": "1"})
    form.append("nameless")
    with pytest.raises(WriteError, match="expected a name"):
        await form.as_bytes()
    form.parts[1].set_content_disposition("form-data", name="b")
    assert [name for name, *_ in await fields(form)] == ["a", "b"]


async def test_a_file_of_a_form_writer_brings_no_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "photo.gif"
    path.write_bytes(b"x")
    form = MultipartWriter("form-data")
    form.append(path)
    with pytest.raises(WriteError, match="expected a name"):
        await form.as_bytes()


async def test_a_relayed_form() -> None:
    first = FormData({"a": "1", "b": "2"})
    reader = MultipartReader(await first.as_bytes(), first.content_type)
    relay = MultipartWriter("form-data", parts=reader, boundary=first.boundary)
    assert await relay.as_bytes() == await first.as_bytes()


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Content-Transfer-Encoding", "base64"),
        ("Content-Disposition", "form-data"),
        ("Content-Disposition", 'form-data; name="a\x00"'),
        ("X-A", "a\r\nb"),
        ("Content-Length", "2"),
    ],
)
async def test_headers_that_are_changed_are_judged_again(header: str, value: str) -> None:
    form = FormData({"a": "1"})
    data, headers = await form.as_bytes(), form.parts[0].headers.copy()
    form.parts[0].headers[header] = value
    for _ in range(2):
        with pytest.raises(WriteError):
            await form.as_bytes()
        with pytest.raises(WriteError):
            assert form.size
    form.parts[0].headers.clear()
    form.parts[0].headers.extend(headers)
    assert await form.as_bytes() == data
    form.parts[0].headers["X-A"] = "1"
    form.parts[0].set_content_disposition("form-data", name="b")
    assert await fields(form) == [("b", None, b"1")]
    assert b"X-A: 1\r\n" in await form.as_bytes()


async def test_an_unchanged_field_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: list[bytes] = []

    def counting(block: bytes, **options: Any) -> Head:
        blocks.append(block)
        return parse_head(block, **options)

    monkeypatch.setattr("mpflow.sendheaders.parse_head", counting)
    form = FormData({f"field{number}": "x" for number in range(10)})
    assert form.size == len(await form.as_bytes())
    assert form.headers
    assert len(blocks) == len(set(blocks)) == 10


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (
            {"headers": {"content-disposition": "inline"}},
            "without a Content-Disposition, .*'inline'",
        ),
        (
            {"content_type": "text/x", "headers": iter([("Content-type", "text/y")])},
            "expected one content type, got 'text/x' and, in the headers, 'text/y'",
        ),
    ],
)
def test_what_would_be_dropped_is_refused(given: Any, match: str) -> None:
    form = FormData({"first": "x"})
    with pytest.raises(WriteError, match=rf"{match} \(in part 1 'a'\)"):
        form.add("a", "x", **given)
    assert len(form.parts) == 1


# -- what frameworks have received ------------------------------------------------------------

GIVEN = [("tag", "red"), ("one", "1"), ("tag", "blue")]


@pytest.mark.parametrize("kind", ["starlette", "werkzeug", "multidict"])
async def test_all_values_of_a_name_are_sent(kind: str) -> None:
    maps: dict[str, Any] = {
        "starlette": StarletteForm([*GIVEN]),
        "werkzeug": WerkzeugDict(GIVEN),
        "multidict": MultiDict(GIVEN),
    }
    form = FormData(maps[kind])
    reader = MultipartReader(await form.as_bytes(), form.content_type)
    assert sorted([(p.name, await p.text()) async for p in reader]) == sorted(GIVEN)
