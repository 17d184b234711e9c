"""`mpflow dispatch` and `mpflow serve -c`: what a file of routes makes of a body."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mpflow import MultipartReader
from mpflow.cli.app import App
from mpflow.cli.routed import Routed, load_router
from mpflow.testing import PartSpec, body, content_type_of, nested
from tests.cli.asgi import Client
from tests.cli.command import COMMAND, PATIENCE, mail, run
from tests.cli.service import BACKENDS, running

ROUTES = """\
[limits]
max_parts = 8

[[route]]
match.name = "meta"
handler = "json"

[[route]]
match.filename = true
key = "files"
handler = { use = "save", directory = "inbox", name = { format = "{safe_filename}" } }

[[route]]
match.content_type = "multipart/*"
handler = { use = "nested", router = "main" }

[[route]]
match.name = "number"
handler = "json"
on_error = "collect"

[[route]]
handler = { use = "collect" }
"""
MESSAGE = [
    ("meta", '{"a": [1, null]}'),
    PartSpec(b"\xff\x00", name="file", filename="../a b.bin", content_type="image/png"),
    nested([("inner", "é")], name="more"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "routes.toml").write_text(ROUTES)
    (tmp_path / "body").write_bytes(body(MESSAGE))
    return tmp_path


def stored(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "inbox"))


def dispatched(folder: Path, *arguments: str, data: bytes = b"") -> Any:
    done = run("dispatch", *arguments, "-c", "routes.toml", "--json", cwd=folder, data=data)
    assert (done.returncode, done.stderr) == (0, b"")
    return json.loads(done.stdout)["parts"]


# -- dispatch -------------------------------------------------------------------------------------


def test_a_line_a_part(folder: Path) -> None:
    done = run("dispatch", "body", "-c", "routes.toml", cwd=folder)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("utf-8", "replace").splitlines()[:2] == [
        '0 text/plain name="meta" 16 bytes -> "meta": {"a": [1, null]}',
        '1 image/png name="file" filename="../a b.bin" 2 bytes -> "files": '
        '{"size": 2, "digests": {}, "path": "inbox/a b.bin", "name": "a b.bin"}',
    ]
    assert done.stdout.splitlines()[2].startswith(b'2 multipart/mixed name="more" ')
    assert done.stdout.splitlines()[3].startswith(b'  2.0 text/plain name="inner" 2 bytes -> ')
    assert (folder / "inbox" / "a b.bin").read_bytes() == b"\xff\x00"


def test_one_document(folder: Path) -> None:
    meta, file, more = dispatched(folder, "-", data=(folder / "body").read_bytes())
    assert meta == {
        "path": [0],
        "key": "meta",
        "name": "meta",
        "content_type": "text/plain",
        "size": 16,
        "value": {"a": [1, None]},
    }
    assert file["value"]["path"] == "inbox/a b.bin"
    assert [(part["path"], part["value"]) for part in more["parts"]] == [([2, 0], "é")]


def test_a_mail_is_read_as_inspect_reads_it(folder: Path) -> None:
    (folder / "inbox.toml").write_text("")
    (folder / "mail").write_bytes(mail())
    (folder / "routes.toml").write_text(ROUTES.replace("{safe_filename}", "{index}"))
    text, *attachments = dispatched(folder, "mail")
    assert [part["content_type"] for part in text["parts"]] == ["text/plain", "text/html"]
    assert text["parts"][0]["value"].split() == ["Käse"]
    assert [part["filename"] for part in attachments] == ["bild.gif", "bild.gif"]
    assert stored(folder) == ["1", "2"]


@pytest.mark.parametrize("option", ["--type", "--content-type"])
def test_the_content_type_may_be_given(folder: Path, option: str) -> None:
    (folder / "odd").write_bytes(b"a preamble\r\n" + body(MESSAGE[:1]))
    done = run("dispatch", "odd", "-c", "routes.toml", cwd=folder)
    assert done.returncode == 1
    (meta,) = dispatched(folder, "odd", option, content_type_of())
    assert meta["value"] == {"a": [1, None]}


def test_all_or_nothing(folder: Path) -> None:
    (folder / "body").write_bytes(body([*MESSAGE, ("meta", "no json")]))
    done = run("dispatch", "body", "-c", "routes.toml", cwd=folder)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"mpflow dispatch: expected JSON")
    assert b"(in part 3 'meta')" in done.stderr
    assert stored(folder) == []


def test_a_body_that_is_cut_leaves_nothing(folder: Path) -> None:
    (folder / "body").write_bytes(body(MESSAGE)[:-8])
    done = run("dispatch", "body", "-c", "routes.toml", cwd=folder)
    assert (done.returncode, done.stdout, stored(folder)) == (1, b"", [])
    assert b"at byte" in done.stderr


def test_the_limits_of_the_file_hold(folder: Path) -> None:
    (folder / "body").write_bytes(body([("x", "")] * 9))
    done = run("dispatch", "body", "-c", "routes.toml", cwd=folder)
    assert done.returncode == 1
    assert b"max_parts = 8" in done.stderr


def test_without_limits_a_file_may_be_large(folder: Path) -> None:
    (folder / "routes.toml").write_text('[[route]]\nhandler = "discard"\n')
    (folder / "body").write_bytes(body([("x", "")] * 1001))
    assert len(dispatched(folder, "body")) == 1001


def test_a_handlers_own_error_names_the_part(folder: Path) -> None:
    (folder / "inbox").rmdir()
    done = run("dispatch", "body", "-c", "routes.toml", cwd=folder)
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("mpflow dispatch: FileNotFoundError: ")
    assert "in part 1 'file'" in line


def test_a_failure_that_is_collected_is_told(folder: Path) -> None:
    (folder / "body").write_bytes(body([("number", "x"), *MESSAGE[:2]]))
    done = run("dispatch", "body", "-c", "routes.toml", cwd=folder)
    assert done.returncode == 1
    assert b"failed: expected JSON" in done.stdout
    assert stored(folder) == ["a b.bin"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_rolls_everything_back(folder: Path, number: signal.Signals) -> None:
    large = PartSpec(bytes(3_000_000), filename="large")
    with subprocess.Popen(
        [*COMMAND, "dispatch", "-", "-c", "routes.toml"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(body([*MESSAGE, large])[:2_500_000])
        process.stdin.flush()  # more than any buffer holds: the handlers are at work
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
        process.stdin.close()
    assert stored(folder) == []


@pytest.mark.parametrize("command", ["dispatch", "serve"])
def test_a_file_with_faults_is_told_line_by_line(folder: Path, command: str) -> None:
    (folder / "routes.toml").write_text('[limts]\n\n[[route]]\nhandler = "jsn"\n')
    arguments = ["body"] if command == "dispatch" else []
    done = run(command, *arguments, "-c", "routes.toml", cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    first, second = done.stderr.decode().splitlines()
    assert first.startswith(f"mpflow {command}: routes.toml:1: limts: unknown key 'limts'")
    assert second.startswith(f"mpflow {command}: routes.toml:4: route[0].handler: expected the ")


@pytest.mark.parametrize("command", ["dispatch", "serve"])
def test_nobody_gives_what_a_file_is_given(folder: Path, command: str) -> None:
    text = 'given = ["user"]\n\n[[route]]\nhandler = "discard"\n'
    (folder / "routes.toml").write_text(text)
    arguments = ["body"] if command == "dispatch" else []
    done = run(command, *arguments, "-c", "routes.toml", cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"mpflow {command}: routes.toml:1: given[0]: expected keys of what is ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dispatch", "body"], "-c/--config"),
        (["dispatch", "body", "-c", "none.toml"], "none.toml: No such file or directory"),
        (["serve", "-c", "none.toml"], "none.toml: No such file or directory"),
        (["serve"], "expected a DIR or a URL, or -c FILE with the routes"),
        (
            ["serve", "inbox", "-c", "routes.toml"],
            "expected a DIR or a URL, or -c FILE with the routes",
        ),
        (["serve", "-c", "routes.toml", "--max-bytes", "1"], "expected max_total_bytes in [limit"),
    ],
)
def test_a_command_line_at_fault(folder: Path, arguments: list[str], said: str) -> None:
    done = run(*arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()


def test_a_body_that_is_not_there(folder: Path) -> None:
    done = run("dispatch", "none", "-c", "routes.toml", cwd=folder)
    assert (done.returncode, done.stderr) == (
        1,
        b"mpflow dispatch: none: No such file or directory\n",
    )


# -- serve ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_service_with_routes_of_its_own(folder: Path, backend: str) -> None:
    routes = ROUTES.replace('"inbox"', json.dumps(str(folder / "inbox")))
    (folder / "routes.toml").write_text(routes)
    with running(folder, backend, config=folder / "routes.toml") as service:
        assert service.request("GET").status == 200
        meta, file, more = service.post(body(MESSAGE)).parts
        assert meta["value"] == {"a": [1, None]}
        assert file["value"]["name"] == "a b.bin"
        assert more["parts"][0]["value"] == "é"
        taken = service.post(body(MESSAGE))
        assert taken.status == 500
        assert taken.document["detail"] == "the upload failed on the side of the service"
        refused = service.post(body([MESSAGE[0], ("meta", "no json")]))
        assert refused.status == 422
        assert refused.document["part"]["path"] == [1]
        refused = service.post(body([("x", "")] * 9))
        assert (refused.status, refused.document["limit"]) == (413, "max_parts")
        assert service.files() == ["a b.bin"]


@pytest.mark.anyio
async def test_an_answer_is_json_whatever_a_handler_gives(folder: Path) -> None:
    (folder / "routes.toml").write_text('[[route]]\nhandler = "json"\n')
    router = load_router("serve", str(folder / "routes.toml"))
    assert router is not None
    client = Client(chunks=[body([("a", "NaN"), ("b", '"\\ud800"')])])
    await App(Routed(router))(client.scope, client.receive, client.send)
    assert client.status == 200
    assert [part["value"] for part in client.document["parts"]] == ["nan", "\ud800"]


@pytest.mark.anyio
async def test_limits_are_the_defaults_where_the_file_has_none(folder: Path) -> None:
    (folder / "routes.toml").write_text('[[route]]\nhandler = "discard"\n')
    router = load_router("serve", str(folder / "routes.toml"))
    assert router is not None
    assert Routed(router).limits is None
    reader = MultipartReader(body([("x", "")]), content_type_of())
    assert len((await Routed(router).take(reader))["parts"]) == 1
