"""The service as an ASGI application: what it answers to what."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from mpflow import (
    CommitFailed,
    InvalidContent,
    LimitExceeded,
    MultipartReader,
    Part,
    PartRef,
    Problem,
    Rejected,
    Router,
    ServiceFailed,
)
from mpflow.cli import dispatch
from mpflow.cli.app import App
from mpflow.cli.inbox import JSON_DEPTH, Inbox
from mpflow.cli.routed import Routed
from mpflow.cli.sinks import Folder
from mpflow.testing import Bytewise, PartSpec, body, content_type_of, nested
from mpflow_handlers import Nested, Tee, Text
from tests.cli.asgi import Client

pytestmark = pytest.mark.anyio

SHA256 = {
    b"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
}


async def upload(directory: Path, data: bytes, **options: Any) -> Client:
    inbox = Inbox(Folder(directory), max_bytes=options.pop("max_bytes", None))
    client = Client(chunks=[data], **options)
    await App(inbox)(client.scope, client.receive, client.send)
    return client


async def part(directory: Path, *parts: Any) -> dict[str, Any]:
    client = await upload(directory, body(parts))
    assert client.status == 200, client.body
    return client.document["parts"][0]


# -- what becomes of parts ------------------------------------------------------------------------


async def test_parts_are_told_in_wire_order(tmp_path: Path) -> None:
    parts = [
        PartSpec('{"a": [1, 2.5, null]}', name="meta", content_type="application/json"),
        PartSpec(b"abc", name="file", filename="a.bin", content_type="application/octet-stream"),
        ("note", "Grüße"),
        nested(
            [
                PartSpec(b"abc", filename="b.txt", content_type="text/plain"),
                PartSpec(b"\xff\x00", content_type="image/gif"),
            ],
            name="more",
        ),
    ]
    client = await upload(tmp_path, body(parts))
    assert client.status == 200
    mixed = client.document["parts"][3]
    assert mixed.pop("size") > 0
    assert client.document == {
        "parts": [
            {
                "name": "meta",
                "content_type": "application/json",
                "size": 21,
                "value": {"a": [1, 2.5, None]},
            },
            {
                "name": "file",
                "filename": "a.bin",
                "content_type": "application/octet-stream",
                "size": 3,
                "saved_as": "a.bin",
                "sha256": SHA256[b"abc"],
            },
            {"name": "note", "content_type": "text/plain", "size": 7, "value": "Grüße"},
            client.document["parts"][3],
        ]
    }
    assert mixed == {
        "name": "more",
        "content_type": "multipart/mixed",
        "parts": [
            {
                "filename": "b.txt",
                "content_type": "text/plain",
                "size": 3,
                "saved_as": "b.txt",
                "sha256": SHA256[b"abc"],
            },
            {"content_type": "image/gif", "size": 2, "value": {"base64": "/wA="}},
        ],
    }
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.txt"]
    assert (tmp_path / "a.bin").read_bytes() == b"abc"


async def test_any_chunking_gives_the_same(tmp_path: Path) -> None:
    data = body([("a", "1"), PartSpec(b"abc", name="f", filename="x"), ("b", "2")])
    for number, chunks in enumerate([[data], [data[i : i + 1] for i in range(len(data))]]):
        directory = tmp_path / str(number)
        directory.mkdir()
        client = Client(chunks=chunks)
        await App(Inbox(Folder(directory)))(client.scope, client.receive, client.send)
        assert [entry["size"] for entry in client.document["parts"]] == [1, 3, 1]
        assert (directory / "x").read_bytes() == b"abc"


async def test_an_inbox_reads_any_source(tmp_path: Path) -> None:
    reader = MultipartReader(Bytewise(body([("a", "1")])), content_type_of())
    told = await Inbox(Folder(tmp_path)).take(reader)
    assert told == {"parts": [{"name": "a", "content_type": "text/plain", "size": 1, "value": "1"}]}


async def test_a_file_input_left_blank_makes_no_file(tmp_path: Path) -> None:
    """Browsers send an empty filename and no byte."""
    blank = PartSpec(b"", name="f", filename="", content_type="application/octet-stream")
    assert await part(tmp_path, blank) == {
        "name": "f",
        "filename": "",
        "content_type": "application/octet-stream",
        "size": 0,
        "value": "",
    }
    assert os.listdir(tmp_path) == []


async def test_an_empty_file_with_a_name_is_a_file(tmp_path: Path) -> None:
    told = await part(tmp_path, PartSpec(b"", name="f", filename="empty"))
    assert (told["saved_as"], told["size"], told["sha256"]) == ("empty", 0, SHA256[b""])
    assert os.listdir(tmp_path) == ["empty"]


async def test_bytes_with_an_empty_filename_are_a_file(tmp_path: Path) -> None:
    assert (await part(tmp_path, PartSpec(b"abc", filename="")))["saved_as"] == "unnamed"
    assert (tmp_path / "unnamed").read_bytes() == b"abc"


async def test_json_with_a_filename_is_a_file(tmp_path: Path) -> None:
    """As a browser sends a `Blob`: it is stored as it is, even where it is no JSON at all."""
    blob = PartSpec(b'{"a": 1', name="meta", filename="blob", content_type="application/json")
    told = await part(tmp_path, blob)
    assert told["saved_as"] == "blob"
    assert "value" not in told
    assert (tmp_path / "blob").read_bytes() == b'{"a": 1'


async def test_a_multipart_with_a_filename_is_a_file(tmp_path: Path) -> None:
    """A saved page, chosen in a browser: its type comes without the boundary."""
    page = PartSpec(b"--x--", name="f", filename="page.mht", content_type="multipart/related")
    assert (await part(tmp_path, page))["saved_as"] == "page.mht"


async def test_a_taken_name_gets_a_suffix(tmp_path: Path) -> None:
    specs = [PartSpec(data, name="f", filename="a.txt") for data in (b"1", b"2", b"3")]
    client = await upload(tmp_path, body(specs))
    saved = [entry["saved_as"] for entry in client.document["parts"]]
    assert saved == ["a.txt", "a-1.txt", "a-2.txt"]
    assert [(tmp_path / name).read_bytes() for name in saved] == [b"1", b"2", b"3"]


async def test_a_suffix_of_json_is_json(tmp_path: Path) -> None:
    told = await part(tmp_path, PartSpec(b"[]", content_type="application/problem+json"))
    assert told["value"] == []


async def test_other_types_that_are_text_come_as_text(tmp_path: Path) -> None:
    told = await part(tmp_path, PartSpec("a=ü", content_type="application/x-www-form-urlencoded"))
    assert told["value"] == "a=ü"


async def test_names_that_are_no_utf8_are_escaped(tmp_path: Path) -> None:
    raw = b'--boundary\r\nContent-Disposition: form-data; name="f\xfc"\r\n\r\nx\r\n--boundary--\r\n'
    client = await upload(tmp_path, raw)
    assert client.body.isascii()
    assert client.document["parts"][0]["name"] == "f\udcfc"


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"",
        b"NaN",
        b"[-Infinity]",
        b'{"a": 1e999}',
        b"[" * (JSON_DEPTH + 1) + b"]" * (JSON_DEPTH + 1),
        b"[" * 100_000,
        b"9" * 5000,
        b'"\xff"',
    ],
    ids=["cut", "empty", "nan", "infinity", "huge", "deep", "deeper", "digits", "utf8"],
)
async def test_what_is_no_json_is_refused(tmp_path: Path, data: bytes) -> None:
    client = await upload(
        tmp_path, body([("a", "1"), PartSpec(data, name="j", content_type="application/json")])
    )
    assert client.status == 422
    assert client.document["part"] == {"path": [1], "name": "j"}
    assert "\n" not in client.document["detail"]


async def test_json_may_nest_deep(tmp_path: Path) -> None:
    data = b"[" * JSON_DEPTH + b"]" * JSON_DEPTH
    told = await part(tmp_path, PartSpec(data, content_type="application/json"))
    for _ in range(JSON_DEPTH - 1):
        (told["value"],) = told["value"]
    assert told["value"] == []


# -- HTTP -----------------------------------------------------------------------------------------


async def request(directory: Path, method: str, path: str = "/", **options: Any) -> Client:
    client = Client(method, path, **options)
    await App(Inbox(Folder(directory)))(client.scope, client.receive, client.send)
    return client


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_page(tmp_path: Path, method: str) -> None:
    client = await request(tmp_path, method)
    assert client.status == 200
    assert client.headers["content-type"] == "text/html; charset=utf-8"
    assert client.body.startswith(b"<!doctype html>")


async def test_put_is_as_good_as_post(tmp_path: Path) -> None:
    client = await request(tmp_path, "PUT", chunks=[body([PartSpec(b"abc", filename="a")])])
    assert client.status == 200
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "OPTIONS", "FOO"])
async def test_other_methods_are_not_allowed(tmp_path: Path, method: str) -> None:
    client = await request(tmp_path, method)
    assert client.status == 405
    assert client.headers["allow"] == "GET, HEAD, POST, PUT"


async def test_other_paths_are_not_found(tmp_path: Path) -> None:
    client = await request(tmp_path, "POST", "/upload", chunks=[body([("a", "1")])])
    assert client.status == 404
    assert client.document["status"] == 404


async def test_there_is_no_icon(tmp_path: Path) -> None:
    client = await request(tmp_path, "GET", "/favicon.ico")
    assert client.status == 204
    assert "content-length" not in client.headers


@pytest.mark.parametrize(
    ("site", "status"),
    [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)],
)
async def test_a_page_of_another_site_may_not_upload(
    tmp_path: Path, site: str, status: int
) -> None:
    data = body([PartSpec(b"abc", filename="a")])
    client = await request(tmp_path, "POST", chunks=[data], headers={"Sec-Fetch-Site": site})
    assert client.status == status
    assert os.listdir(tmp_path) == (["a"] if status == 200 else [])


async def test_lifespan(tmp_path: Path) -> None:
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await App(Inbox(Folder(tmp_path)))({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_websocket_is_refused(tmp_path: Path) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await App(Inbox(Folder(tmp_path)))({"type": "websocket"}, Client().receive, send)
    assert sent == [{"type": "websocket.close"}]


# -- pages in place of JSON -----------------------------------------------------------------------

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def test_a_browser_gets_a_page_that_tells_the_same(tmp_path: Path) -> None:
    data = body([PartSpec(b"abc", name="f", filename="a<b.txt"), ("note", "x")])
    client = await request(tmp_path, "POST", chunks=[data], headers=BROWSER)
    assert client.status == 200
    assert client.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in client.headers["content-security-policy"]
    page = client.body.decode()
    assert "<strong>a&lt;b.txt</strong>" in page
    assert SHA256[b"abc"] in page
    assert "<pre>x</pre>" in page


async def test_a_browser_gets_failures_as_pages(tmp_path: Path) -> None:
    for method, path, status in (("POST", "/", 400), ("DELETE", "/", 405), ("GET", "/a", 404)):
        client = await request(tmp_path, method, path, chunks=[b"x"], headers=BROWSER)
        assert client.status == status
        assert "The upload failed" in client.body.decode()
        assert f"<dd>{status} " in client.body.decode()
    assert (await request(tmp_path, "DELETE", headers=BROWSER)).headers["allow"]


async def test_a_page_knows_the_limit_of_the_service(tmp_path: Path) -> None:
    for service, told in (
        (Inbox(Folder(tmp_path), max_bytes=1000), b'data-max-bytes="1000"'),
        (Inbox(Folder(tmp_path)), b'data-max-bytes=""'),
        (Routed(Router()), b'data-max-bytes="1073741824"'),
    ):
        client = Client("GET")
        await App(service)(client.scope, client.receive, client.send)
        assert told in client.body


# -- refusals -------------------------------------------------------------------------------------

FILE = PartSpec(b"abc", name="f", filename="a")


@pytest.mark.parametrize(
    ("content_type", "status", "says"),
    [
        ("multipart/form-data", 400, "expected a boundary in the content type"),
        ("multipart/form-data; boundary=", 400, "boundary"),
        (f"multipart/form-data; boundary={'b' * 71}", 400, "boundary"),
        ("application/json", 415, "expected a content type of multipart/*, got 'application/json'"),
        ("nonsense", 400, "expected a content type"),
        ("multipart/form-data; boundary=other", 400, "expected"),
    ],
)
async def test_a_wrong_content_type(
    tmp_path: Path, content_type: str, status: int, says: str
) -> None:
    client = await upload(tmp_path, body([FILE]), content_type=content_type)
    assert client.status == status
    assert says in client.document["detail"]
    assert os.listdir(tmp_path) == []


async def test_no_content_type(tmp_path: Path) -> None:
    client = Client(chunks=[body([FILE])])
    client.scope["headers"] = []
    await App(Inbox(Folder(tmp_path)))(client.scope, client.receive, client.send)
    assert client.status == 415
    assert client.document["detail"] == "expected a content type of multipart/*, and there is none"


WHOLE = body([FILE, ("note", "x")])
FAILED = {
    "title": "Internal Server Error",
    "status": 500,
    "detail": "the upload failed on the side of the service",
}


@pytest.mark.parametrize(
    ("data", "status", "details"),
    [
        (b"", 400, {}),
        (WHOLE[:-4], 400, {}),
        (WHOLE[: WHOLE.index(b"abc") + 1], 400, {"part": {"path": [0], "name": "f",
                                                          "filename": "a"}}),
        (body([FILE], close=False), 400, {}),
        (b"no delimiter at all", 400, {}),
        (body([FILE] + [("a", "1")] * 1000), 413, {"limit": "max_parts"}),
        (body([FILE, PartSpec(b"", headers={"X": "x" * 5000})]), 413,
         {"limit": "max_header_line"}),
        (body([FILE, PartSpec(b"", headers=[("X", "x")] * 33)]), 413, {"limit": "max_headers"}),
        (body([FILE, ("a", "x" * 1_100_000)]), 413, {"limit": "max_memory"}),
        (body([FILE, PartSpec(b"eA==", headers={"Content-Transfer-Encoding": "rot13"})]), 415, {}),
        (body([FILE, nested([nested([nested([nested([], boundary="4")], boundary="3")],
                                    boundary="2")], boundary="1")]), 413, {"limit": "max_depth"}),
        (body([FILE, PartSpec(b"\xff", content_type="text/plain")]), 422, {}),
        (body([FILE, PartSpec(b"x", content_type="multipart/mixed")]), 400, {}),
    ],
    ids=["empty", "close", "cut", "unclosed", "none", "parts", "line", "headers", "memory",
         "encoding", "depth", "text", "inner"],
)  # fmt: skip
async def test_a_bad_body_leaves_nothing(
    tmp_path: Path, data: bytes, status: int, details: dict[str, Any]
) -> None:
    client = await upload(tmp_path, data)
    told = client.document
    assert client.status == told["status"] == status, told
    assert told["detail"]
    assert "\n" not in told["detail"]
    assert {key: told[key] for key in details} == details
    assert told.keys() <= {"title", "detail", "error", "status", "part", "offset", "limit"}
    assert os.listdir(tmp_path) == []


async def test_too_large_by_its_length_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    reads: list[int] = []
    client = Client(chunks=[b"x" * 100], headers={"Content-Length": str(10**9)}, ends="whole")

    async def send(message: dict[str, Any]) -> None:
        reads.append(client.received)
        await client.send(message)

    await App(Inbox(Folder(tmp_path), max_bytes=1000))(client.scope, client.receive, send)
    assert client.status == 413
    assert client.document["limit"] == "max_total_bytes"
    assert reads[0] == 0


async def test_too_large_by_its_bytes(tmp_path: Path) -> None:
    client = await upload(tmp_path, body([FILE, ("a", "x" * 2000)]), max_bytes=1000)
    assert client.status == 413
    assert client.document["limit"] == "max_total_bytes"
    assert "1000" in client.document["detail"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("at", [0, 30, 100, len(WHOLE) - 4])
async def test_a_client_that_goes_away_gets_no_answer(tmp_path: Path, at: int) -> None:
    client = Client(chunks=[WHOLE[:at]], ends="gone")
    await App(Inbox(Folder(tmp_path)))(client.scope, client.receive, client.send)
    assert client.sent == []
    assert os.listdir(tmp_path) == []


async def test_a_missing_directory_is_our_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = await upload(tmp_path / "gone", body([FILE]))
    assert client.status == 500
    assert client.document == FAILED
    assert str(tmp_path) in caplog.text


async def test_what_nobody_foresaw_is_logged_and_kept_from_the_client(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Inbox):
        async def take(self, reader: MultipartReader) -> dict[str, Any]:
            raise RuntimeError("a secret of this host")

    client = Client(chunks=[WHOLE])
    await App(Broken(Folder(tmp_path)))(client.scope, client.receive, client.send)
    assert client.status == 500
    assert client.document == FAILED
    (record,) = caplog.records
    assert (record.levelno, record.exc_info is None) == (logging.ERROR, False)
    assert "a secret of this host" in caplog.text


async def test_stopping_rolls_back_and_answers(tmp_path: Path) -> None:
    app = App(Inbox(Folder(tmp_path)))
    client = Client(chunks=[WHOLE[:-10]], ends="silent")
    reading = anyio.Event()

    async def receive() -> dict[str, Any]:
        if not client.messages:
            reading.set()
        return await client.receive()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app, client.scope, receive, client.send)
        await reading.wait()
        assert client.sent == []
        app.stop()
    assert client.status == client.document["status"] == 503
    assert os.listdir(tmp_path) == []
    late = Client(chunks=[WHOLE])
    await app(late.scope, late.receive, late.send)
    assert late.status == 503


# -- what is told of an error ---------------------------------------------------------------------


class Failing(Inbox):
    def __init__(self, error: Exception) -> None:
        self.limits = None
        self.error = error

    async def take(self, reader: MultipartReader) -> dict[str, Any]:
        raise self.error


async def test_an_answer_tells_what_problem_details_tell(caplog: pytest.LogCaptureFixture) -> None:
    for error in (
        LimitExceeded("max_part_bytes", 5, part=PartRef((0, 2), "n", "f"), offset=7),
        Rejected(429, "come back later", {"Retry-After": "60"}),
        OSError(errno.ENOSPC, "No space left on device", "/a/path"),
        ServiceFailed("http://10.0.0.1/"),
    ):
        client = Client(chunks=[WHOLE])
        await App(Failing(error))(client.scope, client.receive, client.send)
        problem = Problem.of(error)
        assert (client.status, client.document) == (problem.status, problem.document())
        assert problem.headers.items() <= {k.title(): v for k, v in client.headers.items()}.items()
        assert (str(error) in caplog.text) == (problem.status >= 500)


async def test_a_failure_of_a_service_that_was_collected_is_kept_from_the_client() -> None:
    async def broken(part: Part) -> None:
        raise ServiceFailed("http://10.0.0.1/") if part.name == "a" else InvalidContent("no JSON")

    router = Router()
    router.add(broken, on_error="collect")
    reader = MultipartReader(body([("a", ""), ("b", "")]), content_type_of())
    one, other = (await Routed(router).take(reader))["parts"]
    assert one["error"] == "the upload failed on the side of the service"
    assert "no JSON" in other["error"]


async def test_a_failure_inside_a_tee_that_was_collected_is_kept_from_the_client() -> None:
    async def broken(part: Part) -> None:
        raise OSError(5, "Input/output error", "/srv/secret")

    inner = Router()
    inner.add(Tee(Tee.collect(broken), Text()), name="a")
    router = Router()
    router.add(Tee(Nested(inner), Tee.collect(broken)), name="n")
    router.add(inner.routes[0].handler)
    message = body([("a", "x"), nested([("a", "y")], name="n", boundary="i")])
    told = await Routed(router).take(MultipartReader(message, content_type_of()))
    failed = {"error": "the upload failed on the side of the service"}
    one, other = told["parts"]
    assert one["value"] == [failed, "x"]
    (inside,), last = other["value"]
    assert (inside["value"], last) == ([failed, "y"], failed)


async def test_the_command_tells_why_a_commit_failed() -> None:
    failed = CommitFailed([], None, [])
    failed.__cause__ = OSError(5, "Input/output error")
    said = f"{failed}: OSError: [Errno 5] Input/output error"
    assert dispatch._explain(failed, cast("Any", None)) == said  # pyright: ignore[reportPrivateUsage]
