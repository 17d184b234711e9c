"""`mpflow extract`: each part as a file, whole or not at all, and nothing overwritten."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
from pathlib import Path

import pytest

from mpflow import PartInfo
from mpflow.cli.extract import name_of
from mpflow.cli.names import filename_of
from mpflow.testing import PartSpec, body, nested
from tests.cli.command import COMMAND, GIF, PATIENCE, mail, run

FORM = body([("user", "Ada"), PartSpec(name="photo", filename="photo.gif", data=GIF)])


def files(folder: Path) -> dict[str, bytes]:
    """All files in a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_form(tmp_path: Path) -> None:
    (tmp_path / "form").write_bytes(FORM)
    done = run("extract", "form", "-d", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"out/user.txt\nout/photo.gif\n"
    assert files(tmp_path / "out") == {"user.txt": b"Ada", "photo.gif": GIF}


@pytest.mark.parametrize("stored", [False, True])
def test_a_mail(tmp_path: Path, stored: bool) -> None:
    data = mail(stored=stored)
    done = run("extract", "-", "-d", tmp_path / "out", cwd=tmp_path, data=data)
    assert (done.returncode, done.stderr) == (0, b"")
    found = files(tmp_path / "out")
    assert found.keys() == {"part-0.0.txt", "part-0.1.html", "bild.gif", "bild-1.gif"}
    assert found["part-0.0.txt"].decode().splitlines() == ["Käse"]
    assert found["part-0.1.html"].decode().strip() == "<p>Käse"
    assert (found["bild.gif"], found["bild-1.gif"]) == (GIF, GIF[::-1])


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photo.gif").write_bytes(b"mine")
    done = run("extract", "-", cwd=tmp_path, data=FORM)
    assert done.stdout == b"user.txt\nphoto-1.gif\n"
    assert files(tmp_path) == {"photo.gif": b"mine", "user.txt": b"Ada", "photo-1.gif": GIF}


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "/etc/shadow", "..", "C:\\boot.ini", ".profile", "-rf"]
    data = body([PartSpec(name="f", filename=name, data=b"x") for name in names])
    assert run("extract", "-", "-d", "out", cwd=tmp_path, data=data).returncode == 0
    assert files(tmp_path / "out").keys() == {
        "passwd", "shadow", "unnamed", "boot.ini", "profile", "rf",
    }  # fmt: skip
    assert os.listdir(tmp_path) == ["out"]


def test_codings_are_undone(tmp_path: Path) -> None:
    data = (
        b"--a\r\nContent-Encoding: gzip\r\nContent-Disposition: attachment; filename=x\r\n\r\n"
        + gzip.compress(GIF)
        + b"\r\n--a--\r\n"
    )
    assert run("extract", "-", cwd=tmp_path, data=data).returncode == 0
    assert files(tmp_path) == {"x": GIF}


