"""docs/examples/deployment/upload.sh, and a server that says what it is told to.

Knows: HTTP by hand, and where the script finds its tools.
Must not know: the service (`tests/clients/test_deployment.py`).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from mpflow import MultipartReader

pytestmark = pytest.mark.clients

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "deployment" / "upload.sh"
PATIENCE = 120.0
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@attrs.define(eq=False)
class Server:
    """Answers one request after the other, and keeps them."""

    listener: socket.socket
    answers: list[bytes] = attrs.field(factory=list[bytes])
    requests: list[bytes] = attrs.field(factory=list[bytes])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while self.answers:
            client, _ = self.listener.accept()
            with client:
                received = b""
                while not received.endswith(b"--\r\n"):
                    if not (more := client.recv(65536)):
                        return
                    received += more
                self.requests.append(received)
                client.sendall(self.answers.pop(0))

    def run(self, *arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
        """The script, while the answers are given."""
        thread = threading.Thread(target=self.serve, daemon=True)
        thread.start()
        done = subprocess.run(
            [shutil.which("sh") or "sh", SCRIPT, *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            **more,
        )
        if not self.answers:
            thread.join(PATIENCE)
        return done


@pytest.fixture
def server() -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Server(listener)


def file_in(request: bytes) -> tuple[str | None, bytes]:
    """The filename and the data of the one part of a request."""
    head, _, body = request.partition(b"\r\n\r\n")
    [kind] = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-type:")]

    async def read() -> tuple[str | None, bytes]:
        reader = MultipartReader(body, kind.partition(b":")[2].strip().decode())
        [found] = [(part.filename, await part.read()) async for part in reader]
        return found

    return anyio.run(read)


@pytest.mark.parametrize("broken", [b"", CONTINUE])
def test_it_tries_again_where_there_was_no_answer(
    server: Server, tmp_path: Path, broken: bytes
) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    server.answers = [broken, CREATED]
    done = server.run(tmp_path / "a.bin", server.url, "0" * 16)
    assert (done.returncode, len(server.requests)) == (0, 2)


@pytest.mark.parametrize(
    "name", ["report;v2.pdf", "a,b.txt", "a;type=b", "é ü", 'say "hi"', "back\\slash", '\\"']
)
def test_a_file_of_any_name(server: Server, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"the one")
    for part in (name.partition(";")[0], name.partition(",")[0]):
        if part != name:
            (tmp_path / part).write_bytes(b"another")
    server.answers = [CREATED]
    done = server.run(tmp_path / name, server.url, "0" * 16)
    assert done.returncode == 0, done.stderr
    filename, data = file_in(server.requests[0])
    assert data == b"the one"
    if not {'"', "\\"} & {*name}:  # versions of curl differ in how they write these
        assert filename == name


@pytest.mark.parametrize("name", ["-", "a\n", "a\nb", "\n\n", "-\n"])
def test_a_file_that_is_named_like_something_else(
    server: Server, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"the one")
    if stripped := name.rstrip("\n"):
        (tmp_path / stripped).write_bytes(b"the one" if stripped == name else b"another")
    server.answers = [CREATED]
    done = server.run(name, server.url, "0" * 16, cwd=tmp_path, input="of standard input")
    assert done.returncode == 0, done.stderr
    filename, data = file_in(server.requests[0])
    assert data == b"the one"
    assert "\n" in name or filename == name  # versions of curl differ in how they write these


@pytest.mark.parametrize("missing", ["curl", "sed"])
def test_a_tool_that_is_missing_is_told(server: Server, tmp_path: Path, missing: str) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in {"curl", "sed", "sleep"} - {missing}:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"needs {name}")
        (tools / name).symlink_to(found)
    done = server.run(tmp_path / "a.bin", server.url, "0" * 16, env={"PATH": str(tools)})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"upload.sh: expected {missing} among the commands in PATH\n"


def test_what_cannot_be_sent_is_not_tried(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    cases: list[tuple[list[str | Path], str]] = [
        ([tmp_path / "none", server.url], f"expected a file that can be read, got {tmp_path}/none"),
        ([tmp_path, server.url], f"expected a file that can be read, got {tmp_path}"),
        ([tmp_path / "a.bin"], "expected FILE URL [ID]"),
    ]
    for arguments, told in cases:
        done = server.run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"upload.sh: {told}\n"


@pytest.mark.parametrize("tool", ["uuidgen", "cat", "python3", None])
def test_an_id_is_made_up(server: Server, tmp_path: Path, tool: str | None) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    tools = tmp_path / "tools"
    tools.mkdir()
    own = [] if tool is None or tool == "uuidgen" else [tool]
    for name in ("curl", "sed", "sleep", *own):
        found = sys.executable if name == "python3" else shutil.which(name)
        if found is None or (name == "cat" and not os.path.exists("/proc/sys/kernel/random/uuid")):
            pytest.skip(f"needs {name}")
        (tools / name).symlink_to(found)
    made = str(uuid.uuid4())
    if tool == "uuidgen":
        (tools / tool).write_text(f"#!/bin/sh\necho {made}\n")
        (tools / tool).chmod(0o755)
    server.answers = [] if tool is None else [CREATED]
    done = server.run(tmp_path / "a.bin", server.url, env={"PATH": str(tools)})
    if tool is None:
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("upload.sh: expected an ID: ")
        return
    assert done.returncode == 0, done.stderr
    path = server.requests[0].split(b" ")[1].decode()
    given = path.removeprefix("/uploads/")
    assert str(uuid.UUID(given)) == given
    assert tool != "uuidgen" or given == made
