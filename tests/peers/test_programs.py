"""Go and busboy: each reads what we write, and we read what Go writes; over HTTP both ways."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from mpflow import FormData, MalformedBody, MultipartReader, MultipartWriter, Part
from tests.http import serving
from tests.peers.programs import build_go, go_post, serving_program

pytestmark = [pytest.mark.clients, pytest.mark.anyio]

NAMES = [
    "plain", "two words", "é", "日本", "🦊", "a;b=c", "a'b", "100%", "a\tb", "a\\b", "a\\",
    "a\\\\b", 'a"b', 'a\\"b', "a\r\nb", "a\nb", "C:\\x\\y.txt", "dir/file",
]  # fmt: skip
CONTENTS = [
    b"",
    b"\r\n",
    b"\r\n--",
    bytes(range(256)) * 300,
    b"\r\n--boundary\r\n" * 500,
    b"\r" * 70_000,
]
TEXTS = ["", "x", "é 日本 🦊", "--", "1=2&3\r\n"]


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_go(tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="module")
def go_url(go: Path) -> Iterator[str]:
    with serving_program([go, "serve"]) as url:
        yield url


@pytest.fixture(scope="module")
def busboy_url() -> Iterator[str]:
    with serving_program(["node", Path(__file__).with_name("busboy.cjs")]) as url:
        yield url


async def post(url: str, writer: MultipartWriter) -> list[dict[str, Any]]:
    """What a program says that it read."""
    async with httpx.AsyncClient(timeout=60) as client:
        reply = await client.post(url, content=writer, headers=dict(writer.headers))
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()
    return found


def data_of(entry: dict[str, Any]) -> bytes:
    return b64decode(entry["data"] or "")


def kept(name: str) -> str:
    """A name of a form as the programs give it.

    We write `"`, CR and LF as %22, %0D and %0A, as HTML has it, "multipart/form-data encoding
    algorithm". Neither program undoes that: they read quoted strings as RFC 2045 does. All else
    comes as it was.
    """
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def a_form() -> tuple[FormData, list[tuple[str, str | None, bytes]]]:
    form = FormData()
    expected: list[tuple[str, str | None, bytes]] = []
    for number, name in enumerate(NAMES):
        text = TEXTS[number % len(TEXTS)]
        form.add(name, text)
        expected.append((kept(name), None, text.encode()))
        data, filename = CONTENTS[number % len(CONTENTS)], f"{name}.bin"
        form.add(name, data, filename=filename)
        expected.append((kept(name), kept(filename), data))
    return form, expected


async def test_busboy_reads_our_forms(busboy_url: str) -> None:
    form, expected = a_form()
    found = await post(busboy_url, form)
    # It gives a field at once, and a file while it is still read: each has an order of its own.
    for is_file in (False, True):
        assert [
            (it["name"], it["filename"], data_of(it))
            for it in found
            if (it["filename"] is not None) is is_file
        ] == [it for it in expected if (it[1] is not None) is is_file]


async def test_busboy_leaves_other_multiparts_alone(busboy_url: str) -> None:
    """It reads forms only, and says so: nothing of a mixed one is taken for a form."""
    root = MultipartWriter("mixed")
    root.append("text")
    with pytest.raises(AssertionError, match="Unsupported content type: multipart/mixed"):
        await post(busboy_url, root)


async def test_go_reads_our_forms(go_url: str) -> None:
    form, expected = a_form()
    found = await post(go_url, form)
    assert [(it["name"], it["raw"] or None, data_of(it)) for it in found] == expected
    # FileName() is `filepath.Base` of what the header says (RFC 7578, 4.2 asks for it).
    assert [it["filename"] for it in found] == [
        "" if raw is None else raw.rpartition("/")[2] for _, raw, _ in expected
    ]


async def test_go_reads_our_trees(go_url: str) -> None:
    root = MultipartWriter("mixed")
    expected: list[Any] = []
    # RFC 2045 has no escape for a CR or an LF, so that such a name is refused outside of forms.
    for number, name in enumerate(it for it in NAMES if "\n" not in it):
        data = CONTENTS[number % len(CONTENTS)]
        payload = root.append(data, {"Content-Type": "image/png"})
        payload.set_content_disposition("attachment", filename=name)
        expected.append((name, "image/png", data))
    with root.nested("related") as related:
        related.append_json({"é": 1})
        with related.nested("alternative") as alternative:
            alternative.append("plain é")
            alternative.append(b"", {"Content-Type": "text/html"})
    expected.append([
        ("", "application/json", b'{"\\u00e9": 1}'),
        [("", "text/plain; charset=utf-8", "plain é".encode()), ("", "text/html", b"")],
    ])  # fmt: skip

    def tree(found: list[dict[str, Any]]) -> list[Any]:
        return [
            (it["raw"], it["type"], data_of(it)) if it["parts"] is None else tree(it["parts"])
            for it in found
        ]

    assert tree(await post(go_url, root)) == expected


async def test_go_reads_a_form_inside_a_form(go_url: str) -> None:
    form, inner = FormData(), MultipartWriter("mixed")
    inner.append(b"1").set_content_disposition("file", filename="a 日本.txt")
    inner.append(b"2").set_content_disposition("file", filename='b "2".txt')
    form.add("files", inner)
    (found,) = await post(go_url, form)
    assert found["name"] == "files"
    assert [(it["raw"], data_of(it)) for it in found["parts"]] == [
        ("a 日本.txt", b"1"),
        ('b "2".txt', b"2"),
    ]


# -- what Go writes ---------------------------------------------------------------------------


async def tree_of(part: Part) -> Any:
    """A part and those in it, as JSON can hold it."""
    if part.is_multipart:
        return [await tree_of(it) async for it in part.multipart()]
    return [part.name, part.filename, part.content_type, (await part.read()).hex()]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers a POST with what a reader makes of it."""
    assert scope["type"] == "http"  # an error at "lifespan" says that there is none
    found: Any = []
    async with MultipartReader.from_asgi(scope, receive) as reader:
        try:
            found = [await tree_of(part) async for part in reader]
        except MalformedBody as error:
            found = error.message
    body = json.dumps(found).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def written_by_go(go: Path, order: dict[str, Any]) -> Any:
    async with serving(application) as port:
        url = f"http://127.0.0.1:{port}/"
        return await anyio.to_thread.run_sync(go_post, go, url, order)


