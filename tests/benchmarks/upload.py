"""E: curl uploads one large file to a real server, which stores it.

Knows: how server and client are run, and what is asked of each. Must not know: how a service stores
an upload, what is good.

The file that is sent comes out of the page cache. It is stored on a tmpfs where that has room, so
that no disk is measured; `save-disk` is the exception, since a sync costs nothing on a tmpfs. Where
each was stored stands in its result (`stored_on`).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.scenario import MIB, ROOT, Peer, Result, Scenario, environment, store

__all__ = ["UPLOAD"]

SIZES = {False: 512 * MIB, True: 64 * MIB}
WARM = 4 * MIB
SHARED = Path("/dev/shm")
PATIENCE = 120
"""Seconds that one upload may take."""

PEERS = [
    Peer("raw", "uvicorn"),
    Peer("reader", "uvicorn"),
    Peer("dispatch", "uvicorn"),
    Peer("save-unsynced", "uvicorn"),
    Peer("save", "uvicorn"),
    Peer("save-disk", "uvicorn"),
    Peer("aiohttp", "aiohttp"),
    Peer("aiohttp-64k-uvloop", "aiohttp"),
    Peer("starlette", "starlette"),
]
"""`raw` is the floor: it writes the stream as it comes. Whatever has no `aiohttp` in its name runs
on uvicorn with uvloop and httptools."""


def prepare(quick: bool) -> None:
    """Make the files that are sent."""
    if shutil.which("curl") is None:
        raise FileNotFoundError("expected curl to be installed")
    for size in (WARM, SIZES[quick]):
        path = _source(size)
        if not path.exists() or path.stat().st_size != size:
            block = random.Random(1).randbytes(WARM)
            with path.open("wb") as file:
                for _ in range(size // WARM):
                    file.write(block)


def run(peer: str, quick: bool) -> Result:
    """One upload to a server of its own, after a small one; that server's cost."""
    prepare(quick)
    size = SIZES[quick]
    with _folder(2 * size, on_disk=peer == "save-disk") as folder, _server(peer, folder) as port:
        _upload(port, WARM)
        _ask(port, "/begin")
        seconds, told = _upload(port, size)
        cost = _ask(port, "/end")
        where = _kind(folder)
    extra = told["stored"] - size  # of the bare stream: the delimiters and the headers
    assert 0 < extra < 4096 if peer == "raw" else extra == 0, told
    return {
        "seconds": seconds,
        "first": told["first"],
        **cost,
        "parts": 1,
        "bytes": size,
        "wire": size,
        "runs": 1,
        "stored_on": where,
    }


def _source(size: int) -> Path:
    return store() / f"upload-{size // MIB}.bin"


@contextmanager
def _folder(room: int, *, on_disk: bool) -> Generator[Path]:
    """Where a service stores: in shared memory, or where all files of the benchmarks are."""
    shared = not on_disk and os.access(SHARED, os.W_OK)
    is_shared = shared and shutil.disk_usage(SHARED).free >= room
    with TemporaryDirectory(
        dir=SHARED if is_shared else store(), prefix="mpflow-upload-"
    ) as folder:
        yield Path(folder)


def _kind(folder: Path) -> str:
    """The kind of file system that a folder is on, where the system tells (Linux)."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return "unknown"
    mounts = [line.split()[1:3] for line in lines]
    found = [(at, kind) for at, kind in mounts if folder.resolve().is_relative_to(at)]
    return max(found, key=lambda mount: len(mount[0]))[1]


@contextmanager
def _server(peer: str, folder: Path) -> Generator[int]:
    """A server in a process of its own; its port."""
    way = "save" if peer == "save-disk" else peer
    with socket.socket() as listener:
        # Linux hands it on to each connection; uvicorn sets it on none of a socket it is given.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # from now on clients wait in its queue
        port: int = listener.getsockname()[1]
        fd = listener.fileno()
        command = [sys.executable, "-m", "tests.benchmarks.services.serve"]
        command += [way, str(fd), str(folder)]
        process = subprocess.Popen(
            command, pass_fds=[fd], cwd=ROOT, env=environment(), stdout=sys.stderr
        )
    with process:
        try:
            yield port
        finally:
            process.kill()  # nothing in it has to be kept


def _upload(port: int, size: int) -> tuple[float, dict[str, Any]]:
    """Seconds from curl's first step to the whole answer, and the answer."""
    command = ["curl", "-sS", "--noproxy", "*", "--max-time", str(PATIENCE)]
    command += ["-F", f"file=@{_source(size)}", "-w", "\n%{http_code} %{time_total}"]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=False
    )
    answer, _, end = done.stdout.rpartition("\n")
    assert done.returncode == 0, done.stderr
    status, seconds = end.split()
    assert status == "200", answer
    return float(seconds), json.loads(answer)


def _ask(port: int, path: str) -> dict[str, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        told: dict[str, Any] = json.loads(connection.getresponse().read())
        return told
    finally:
        connection.close()


UPLOAD = Scenario(
    "E", "512 MiB uploaded by curl to a real server that stores them", PEERS, run, prepare
)
