"""`mpflow inspect`: true trees of bodies, mails and saved pages, and of what is left of them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mpflow.testing import PartSpec, body, content_type_of, nested
from tests.cli.command import COMMAND, GIF, PATIENCE, mail, run

FORM = body(
    [
        ("user", "Ada"),
        PartSpec(name="photo", filename='a"b.gif', content_type="image/gif", data=GIF),
    ]
)
BOUNDARY = content_type_of().partition("boundary=")[2].strip('"')


def document(*arguments: str | Path, cwd: Path, data: bytes = b"", code: int = 0) -> Any:
    done = run("inspect", "--json", *arguments, cwd=cwd, data=data)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_a_form(tmp_path: Path) -> None:
    (tmp_path / "form").write_bytes(FORM)
    done = run("inspect", "form", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [
        f'multipart/form-data boundary="{BOUNDARY}"',
        '  0 text/plain name="user" 3 bytes',
        f'  1 image/gif name="photo" filename="a\\"b.gif" {len(GIF)} bytes',
    ]


def test_a_form_as_json(tmp_path: Path) -> None:
    told = document("-", cwd=tmp_path, data=FORM)
    assert told == {
        "content_type": "multipart/form-data",
        "boundary": BOUNDARY,
        "parts": [
            {
                "path": [0],
                "content_type": "text/plain",
                "name": "user",
                "size": 3,
                "sha256": hashlib.sha256(b"Ada").hexdigest(),
            },
            {
                "path": [1],
                "content_type": "image/gif",
                "name": "photo",
                "filename": 'a"b.gif',
                "size": len(GIF),
                "sha256": hashlib.sha256(GIF).hexdigest(),
            },
        ],
        "deviations": [],
        "problems": [],
    }


@pytest.mark.parametrize("stored", [False, True])
def test_a_mail(tmp_path: Path, stored: bool) -> None:
    (tmp_path / "mail.eml").write_bytes(mail(stored=stored))
    told = document("mail.eml", cwd=tmp_path)
    assert told["content_type"] == "multipart/mixed"
    inner, first, second = told["parts"]
    assert inner["content_type"] == "multipart/alternative"
    text, html = inner["parts"]
    assert (text["path"], text["content_type"], text["codings"]) == (
        [0, 0], "text/plain", ["quoted-printable"],
    )  # fmt: skip
    assert (html["path"], html["codings"]) == ([0, 1], ["base64"])
    assert [it["filename"] for it in (first, second)] == ["bild.gif", "bild.gif"]
    assert first["decoded_size"] == len(GIF)
    assert first["decoded_sha256"] == hashlib.sha256(GIF).hexdigest()
    assert second["decoded_sha256"] == hashlib.sha256(GIF[::-1]).hexdigest()
    assert {it["code"] for it in told["deviations"]} == ({"bare-lf"} if stored else set())


def test_the_tree_of_a_mail(tmp_path: Path) -> None:
    done = run("inspect", "-", cwd=tmp_path, data=mail(stored=True))
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines[:6]] == [
        "multipart/mixed", "0", "0.0", "0.1", "1", "2",
    ]  # fmt: skip
    assert lines[2].startswith("    0.0 text/plain ")
    assert lines[4].endswith(f" base64 -> {len(GIF)} bytes")
    assert lines[6] == "deviations:"
    assert all(line.startswith("  bare-lf") for line in lines[7:])


def test_a_deviation_is_told_with_what_its_offset_counts_in(tmp_path: Path) -> None:
    """In the header, in the body, in the body of a part; JSON has the same as `level`."""
    inner = b"--i\r\nContent-Disposition: inline; a=1; a=2\r\n\r\nx\r\n--i--"
    head = b"Content-Type: multipart/mixed; boundary=b; boundary=b\r\n"
    data = (
        head + b"\r\n--b\r\nContent-Disposition: inline; a=1; a=2\r\n\r\nx\r\n"
        b"--b\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n" + inner + b"\r\n--b--\r\n"
    )
    done = run("inspect", "-", "--tolerate", "duplicate-parameter", cwd=tmp_path, data=data)
    lines = done.stdout.decode().splitlines()
    told = [line.strip().partition(": ")[0] for line in lines[lines.index("deviations:") + 1 :]]
    found = document("-", "--tolerate", "duplicate-parameter", cwd=tmp_path, data=data)
    offsets = [it.get("offset") for it in found["deviations"]]
    assert [it.get("level") for it in found["deviations"]] == [None, [], [1]]
    assert told == [
        f"duplicate-parameter at byte {offsets[0]} of the header",
        f"repeated-parameter in part 0 at byte {offsets[1]} of the body",
        f"repeated-parameter in part 1.0 at byte {offsets[2]} of the body of part 1",
    ]


def test_the_whole_of_an_inner_multipart_is_measured(tmp_path: Path) -> None:
    inner = nested([("a", "b")], boundary="inner")
    told = document("-", cwd=tmp_path, data=body([inner, ("c", "d")]))
    multipart, last = told["parts"]
    assert multipart["size"] == len(inner.data)
    assert multipart["sha256"] == hashlib.sha256(inner.data).hexdigest()
    assert (last["path"], last["name"]) == ([1], "c")


def test_a_body_whose_type_is_told(tmp_path: Path) -> None:
    data = b"before\r\n--b c\r\n\r\none\r\n--b c--\r\n"
    told = document("-", "--boundary", "b c", "--type", "related", cwd=tmp_path, data=data)
    assert (told["content_type"], told["parts"][0]["size"]) == ("multipart/related", 3)
    told = document("-", "--type", 'multipart/x; boundary="b c"', cwd=tmp_path, data=data)
    assert (told["content_type"], told["boundary"]) == ("multipart/x", "b c")


def test_a_cut_file_shows_what_was_whole(tmp_path: Path) -> None:
    cut = FORM[: len(FORM) // 2]
    done = run("inspect", "-", cwd=tmp_path, data=cut)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[1:] == ['  0 text/plain name="user" 3 bytes']
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("mpflow inspect: expected the close delimiter")
    assert f"at byte {len(cut)}" in line
    told = document("-", cwd=tmp_path, data=cut, code=1)
    assert [part["name"] for part in told["parts"]] == ["user"]
    assert told["error"]["offset"] == len(cut)


def test_offsets_in_a_mail_say_where_its_body_begins(tmp_path: Path) -> None:
    whole = mail()
    head = whole.index(b"\r\n\r\n") + 4
    done = run("inspect", "-", cwd=tmp_path, data=whole[:-300])
    assert done.returncode == 1
    line = done.stderr.decode()
    assert f"at byte {len(whole) - 300 - head})" in line
    assert line.endswith(f"; the body begins at byte {head} of the file\n")
    assert b"  1 image/gif" in done.stdout
    assert b"  2 image/gif" not in done.stdout


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("size", [65_533, 65_535, 700_000])
def test_offsets_in_a_mail_with_a_long_header_block(tmp_path: Path, size: int, end: bytes) -> None:
    line = b"X: " + b"x" * 65 + end
    head = b"Content-Type: multipart/mixed; boundary=b" + end
    head += line * ((size - len(head)) // len(line))
    head += b"Y:" + b"y" * (size - len(head) - 2 - 2 * len(end)) + 2 * end
    data = head + b"--b" + 2 * end + b"one"
    (tmp_path / "cut.eml").write_bytes(data)
    for arguments, text in ((["cut.eml"], b""), (["-"], b"From me" + end)):
        start = len(text) + len(head)
        done = run("inspect", *arguments, cwd=tmp_path, data=text + data)
        says = f"; the body begins at byte {start} of the file\n".encode()
        assert done.stderr.endswith(says), done.stderr
        told = document(*arguments, cwd=tmp_path, data=text + data, code=1)
        assert told["body_start"] == start


def test_a_mail_out_of_a_mailbox(tmp_path: Path) -> None:
    envelope = b"From ada@example.org Tue Jul  7 22:47:39 2009\n"
    whole = mail(stored=True)
    told = document("-", cwd=tmp_path, data=envelope + whole)
    assert told["parts"] == document("-", cwd=tmp_path, data=whole)["parts"]
    assert told["body_start"] == len(envelope) + whole.index(b"\n\n") + 2


def test_a_mail_without_a_body(tmp_path: Path) -> None:
    whole = mail()
    head = whole.index(b"\r\n\r\n") + 4
    done = run("inspect", "-", cwd=tmp_path, data=whole[:head])
    assert done.returncode == 1
    assert done.stderr.decode().endswith(
        f"and the body is empty (at byte 0); the body begins at byte {head} of the file\n"
    )
    assert document("-", cwd=tmp_path, data=whole[:head], code=1)["error"]["offset"] == 0


def test_an_offset_in_the_headers_of_a_mail_is_one_in_the_file(tmp_path: Path) -> None:
    head = b"Subject: x\r\nContent-Type: multipart/mixed; boundary*=utf-8''b\r\n\r\n"
    done = run("inspect", "-", cwd=tmp_path, data=head + b"--b--\r\n")
    assert done.returncode == 1
    assert b"the body begins" not in done.stderr


def test_an_empty_part_inside_is_named(tmp_path: Path) -> None:
    data = (
        b"--a\r\n\r\none\r\n--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\r\n--a--\r\n"
    )
    done = run("inspect", "-", cwd=tmp_path, data=data)
    assert done.returncode == 1
    assert done.stderr.endswith(b"the body is empty (in part 1)\n")


def test_a_broken_part_inside_leaves_the_others(tmp_path: Path) -> None:
    data = (
        b"--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n"
        b"--a\r\nContent-Type: multipart/mixed\r\n\r\nno boundary\r\n"
        b"--a\r\nContent-Transfer-Encoding: base64\r\n\r\n????\r\n"
        b"--a\r\n\r\nlast\r\n--a--\r\n"
    )
    done = run("inspect", "-", cwd=tmp_path, data=data)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.decode().splitlines()[1:]] == [
        "0", "1", "2", "3",
    ]  # fmt: skip
    said = done.stderr.decode().splitlines()
    assert [word in line for word, line in zip(
        ("close delimiter", "boundary", "base64"), said, strict=True
    )] == [True] * 3  # fmt: skip
    told = document("-", cwd=tmp_path, data=data, code=1)
    assert "error" not in told
    assert len(told["problems"]) == 3
    assert told["parts"][3]["size"] == 4


def test_what_a_client_sent_cannot_move_the_cursor(tmp_path: Path) -> None:
    data = (
        b'--a\r\nContent-Disposition: form-data; name="\xc2\x9b31m\xe2\x80\xae\xff"\r\n\r\n\r\n'
        b"--a--\r\n"
    )
    done = run("inspect", "-", cwd=tmp_path, data=data)
    assert b'name="\\x9b31m\\u202e\\udcff"' in done.stdout
    told = document("-", cwd=tmp_path, data=data)
    assert told["parts"][0]["name"] == "\x9b31m\u202e\udcff"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("", "'': No such file or directory"),
        ("folder", "folder: Is a directory"),
        ("/proc/self/mem", "/proc/self/mem: Input/output error"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, file: str, says: str) -> None:
    (tmp_path / "folder").mkdir()
    done = run("inspect", file, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"mpflow inspect: {says}\n"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "expected a header block"),
        (b"just text\n", "expected a header block"),
        (b"Content-Type: text/plain\r\n\r\ntext", "got 'text/plain'"),
        (b"Subject: none\r\n\r\ntext", "content type"),
    ],
)
def test_what_is_no_multipart(tmp_path: Path, data: bytes, says: str) -> None:
    done = run("inspect", "-", cwd=tmp_path, data=data)
    assert (done.returncode, done.stdout) == (1, b"")
    assert says in done.stderr.decode()


def test_ambiguities_are_accepted_by_name(tmp_path: Path) -> None:
    data = b'--a\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\n\r\n--a--\r\n'
    assert run("inspect", "-", cwd=tmp_path, data=data).returncode == 1
    told = document("-", "--tolerate", "duplicate-parameter", cwd=tmp_path, data=data)
    assert told["parts"][0]["name"] == "a"
    assert told["deviations"][0]["code"] == "duplicate-parameter"


def test_a_file_that_is_missing_is_one_line(tmp_path: Path) -> None:
    done = run("inspect", "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"mpflow inspect: nowhere: No such file or directory\n"
    assert run("inspect", ".", cwd=tmp_path).stderr == b"mpflow inspect: .: Is a directory\n"


@pytest.mark.parametrize("arguments", [(), ("a", "--tolerate", "everything"), ("a", "b")])
def test_a_wrong_command_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert run("inspect", *arguments, cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--type", "multi part"),
        ("--type", ""),
        ("--type", "text/plain"),
        ("--type", "mixed/"),
        ("--type", "multipart/"),
        ("--type", "mixed x"),
        ("--type", "mïxed"),
        ("--boundary", ""),
        ("--boundary", "käse"),
        ("--boundary", "a\tb"),
        ("--boundary", "a "),
    ],
)
def test_a_type_or_a_boundary_that_is_none(tmp_path: Path, option: str, text: str) -> None:
    (tmp_path / "form").write_bytes(FORM)
    done = run("inspect", "form", option, text, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().rstrip().endswith(f"got {text!a}")
    assert f"argument {option}: expected" in done.stderr.decode()


@pytest.mark.parametrize(
    "text", ["related", "multipart/related", "Related; a=b/c", "multipart/related; boundary=x"]
)
def test_types_of_a_body(tmp_path: Path, text: str) -> None:
    told = document("-", "--type", text, cwd=tmp_path, data=b"--x\r\n\r\n1\r\n--x--\r\n")
    assert (told["content_type"], told["boundary"]) == ("multipart/related", "x")


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    (tmp_path / "form").write_bytes(body([("name", "value")] * 5000))
    with subprocess.Popen(
        [*COMMAND, "inspect", "form"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) == 1
        assert process.stderr.read() == b""


def test_ctrl_c_while_it_waits_for_standard_input(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "inspect", "-"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        os.write(process.stdin.fileno(), FORM[:-20])
        process.stdout.readline()  # it has begun
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr.read() == b""
