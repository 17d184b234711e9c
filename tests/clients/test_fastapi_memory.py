"""FastAPI takes 200 MiB through a handler that is slower than the client, within a few MiB.

Knows: HTTP, Linux's /proc, the servers' command lines. Must not know: how the library does it.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import httpx
import pytest

pytestmark = pytest.mark.clients

MIB = 1024 * 1024
SIZE = 200 * MIB
PATIENCE = 120.0

APP = """\
from typing import Annotated

import anyio
import attrs
from fastapi import FastAPI

from mpflow import Limits, Part, Router
from mpflow.integrations.fastapi import Multipart, install

router = Router(limits=Limits(max_part_bytes=None, max_total_bytes=None))

@router.route(name="file")
async def slow(part: Part) -> int:
    size = since = 0
    async for chunk in part:
        size += len(chunk)
        since += len(chunk)
        if since > 4_000_000:
            since = 0
            await anyio.sleep(0.05)
    return size

@attrs.frozen
class Upload:
    file: int

app = FastAPI()
install(app)

@app.post("/")
async def upload(new: Annotated[Upload, Multipart(router, into=Upload)]) -> int:
    return new.file
"""

SERVERS = {
    "uvicorn-h11": ["uvicorn", "main:app", "--http", "h11", "--fd", "{fd}"],
    "uvicorn-httptools": ["uvicorn", "main:app", "--http", "httptools", "--fd", "{fd}"],
    "hypercorn-trio": ["hypercorn", "main:app", "-k", "trio", "-w", "0", "-b", "fd://{fd}"],
}


@attrs.frozen
class Served:
    process: subprocess.Popen[bytes]
    url: str

    def memory(self, field: str) -> int:
        """Bytes of its memory: `VmRSS` now, `VmHWM` at most since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", "ascii")


@pytest.fixture(params=SERVERS)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "main.py").write_text(APP, "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, fd = listener.getsockname()[1], listener.fileno()
        command = [part.format(fd=fd) for part in SERVERS[request.param]]
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[fd],
        )
    with process:
        try:
            yield Served(process, f"http://127.0.0.1:{port}/")
        finally:
            process.kill()


def upload(url: str, size: int) -> tuple[int, int]:
    chunk = bytes(256 * 1024)
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'

    def chunks() -> Iterator[bytes]:
        yield head
        for _ in range(size // len(chunk)):
            yield chunk
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = httpx.post(url, content=chunks(), headers=headers, timeout=PATIENCE)
    return answer.status_code, answer.json()


def test_memory_stays_flat(served: Served) -> None:
    assert upload(served.url, 8 * MIB) == (200, 8 * MIB)  # so that everything is imported
    served.forget_peak()
    before = served.memory("VmRSS")
    assert upload(served.url, SIZE) == (200, SIZE)
    assert served.memory("VmHWM") - before < 16 * MIB
