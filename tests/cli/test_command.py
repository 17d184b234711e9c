"""The command line: what it accepts, what it says, and its exit codes."""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path

import pytest

from mpflow.cli import COMMANDS, main, serve


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args(arguments)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "mpflow 0.1.0\n"


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: mpflow" in err
    assert "serve" in err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("DIR", "--config", "--bind", "--backend", "--max-bytes"))
    assert "127.0.0.1:8000" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["serve"], "expected a DIR or a URL, or -c FILE with the routes"),
        (["serve", ""], "expected a DIR or a URL, got ''"),
        (["serve", "inbox", "--backend", "curio"], "invalid choice: 'curio'"),
        (["serve", "inbox", "--bind", "8000"], "expected HOST:PORT"),
        (["serve", "inbox", "--bind", ":8000"], "expected HOST:PORT"),
        (["serve", "inbox", "--bind", "::1:8000"], "expected HOST:PORT"),
        (["serve", "inbox", "--bind", "127.0.0.1:65536"], "the port at most 65535"),
        (["serve", "inbox", "--max-bytes", "many"], "expected a size such as 65536 or '2 GiB'"),
        (["serve", "inbox", "--max-bytes", "-1"], "expected"),
        (["serve", "inbox", "--grace", "soon"], "expected seconds, 0 or more, got 'soon'"),
        (["serve", "inbox", "--grace", "-1"], "expected seconds, 0 or more"),
        (["serve", "inbox", "--grace", "nan"], "expected seconds, 0 or more"),
        (["serve", "inbox", "--grace", "inf"], "expected seconds, 0 or more"),
        (["serve", "inbox", "--endpoint", "http://x"], "expected the URL of a store"),
        (["serve", "ftp://x/"], "expected the URL of a store, got 'ftp://x/'"),
    ],
)
def test_a_wrong_command_line(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # where the tests are started, the service may have made its folder
    assert main(arguments) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_options() -> None:
    assert vars(parse("inbox")) == {
        "where": "inbox",
        "config": None,
        "bind": ("127.0.0.1", 8000),
        "backend": "asyncio",
        "max_bytes": None,
        "token_file": None,
        "grace": 20.0,
        "endpoint": None,
    }
    assert parse("-c", "routes.toml").where is None
    assert parse("-c", "routes.toml").config == "routes.toml"
    assert parse("inbox", "--bind", "[::1]:0").bind == ("::1", 0)
    assert parse("inbox", "--bind", "localhost:80").bind == ("localhost", 80)
    assert parse("inbox", "--max-bytes", "2 GiB").max_bytes == 2 * 1024**3
    assert parse("inbox", "--max-bytes", "65536").max_bytes == 65536


@pytest.mark.parametrize("missing", ["hypercorn", "trio"])
def test_a_missing_server_is_one_line_that_names_the_extra(
    missing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)  # as if it were not installed
    assert main(["serve", str(tmp_path / "inbox"), "--backend", "trio"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert missing in line
    assert "pip install 'multipart-flow[serve]'" in line
    assert not (tmp_path / "inbox").exists()


def test_a_port_in_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["serve", str(tmp_path / "inbox"), "--bind", address]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"mpflow serve: {address}: Address already in use\n"


def test_a_host_without_an_address_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # RFC 6761, 6.4: such a name never resolves.
    assert main(["serve", str(tmp_path), "--bind", "nowhere.invalid:0"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mpflow serve: nowhere.invalid:0: ")


def test_a_file_in_place_of_the_directory_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert main(["serve", str(file), "--bind", "127.0.0.1:0"]) == 1
    assert capsys.readouterr().err == f"mpflow serve: {file}: File exists\n"


def test_a_directory_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve.os, "access", lambda path, mode: False)  # root may write anywhere
    assert main(["serve", str(tmp_path), "--bind", "127.0.0.1:0"]) == 1
    assert capsys.readouterr().err == f"mpflow serve: {tmp_path}: Permission denied\n"


def test_ctrl_c_before_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        HELP = "nothing"

        def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

        def run(self, options: argparse.Namespace) -> int:
            raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "interrupted", Interrupted())
    assert main(["interrupted"]) == 130
