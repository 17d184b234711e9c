"""Real clients against the real service: hard names, hard bytes, many at once, and large."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from mpflow import safe_filename
from tests.cli.service import Service
from tests.clients.clients import CLIENTS, NOTE

pytestmark = pytest.mark.clients

MIB = 1024 * 1024
GIB = 1024 * MIB

NAMES = [
    "plain.bin",
    'na"ïve 日本.txt',
    "semi;colon, comma=.txt",
    "100%20%.txt",
    "../../etc/passwd",
    "C:\\x\\y.txt",
    "🦊.png",
    "CON",
    "x" * 200 + ".txt",
]
CONTENTS = [
    b"",
    b"abc",
    b"\r\n",
    b"\r\n--",
    b"--\r\n\r\n--boundary\r\nContent-Disposition: form-data\r\n\r\n",
    b"\r\n------WebKitFormBoundary\r\n--\r" * 1000,
    bytes(range(256)) * 300,
    b"\r" * 70_000,
    os.urandom(700_000),
]


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return request.param


def on_the_wire(client: str, name: str) -> str:
    """What a client makes of a name. No other one does it."""
    if client == "aiohttp":  # quotes all that is not plain, and only the quotation mark is unquoted
        return quote(name, safe="").replace("%22", '"')
    return name


def test_names_and_bytes(client: str, service: Service, tmp_path: Path) -> None:
    files: list[tuple[str, Path]] = []
    for number, (name, content) in enumerate(zip(NAMES, CONTENTS, strict=True)):
        path = tmp_path / f"source{number}"
        path.write_bytes(content)
        files.append((name, path))
    ((status, document),) = CLIENTS[client](service.url, files)
    assert status == 200, document
    note, *parts = document["parts"]
    assert (note["name"], note["value"]) == ("note", NOTE)
    for name, content, part in zip(NAMES, CONTENTS, parts, strict=True):
        assert part["name"] == "file"
        expected = on_the_wire(client, name)
        assert part["filename"] == expected
        assert part["saved_as"] == safe_filename(expected)
        assert part["size"] == len(content)
        assert part["sha256"] == hashlib.sha256(content).hexdigest()
        assert (service.directory / part["saved_as"]).read_bytes() == content
    assert len(service.files()) == len(NAMES)


def test_fifty_at_once(client: str, service: Service, tmp_path: Path) -> None:
    content = os.urandom(MIB + 1)
    path = tmp_path / "source"
    path.write_bytes(content)
    answers = CLIENTS[client](service.url, [("same.bin", path)], 50)
    assert [status for status, _ in answers] == [200] * 50
    saved = {document["parts"][1]["saved_as"] for _, document in answers}
    assert service.files() == sorted(saved)
    assert len(saved) == 50
    for name in saved:
        assert (service.directory / name).read_bytes() == content


def test_a_refusal_reaches_the_client(client: str, bounded: Service, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(bytes(16 * MIB))
    ((status, document),) = CLIENTS[client](bounded.url, [("big.bin", path)])
    assert (status, document["limit"]) == (413, "max_total_bytes")
    assert bounded.files() == []


def test_the_readme_upload(service: Service, tmp_path: Path) -> None:
    """curl as the README calls it."""
    (tmp_path / "big.bin").write_bytes(os.urandom(5 * MIB))
    command = ["curl", "-sS", "-F", 'meta={"a":1};type=application/json', "-F", "file=@big.bin"]
    done = subprocess.run([*command, service.url], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"a": 1' in done.stdout
    assert (service.directory / "big.bin").read_bytes() == (tmp_path / "big.bin").read_bytes()


def test_four_gibibytes_take_no_memory(service: Service, tmp_path: Path) -> None:
    warm, big = tmp_path / "warm.bin", tmp_path / "big.bin"
    for path, size in ((warm, 64 * MIB), (big, 4 * GIB)):
        path.touch()
        os.truncate(path, size)  # a file of holes: zeros that take no space
    upload = ["curl", "-sS", service.url, "-F"]
    subprocess.run([*upload, f"file=@{warm}"], check=True, capture_output=True)
    service.forget_peak()
    before = service.memory("VmRSS")
    done = subprocess.run([*upload, f"file=@{big}"], check=True, capture_output=True, text=True)
    growth = service.memory("VmHWM") - before
    stored = service.directory / "big.bin"
    try:
        with big.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        assert f'"sha256": "{digest}"' in done.stdout
        assert f'"size": {4 * GIB}' in done.stdout
        assert stored.stat().st_size == 4 * GIB
    finally:
        stored.unlink(missing_ok=True)
    assert growth < 16 * MIB