async def test_we_read_what_go_writes(go: Path) -> None:
    fields, files = [], []
    # What it makes of a CR or an LF depends on its version: see the next test.
    for number, name in enumerate(it for it in NAMES if "\n" not in it):
        fields.append({"name": name, "data": TEXTS[number % len(TEXTS)].encode()})
        data = CONTENTS[number % len(CONTENTS)]
        files.append({"name": name, "filename": f"{name}.bin", "data": data})
    nested = {
        "subtype": "mixed",
        "headers": {"Content-Disposition": 'form-data; name="inner"'},
        "parts": [
            {"headers": {"Content-Type": "Image/PNG", "X-Any": "é"}, "data": CONTENTS[3]},
            {"headers": {}, "data": b""},
        ],
    }
    order = {"subtype": "form-data", "parts": [*fields, *files, nested]}
    assert await written_by_go(go, order) == [
        *([it["name"], None, "text/plain", it["data"].hex()] for it in fields),
        *(
            [it["name"], it["filename"], "application/octet-stream", it["data"].hex()]
            for it in files
        ),
        [[None, None, "image/png", CONTENTS[3].hex()], [None, None, "text/plain", ""]],
    ]


@pytest.mark.parametrize("subtype", ["mixed", "related", "x-mixed-replace"])
async def test_we_read_other_multiparts_of_go(go: Path, subtype: str) -> None:
    parts = [{"headers": {"Content-Type": "text/plain"}, "data": data} for data in CONTENTS]
    found = await written_by_go(go, {"subtype": subtype, "parts": parts})
    assert found == [[None, None, "text/plain", data.hex()] for data in CONTENTS]


async def test_line_ends_in_the_names_of_go(go: Path) -> None:
    """Until 1.25 it writes them as they are: lines of the header that are none.

    Then it writes them as browsers do.
    """
    order = {"subtype": "form-data", "parts": [{"name": "a\r\nb", "data": b"x"}]}
    found = await written_by_go(go, order)
    assert found == [["a\r\nb", None, "text/plain", "78"]] or "header" in found
