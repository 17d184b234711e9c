"""`mpflow inspect` and `mpflow extract` on pages that Chromium has saved from a real server."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import threading
import zlib
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import run
from tests.clients.chromium import save_page
from tests.conformance.mails import leaves, tree

pytestmark = pytest.mark.clients


def png(width: int, height: int, seed: int) -> bytes:
    """An image of noise."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    chance = random.Random(seed)
    rows = b"".join(b"\0" + chance.randbytes(3 * width) for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


IMAGES = {"/small.png": png(8, 8, 1), "/bilder/gro%C3%9F.png": png(300, 200, 2)}
IMAGES |= {"/hintergrund.png": png(16, 16, 3), "/inner.png": png(20, 20, 4)}
PAGES: dict[str, tuple[str, bytes]] = {
    "/": (
        "text/html; charset=utf-8",
        '<!doctype html><meta charset="utf-8"><title>Grüße, 世界 🦊</title>'
        '<link rel="stylesheet" href="style.css"><h1>Grüße</h1><p class="x">--b\r\n--b--'
        '<img src="small.png"><img src="bilder/groß.png">'
        '<iframe src="inner.html"></iframe>'.encode(),
    ),
    "/style.css": (
        "text/css",
        b".x { background: url(hintergrund.png) } /* = */",
    ),
    "/inner.html": ("text/html; charset=utf-8", b'<title>inner</title><img src="inner.png">'),
    **{path: ("image/png", data) for path, data in IMAGES.items()},
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind, data = PAGES.get(self.path, ("", b""))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def saved(served: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save_page(served + "/", tmp_path_factory.mktemp("profile"))


def test_the_tree(served: str, saved: bytes, tmp_path: Path) -> None:
    (tmp_path / "page.mhtml").write_bytes(saved)
    done = run("inspect", "--json", "page.mhtml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    told: Any = json.loads(done.stdout)
    assert told["content_type"] == "multipart/related"
    assert told["deviations"] == []
    found = {it["content_location"]: it for it in told["parts"]}
    assert found.keys() == {served + path for path in PAGES}
    for path, (kind, data) in PAGES.items():
        part = found[served + path]
        assert part["content_type"] == kind.partition(";")[0]
        if path in IMAGES:
            assert part["decoded_sha256"] == hashlib.sha256(data).hexdigest()
    # A second opinion, of an independent reader.
    assert list(leaves(told["parts"])) == list(tree(message_from_bytes(saved, policy=default)))


def test_the_lines(served: str, saved: bytes, tmp_path: Path) -> None:
    done = run("inspect", "-", cwd=tmp_path, data=saved)
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("multipart/related boundary=")
    assert len(lines) == 1 + len(PAGES)
    assert any(f' location="{served}/small.png" ' in line for line in lines)


def test_the_files(saved: bytes, tmp_path: Path) -> None:
    (tmp_path / "page.mhtml").write_bytes(saved)
    done = run("extract", "page.mhtml", "-d", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert len(files) == len(PAGES)
    assert files["small.png"] == IMAGES["/small.png"]
    assert files["groß.png"] == IMAGES["/bilder/gro%C3%9F.png"]
    assert files["hintergrund.png"] == IMAGES["/hintergrund.png"]
    assert files["inner.png"] == IMAGES["/inner.png"]
    assert "Grüße, 世界 🦊" in files["part-0.html"].decode()
    assert b"inner" in files["inner.html"]
    assert b".x" in files["style.css"]


def test_a_page_that_is_cut(saved: bytes, tmp_path: Path) -> None:
    whole = json.loads(run("inspect", "--json", "-", cwd=tmp_path, data=saved).stdout)["parts"]
    for place in range(len(saved) // 7, len(saved), len(saved) // 7):
        if place >= saved.rindex(b"--", 0, -2) - 70:
            break
        done = run("inspect", "--json", "-", cwd=tmp_path, data=saved[:place])
        assert done.returncode == 1
        told = json.loads(done.stdout)
        assert told["error"]["offset"] + told.get("body_start", 0) == place
        assert told["parts"] == whole[: len(told["parts"])]
        assert len(told["parts"]) < len(whole)