def test_a_cut_file_leaves_what_was_whole(tmp_path: Path) -> None:
    done = run("extract", "-", "-d", "out", cwd=tmp_path, data=FORM[: len(FORM) // 2])
    assert (done.returncode, done.stdout) == (1, b"out/user.txt\n")
    assert done.stderr.startswith(b"mpflow extract: expected the close delimiter")
    assert files(tmp_path / "out") == {"user.txt": b"Ada"}


def test_a_broken_part_leaves_those_after_it(tmp_path: Path) -> None:
    data = (
        b"--a\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA????\r\n"
        b"--a\r\nContent-Encoding: smoke\r\n\r\nsignals\r\n"
        b"--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\n\r\none\r\n--b\r\n\r\ntw\r\n"
        b"--a\r\n\r\nlast\r\n--a--\r\n"
    )
    done = run("extract", "-", cwd=tmp_path, data=data)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 3
    assert files(tmp_path) == {"part-2.0.txt": b"one", "part-3.txt": b"last"}


def test_inner_parts(tmp_path: Path) -> None:
    data = body([nested([("a", "b")], boundary="inner"), ("c", "d")])
    assert run("extract", "-", cwd=tmp_path, data=data).returncode == 0
    assert files(tmp_path) == {"a.txt": b"b", "c.txt": b"d"}


@pytest.mark.parametrize(
    ("info", "name"),
    [
        (PartInfo.of(name="a/b", content_type="image/png"), "b.png"),
        (PartInfo.of(content_type="application/x-unheard-of", path=(0, 3)), "part-0.3.bin"),
        (PartInfo.of(name="..", path=(2,)), "part-2.txt"),
        (PartInfo.of(filename="a.tar.gz", name="b"), "a.tar.gz"),
        (PartInfo.of(filename="", name="b"), "b.txt"),
        (PartInfo.of({"Content-Location": "http://a/b/c%20d.txt?e=f.g#h"}), "c d.txt"),
        (PartInfo.of({"Content-Location": "http://a/b.php", "Content-Type": "a/b"}), "b.php.bin"),
        (PartInfo.of({"Content-Location": "i.gif", "Content-Type": "image/png"}), "i.gif.png"),
        (PartInfo.of({"Content-Location": "http://a/x%2F..%2F.html"}), "html.txt"),
        (PartInfo.of({"Content-Location": "http://a/"}), "part-0.txt"),
        (PartInfo.of({"Content-Location": "http://[/x"}), "part-0.txt"),
        (PartInfo.of({"Content-Location": "cid:css-1@mhtml.blink"}), "part-0.txt"),
    ],
)
def test_names(info: PartInfo, name: str) -> None:
    assert name_of(info) == name


Q = "=?utf-8?q?"


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Content-Disposition": f'attachment; filename="{Q}K=C3=A4se.txt?="'}, "Käse.txt"),
        ({"Content-Type": f'image/png; name="{Q}a_b?= {Q}.png?="'}, "a b.png"),
        # A character that two words share, and a language.
        ({"Content-Type": f'a/b; name="{Q}=C3?= =?UTF-8*de?B?pC5wbmc=?="'}, "ä.png"),
        ({"Content-Type": 'a/b; name="=?koi8-r?B?98XE?= =?iso-8859-1?q?=E4?=.x"'}, "Ведä.x"),
        ({"Content-Type": f'a/b; name="1 {Q}2?= 3 {Q}4?= 5.x"'}, "1 2 3 4 5.x"),
        # What cannot be decoded stays as it is.
        ({"Content-Type": 'a/b; name="=?utf-7?q?x?=.x"'}, "=?utf-7?q?x?=.x"),
        ({"Content-Type": 'a/b; name="=?utf-8?b?A?=.x"'}, "=?utf-8?b?A?=.x"),
        ({"Content-Type": 'a/b; name="=?utf-8?q?=FF?=.x"'}, "\ufffd.x"),
        # The disposition counts before the content type; a form has no encoded words.
        ({"Content-Type": "a/b; name=x", "Content-Disposition": "inline; filename=y"}, "y"),
        ({"Content-Disposition": f'form-data; name=a; filename="{Q}x?="'}, f"{Q}x?="),
        ({"Content-Type": "a/b; name=x", "Content-Disposition": "form-data; name=a"}, None),
        ({"Content-Type": "a/b"}, None),
        ({"Content-Type": "text; name=x"}, None),
        ({}, None),
    ],
)
def test_the_filename_of_a_mail(headers: dict[str, str], name: str | None) -> None:
    assert filename_of(PartInfo.of(headers)) == name


def test_a_filename_in_encoded_words_leads_nowhere(tmp_path: Path) -> None:
    data = (
        b'--a\r\nContent-Type: image/png; name="=?utf-8?b?Li4vLi4vZXRjL3Bhc3N3ZA==?="\r\n\r\nx\r\n'
        b"--a--\r\n"
    )
    assert run("extract", "-", "-d", "out", cwd=tmp_path, data=data).returncode == 0
    assert files(tmp_path / "out") == {"passwd": b"x"}
    assert os.listdir(tmp_path) == ["out"]


def test_no_multipart_makes_no_folder(tmp_path: Path) -> None:
    done = run("extract", "-", "-d", "out", cwd=tmp_path, data=b"text")
    assert (done.returncode, done.stdout) == (1, b"")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("extract", "-", "-d", "file", cwd=tmp_path, data=FORM)
    assert done.returncode == 1
    assert done.stderr == b"mpflow extract: file: File exists\n"


def test_no_folder_is_named(tmp_path: Path) -> None:
    done = run("extract", "-", "-d", "", cwd=tmp_path, data=FORM)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"mpflow extract: expected a path after -d, or . for the current folder\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_partial(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [*COMMAND, "extract", "-"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        os.write(process.stdin.fileno(), FORM[:-200])
        assert process.stdout.readline() == b"user.txt\n"
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number
        assert process.stderr.read() == b""
    assert files(tmp_path) == {"user.txt": b"Ada"}
