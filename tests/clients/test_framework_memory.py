"""200 MiB into each framework while its handler waits: the client waits too, and memory is flat."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import attrs
import pytest

from mpflow.testing import PartSpec, body, content_type_of
from tests.cli.service import PATIENCE
from tests.clients.servers import serving

pytestmark = pytest.mark.clients

MIB = 1024 * 1024
SIZE = 200 * MIB
MOST = 32 * MIB
"""What the server may grow by, and what may be under way in sockets."""
QUIET = 1.0
"""Seconds in which a socket takes no byte more, so that it is known that nobody reads."""

CASES = [
    *((name, server) for name in ("litestar", "falcon", "blacksheep")
      for server in ("uvicorn-httptools", "hypercorn-trio")),
    ("quart", "uvicorn-httptools"),
    ("quart_trio", "hypercorn-trio"),
    ("aiohttp", "aiohttp"),
]  # fmt: skip


@attrs.frozen
class Serving:
    """A server of one of the frameworks, a process."""

    pid: int
    port: int

    def memory(self, field: str) -> int:
        """Bytes of its memory, and of the processes that it started."""
        pids = [self.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
        return sum(self._memory_of(pid, field) for pid in pids)

    def _memory_of(self, pid: int, field: str) -> int:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
        found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        return 0 if found is None else int(found[1]) * 1024

    def ask(self, method: str, path: str) -> int:
        """The status of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with closing(connection):
            connection.request(method, path)
            return connection.getresponse().status

    def curl(self, folder: Path, content: bytes) -> bytes:
        """What is answered to curl, which sends a form with a file."""
        path = folder / 'na"ïve 日本.bin'
        path.write_bytes(content)
        quoted = str(path).replace('"', '\\"')
        url = f"http://127.0.0.1:{self.port}/upload"
        command = ["curl", "-sS", "--fail", "-F", f'file=@"{quoted}"', url]
        return subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE).stdout

    @contextmanager
    def upload(self, size: int) -> Iterator[socket.socket]:
        """A request that has sent its headers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as client:
            client.sendall(
                f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n"
                f"Content-Type: {content_type_of()}\r\nConnection: close\r\n\r\n".encode()
            )
            yield client


def send_what_is_taken(client: socket.socket, block: bytes) -> int:
    """Send until nobody takes a byte for a while; how many were taken."""
    sent = 0
    client.setblocking(False)
    while sent < SIZE and select.select([], [client], [], QUIET)[1]:
        sent += client.send(block[sent % len(block) :])
    client.settimeout(PATIENCE)
    return sent


@contextmanager
def serving_framework(name: str, server: str, folder: Path) -> Iterator[Serving]:
    app, env = ("of_aiohttp", {}) if name == "aiohttp" else ("app", {"FRAMEWORK": name})
    with serving(server, f"tests.clients.framework_apps:{app}", folder, env) as running:
        yield Serving(running.process.pid, running.port)


@pytest.mark.parametrize(("framework", "server"), CASES, ids=str)
def test_memory(framework: str, server: str, tmp_path: Path) -> None:
    start, end = body([PartSpec(b"|", name="file", filename="f")]).split(b"|")
    block = os.urandom(MIB)
    with serving_framework(framework, server, tmp_path) as served:
        # All is imported then, and what a first upload needs is there.
        assert served.ask("GET", "/go") == 204
        assert json.loads(served.curl(tmp_path, block)) == {"size": MIB}
        assert served.ask("GET", "/stop") == 204

        before = served.memory("VmRSS")
        with served.upload(len(start) + SIZE + len(end)) as client:
            client.sendall(start)
            sent = send_what_is_taken(client, block)
            assert sent < MOST
            assert served.memory("VmRSS") - before < MOST
            assert served.ask("GET", "/go") == 204
            while sent < SIZE:
                size = min(len(block) - sent % len(block), SIZE - sent)
                client.sendall(block[sent % len(block) :][:size])
                sent += size
            client.sendall(end)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert b'"size":%d' % SIZE in answer.replace(b" ", b""), answer
        assert served.memory("VmHWM") - before < MOST
