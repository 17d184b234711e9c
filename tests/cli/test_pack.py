"""`mpflow pack`: curl's syntax, and bodies that come back equal."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from mpflow.cli.fields import Field, parse_field, parse_string
from tests.cli.command import COMMAND, GIF, PATIENCE, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x.gif").write_bytes(GIF)
    (tmp_path / "note").write_text("Käse\n", "utf-8")
    return tmp_path


def tree(body: bytes, *options: str, cwd: Path) -> Any:
    done = run("inspect", "-", "--json", *options, cwd=cwd, data=body)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["deviations"] == []
    return told


def test_a_form(folder: Path) -> None:
    done = run("pack", "-F", "a=1", "-F", "f=@x.gif", "--boundary", "b", cwd=folder)
    assert done.returncode == 0
    assert done.stderr == b"Content-Type: multipart/form-data; boundary=b\n"
    assert done.stdout == (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--b\r\nContent-Type: image/gif\r\nContent-Disposition: form-data; name="f"; '
        b'filename="x.gif"\r\n\r\n' + GIF + b"\r\n--b--\r\n"
    )


def test_round_trip(folder: Path) -> None:
    fields = ["-F", "user=Ada Käse", "-F", "f=@x.gif", "-F", "f=@x.gif;filename=y.gif",
              "-F", "note=<note", "-F", "in=@-;type=image/png;filename=z.png"]  # fmt: skip
    packed = run("pack", *fields, cwd=folder, data=GIF[::-1])
    assert packed.returncode == 0
    parts = tree(packed.stdout, cwd=folder)["parts"]
    assert [(it["name"], it["content_type"], it.get("filename")) for it in parts] == [
        ("user", "text/plain", None),
        ("f", "image/gif", "x.gif"),
        ("f", "image/gif", "y.gif"),
        ("note", "text/plain", None),
        ("in", "image/png", "z.png"),
    ]
    assert run("extract", "-", "-d", "out", cwd=folder, data=packed.stdout).returncode == 0
    found = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    assert found == {
        "user.txt": "Ada Käse".encode(),
        "x.gif": GIF,
        "y.gif": GIF,
        "note.txt": "Käse\n".encode(),
        "z.png": GIF[::-1],
    }


def test_related_with_a_header_block(folder: Path) -> None:
    fields = ["-F", 'page="<p>";type=text/html', "-F", "logo=@x.gif;encoder=base64"]
    done = run("pack", *fields, "--type", "related", "--headers", "-o", "page", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    told = tree((folder / "page").read_bytes(), cwd=folder)
    assert told["content_type"] == "multipart/related"
    page, logo = told["parts"]
    assert (page["content_id"], page["content_type"], page["size"]) == ("<page>", "text/html", 3)
    assert (logo["content_id"], logo["codings"]) == ("<logo>", ["base64"])
    assert logo["decoded_size"] == len(GIF)
    parsed = message_from_bytes((folder / "page").read_bytes())
    assert parsed.get_param("type") == "text/html"
    image: Any = list(parsed.walk())[2]
    assert (image.get_payload(decode=True), image.get_filename()) == (GIF, "x.gif")


def test_mixed(folder: Path) -> None:
    done = run("pack", "-F", "a=text", "-F", "=@x.gif", "--type", "mixed", cwd=folder)
    first, second = tree(done.stdout, "--type", "mixed", cwd=folder)["parts"]
    assert first["name"] == "a"
    assert (second["filename"], second["size"]) == ("x.gif", len(GIF))
    assert "name" not in second


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("a=b", Field("a", "b")),
        ("a=", Field("a", "")),
        ("a=b=c;", Field("a", "b=c")),
        ('a="b=c;d"', Field("a", "b=c;d")),
        ("a= b c ", Field("a", "b c")),
        ("a= @b", Field("a", "@b")),
        ('a=@ "b" ; TYPE= c/d ; FileName= " e "', Field("a", "b", "@", type="c/d", filename=" e ")),
        ("a=b;filename= c d ;type=e/f; ;", Field("a", "b", type="e/f", filename="c d")),
        ("a=b;type=c/d ; e=f ;filename=g", Field("a", "b", type="c/d ; e=f", filename="g")),
        ("a=b;type=c/d;type=e/f", Field("a", "b", type="c/d;type=e/f")),
        ("a=b;type=c/d;filename=e;type=f/g", Field("a", "b", type="f/g", filename="e")),
        ("a=b;filename=c;filename=d", Field("a", "b", filename="d")),
        ('a="b', Field("a", '"b')),
        ("a=b;type=text/html; charset=utf-8", Field("a", "b", type="text/html; charset=utf-8")),
        ('a="b;type=c"', Field("a", "b;type=c")),
        (r'a="\"\\";type=x/y', Field("a", '"\\', type="x/y")),
        ("a=@b", Field("a", "b", "@")),
        ('a=@"b;type=c";filename="d\\"e"', Field("a", "b;type=c", "@", filename='d"e')),
        ("a=<b;type=c/d;encoder=base64", Field("a", "b", "<", type="c/d", encoder="base64")),
    ],
)
def test_the_syntax(text: str, field: Field) -> None:
    assert parse_field(text) == field


def test_a_string_is_taken_as_it_is() -> None:
    assert parse_string("a=@b;type=c") == Field("a", "@b;type=c")


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a=@",
        "a=<",
        "a=@ ;type=b/c",
        'a="b";kind=c',
        "a=b;kind=c",
        "a=b=c;d",
        'a="b" and "c"',
        'a=b;filename="c"d',
        "a=b;type=c/d;filename=e;f=g",
        "a=<b;filename=c",
        "a=b;type=",
        "a=@b;type= ;filename=c",
        "a=b;type=c",
        "a=b;type=c/",
        "a=b;type=c /d",
        "a=b;encoder=",
    ],
)
def test_a_field_that_is_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        parse_field(text)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-F", "a"),
        ("-F", "a=1", "--boundary", "a\nb"),
        ("-F", "a=1", "--type", "x y"),
        ("-F", "a\nb=1", "--type", "mixed"),
        ("-F", "a=1;encoder=base64"),
        ("-F", "a=1;type=a\r\nb"),
        ("-F", "a=@-", "-F", "b=<-"),
        ("-F", b"\xff=1"),
    ],
)
def test_a_wrong_command_line(folder: Path, arguments: tuple[Any, ...]) -> None:
    words = [os.fsdecode(word) for word in arguments]
    done = run("pack", *words, "-o", "out", cwd=folder)
    assert done.returncode == 2
    assert done.stderr
    assert sorted(os.listdir(folder)) == ["note", "x.gif"]


def test_a_value_that_is_no_text_goes_out_as_it_came(folder: Path) -> None:
    done = run("pack", "-F", os.fsdecode(b"a=\xff"), "--boundary", "b", cwd=folder)
    assert done.stdout == (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--b--\r\n'
    )


def test_a_file_that_is_missing_is_one_line(folder: Path) -> None:
    done = run("pack", "-F", "a=1", "-F", "f=@nowhere", "-o", "out", cwd=folder)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"mpflow pack: nowhere: No such file or directory\n"
    done = run("pack", "-F", "a=1", "-o", "no/where", cwd=folder)
    assert done.stderr == b"mpflow pack: no/where: No such file or directory\n"
    assert sorted(os.listdir(folder)) == ["note", "x.gif"]


def test_a_failure_leaves_the_output_as_it_was(folder: Path) -> None:
    (folder / "out").write_bytes(b"before")
    (folder / "x.gif").write_bytes(b"a\r\n--b\r\nc")  # the boundary stands in it
    done = run("pack", "-F", "f=@x.gif", "--boundary", "b", "-o", "out", cwd=folder)
    assert done.returncode == 1
    assert b"boundary" in done.stderr
    assert (folder / "out").read_bytes() == b"before"
    assert sorted(os.listdir(folder)) == ["note", "out", "x.gif"]


def test_an_output_is_replaced(folder: Path) -> None:
    (folder / "out").write_bytes(b"before")
    assert run("pack", "-F", "a=1", "-o", "out", cwd=folder).returncode == 0
    assert b'name="a"' in (folder / "out").read_bytes()
    assert run("pack", "-F", "a=1", "-o", "/dev/null", cwd=folder).returncode == 0
    assert sorted(os.listdir(folder)) == ["note", "out", "x.gif"]


@pytest.mark.parametrize("how", ["close", "interrupt"])
def test_a_reader_that_does_not_read_on(folder: Path, how: str) -> None:
    with (folder / "large").open("wb") as large:
        large.truncate(64 * 1024 * 1024)
    with subprocess.Popen(
        [*COMMAND, "pack", "-F", "f=@large", "--boundary", "b"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(3) == b"--b"
        if how == "close":
            process.stdout.close()
            assert process.wait(PATIENCE) == 1
        else:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == -signal.SIGINT  # 130 to a shell
        assert process.stderr.read() == b"Content-Type: multipart/form-data; boundary=b\n"


def test_ctrl_c_while_it_waits_for_standard_input(folder: Path) -> None:
    (folder / "out").write_bytes(b"before")
    with subprocess.Popen(
        [*COMMAND, "pack", "-F", "f=@-", "-o", "out"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"Content-Type: ")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr.read() == b""
    assert (folder / "out").read_bytes() == b"before"
    assert sorted(os.listdir(folder)) == ["note", "out", "x.gif"]


@pytest.mark.parametrize("name", ["a>b", "<a>", "a b", "a\t", "(a)", 'a"b', "a,b"])
def test_a_name_that_cannot_be_a_content_id(folder: Path, name: str) -> None:
    done = run("pack", "-F", f"{name}=@x.gif", "--type", "related", "-o", "out", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith(b"mpflow pack: expected names that can be a Content-ID")
    assert sorted(os.listdir(folder)) == ["note", "x.gif"]


def test_a_content_id_of_two_parts(folder: Path) -> None:
    done = run("pack", "-F", "a=1", "-F", "a=2", "--type", "related", cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"expected each Content-ID in one part, got 'a' in several" in done.stderr


def test_names_that_can_be_content_ids(folder: Path) -> None:
    names = ["a@b.example", "Käse", "part1.2~3"]
    fields = [word for name in names for word in ("-F", f"{name}=1")]
    done = run("pack", *fields, "--type", "related", "--headers", cwd=folder)
    parts = tree(done.stdout, cwd=folder)["parts"]
    assert [part["content_id"] for part in parts] == [f"<{name}>" for name in names]
