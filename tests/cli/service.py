"""A real `mpflow serve` in a process of its own, and what tests want to do with it.

Knows: the command line, HTTP by hand, and Linux's /proc.
Must not know: how the service is built.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import attrs

from mpflow.testing import content_type_of

BACKENDS = ["asyncio", "trio"]
PATIENCE = 30.0
"""Seconds that anything may take on a busy machine."""


@attrs.frozen
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def parts(self) -> list[dict[str, Any]]:
        assert self.status == 200, self.body
        return self.document["parts"]


@attrs.define(eq=False)
class Service:
    """The service, its directory, and its output."""

    process: subprocess.Popen[str]
    directory: Path
    errors: Path
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"

    def files(self) -> list[str]:
        """All names in its directory, temporary ones too."""
        return sorted(os.listdir(self.directory))

    def stderr(self) -> str:
        return self.errors.read_text("utf-8")

    # -- requests -----------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str = "/",
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        connection = HTTPConnection(self.host, self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        finally:
            connection.close()

    def post(
        self, body: bytes | Iterable[bytes], content_type: str | None = None, **headers: str
    ) -> Reply:
        kind = content_type_of() if content_type is None else content_type
        return self.request("POST", "/", body, {"Content-Type": kind, **headers})

    @contextmanager
    def upload(self, head: bytes, *, length: int, **headers: str) -> Iterator[socket.socket]:
        """A request that says it has `length` bytes, and so far sent `head`."""
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        with socket.create_connection((self.host, self.port), timeout=PATIENCE) as client:
            client.sendall(
                f"POST / HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: {length}\r\n"
                f"Content-Type: {content_type_of()}\r\n{more}\r\n".encode()
            )
            client.sendall(head)
            yield client

    # -- what it is doing ---------------------------------------------------------------------

    def staged(self) -> list[int]:
        """The sizes of the files in its directory that it has open."""
        sizes: list[int] = []
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                if os.readlink(link).startswith(f"{self.directory}/"):
                    sizes.append(link.stat().st_size)
            except FileNotFoundError:
                continue  # closed since it was listed
        return sizes

    def memory(self, field: str) -> int:
        """Bytes of its memory: `VmRSS` now, `VmHWM` at most since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", "ascii")

    def until(self, condition: Callable[[], object]) -> None:
        """Ask the service for its page, again and again, until the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"nothing came of it; {self.stderr()}"
            assert self.request("GET").status == 200

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def running(
    folder: Path,
    backend: str,
    *options: str,
    config: Path | None = None,
    store: str | None = None,
    env: dict[str, str] | None = None,
) -> Iterator[Service]:
    """A service that runs while the block does; it must end well and have said nothing else."""
    directory, errors = folder / "inbox", folder / "stderr"
    what = [store or str(directory)] if config is None else ["-c", str(config)]
    command = [sys.executable, "-m", "mpflow", "serve", *what, "--bind", "127.0.0.1:0"]
    with (
        errors.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            [*command, "--backend", backend, *options],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
            env={**os.environ, **(env or {})},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
            line = process.stdout.readline() if ready else ""
            found = re.fullmatch(r"mpflow: serving (.+) at http://(.+):(\d+)/ on (\w+); .*\n", line)
            assert found is not None, line + errors.read_text("utf-8")
            assert (found[1], found[4]) == (what[-1], backend)
            service = Service(process, directory, errors, found[2], int(found[3]))
            yield service
            if process.poll() is None:
                assert service.stop() == 0, service.stderr()
                assert process.stdout.read() == ""
                assert "Traceback" not in service.stderr()
        finally:
            process.kill()
