"""What `mpflow pack -o` does to what stands there already."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, PATIENCE, run

FORM = ["pack", "-F", "a=1", "--boundary", "b"]
BODY = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o755])
def test_a_file_keeps_its_mode(tmp_path: Path, bits: int) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"before")
    out.chmod(bits)
    before = out.stat().st_ino
    assert run(*FORM, "-o", "out", cwd=tmp_path).returncode == 0
    assert (out.read_bytes(), mode(out)) == (BODY, bits)
    assert out.stat().st_ino != before  # it was replaced, and not written over
    assert os.listdir(tmp_path) == ["out"]


def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'umask 027; "$@"', "sh", *COMMAND, *FORM, "-o", "out"],
        cwd=tmp_path,
        timeout=PATIENCE,
        stderr=subprocess.DEVNULL,
    )
    assert done.returncode == 0
    assert mode(tmp_path / "out") == 0o640


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("unlinked", [False, True])
def test_what_is_open_already_is_written_as_it_is(
    tmp_path: Path, path: str, unlinked: bool
) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    with (tmp_path / "log").open("ab+") as log:
        log.write(b"before\n")
        log.flush()
        number = os.fstat(log.fileno()).st_ino
        if unlinked:
            (tmp_path / "log").unlink()
        done = subprocess.run(
            [*COMMAND, *FORM, "-o", path],
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
        )
        assert done.returncode == 0
        log.write(b"after\n")
        log.seek(0)
        assert log.read() == b"before\n" + BODY + b"after\n"
    assert (tmp_path / "log").exists() is not unlinked
    assert unlinked or (tmp_path / "log").stat().st_ino == number


@pytest.mark.parametrize("number", [0, 77, 10**30])
def test_a_descriptor_that_cannot_be_written(tmp_path: Path, number: int) -> None:
    with (tmp_path / "in").open("wb+") as given:
        given.write(b"kept")
    with (tmp_path / "in").open("rb") as given:
        done = subprocess.run(
            [*COMMAND, *FORM, "-o", f"/dev/fd/{number}"],
            cwd=tmp_path,
            stdin=given,
            capture_output=True,
            timeout=PATIENCE,
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert done.stderr.startswith(f"mpflow pack: /dev/fd/{number}: ".encode())
    assert (tmp_path / "in").read_bytes() == b"kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.touch(0o640)
    os.chown(out, 4321, 1234)
    assert run(*FORM, "-o", "out", cwd=tmp_path).returncode == 0
    assert (out.stat().st_uid, out.stat().st_gid, mode(out)) == (4321, 1234, 0o640)


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target = tmp_path / "far/target"
    target.write_bytes(b"before")
    target.chmod(0o600)
    (tmp_path / "link").symlink_to("far/target")
    assert run(*FORM, "-o", "link", cwd=tmp_path).returncode == 0
    assert os.readlink(tmp_path / "link") == "far/target"
    assert (target.read_bytes(), mode(target)) == (BODY, 0o600)
    assert (os.listdir(tmp_path / "far"), sorted(os.listdir(tmp_path))) == (
        ["target"], ["far", "link"],
    )  # fmt: skip


def test_a_link_to_nothing_makes_the_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    assert run(*FORM, "-o", "link", cwd=tmp_path).returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == BODY


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with subprocess.Popen(
        [*COMMAND, *FORM, "-o", "fifo"], cwd=tmp_path, stderr=subprocess.DEVNULL
    ) as process:
        assert (tmp_path / "fifo").read_bytes() == BODY
        assert process.wait(PATIENCE) == 0
    assert os.listdir(tmp_path) == ["fifo"]


def test_a_pipe_whose_reader_goes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(64 * 1024 * 1024)
    with subprocess.Popen(
        [*COMMAND, "pack", "-F", "f=@large", "-o", "fifo"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        with (tmp_path / "fifo").open("rb", buffering=0) as fifo:
            assert fifo.read(2) == b"--"
        assert process.wait(PATIENCE) == 1
        assert len(process.stderr.read().splitlines()) == 1  # the content type


@pytest.mark.parametrize(
    ("output", "code", "says"),
    [
        ("", 2, "mpflow pack: expected a path after -o, or - for standard output"),
        ("new/", 1, "mpflow pack: new/: Is a directory"),
        (".", 1, "mpflow pack: .: Is a directory"),
        ("no/where", 1, "mpflow pack: no/where: No such file or directory"),
        ("loop", 1, "mpflow pack: loop: Too many levels of symbolic links"),
        ("x" * 300, 1, f"mpflow pack: {'x' * 300}: File name too long"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, output: str, code: int, says: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    done = run(*FORM, "-o", output, cwd=tmp_path)
    assert (done.returncode, done.stderr.decode().splitlines(), done.stdout) == (code, [says], b"")
    assert os.listdir(tmp_path) == ["loop"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_what_was_there(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "out").write_bytes(b"before")
    with subprocess.Popen(
        [*COMMAND, "pack", "-F", "f=@-", "-o", "out"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"Content-Type: ")
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number
        assert process.stderr.read() == b""
    assert (tmp_path / "out").read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["out"]
