"""Two hundred clients at once, slow ones among them: all are answered, within bounds.

A file of a mebibyte from most of them; ten thousand parts from some; some drip, some stall until
they are refused, some go away in the middle. One service on one loop, which still says how it is.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles

import anyio
import attrs
import pytest
from anyio.abc import SocketStream

from mpflow.testing import PartSpec, body, content_type_of
from tests.cli.service import PATIENCE
from tests.clients.servers import Server, serving

pytestmark = pytest.mark.clients

MIB = 1024 * 1024
MOST_OF_EACH = 2 * MIB
"""What an upload may take: docs/explanation/memory.md."""
QUICK_ENOUGH = 0.25, 2.0
"""Seconds in which 90 and 99 of 100 questions are answered, on a busy machine. The last are those
that come while 120 clients send a mebibyte at once, as fast as the loopback takes it."""
PAUSE = 0.05

FILE = os.urandom(MIB)
ONE = body([("field", "x"), PartSpec(FILE, name="file", filename="a.bin")])
MANY = body([("field", str(number)) for number in range(10_000)])
SMALL = body([("field", "x"), PartSpec(FILE[:2000], name="file", filename="b.bin")])

KINDS = {"quick": 120, "many": 4, "drips": 30, "stalls": 23, "leaves": 23}
EXPECTED = {
    "quick": (200, {"fields": 1, "bytes": MIB}),
    "many": (200, {"fields": 10_000, "bytes": 0}),
    "drips": (200, {"fields": 1, "bytes": 2000}),
}


@attrs.define
class Answered:
    kind: str
    status: int
    document: dict[str, object]


async def upload(port: int, kind: str, answers: list[Answered]) -> None:
    data = {"many": MANY, "drips": SMALL}.get(kind, ONE)
    head = (
        "POST /upload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: {content_type_of()}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head.encode())
        if kind == "drips":
            for start in range(0, len(data), 50):
                await stream.send(data[start : start + 50])
                await anyio.sleep(PAUSE)  # what a client does that drips
        else:
            await stream.send(data if kind in EXPECTED else data[: len(data) // 2])
        if kind != "leaves":
            answers.append(await answer_of(stream, kind))


async def answer_of(stream: SocketStream, kind: str) -> Answered:
    text = b""
    try:
        while True:
            text += await stream.receive()
    except anyio.EndOfStream:
        pass
    head, _, document = text.partition(b"\r\n\r\n")
    return Answered(kind, int(head.split(maxsplit=2)[1]), json.loads(document))


async def upload_all(port: int) -> list[Answered]:
    answers: list[Answered] = []
    with anyio.fail_after(2 * PATIENCE):
        async with anyio.create_task_group() as tasks:
            for kind, count in KINDS.items():
                for _ in range(count):
                    tasks.start_soon(upload, port, kind, answers)
    return answers


def memory(server: Server, field: str) -> int:
    text = Path(f"/proc/{server.process.pid}/status").read_text("ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def open_files(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def running(server: Server) -> int:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        # On trio hypercorn keeps a connection for seconds that its client has closed.
        connection.request("GET", "/health", headers={"Connection": "close"})
        return int(json.load(connection.getresponse())["running"])
    finally:
        connection.close()


@contextmanager
def probing(port: int) -> Iterator[list[float]]:
    """How long each answer to a question took that was asked during the block."""
    took: list[float] = []
    command = [sys.executable, str(Path(__file__).with_name("probe.py")), str(port)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield took
            out, _ = process.communicate("\n", timeout=PATIENCE)
            took += json.loads(out)
        finally:
            process.kill()


@pytest.mark.parametrize("kind", ["hypercorn-trio", "uvicorn-httptools"])
def test_two_hundred_clients_at_once(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    with serving(kind, "tests.clients.loaded:app", tmp_path, {"FOLDER": str(folder)}) as server:
        warm: list[Answered] = []
        for data in EXPECTED:
            anyio.run(upload, server.port, data, warm)
        assert [(it.status, it.document) for it in warm] == list(EXPECTED.values())
        saved = len(os.listdir(folder))
        files, before = open_files(server), memory(server, "VmRSS")
        Path(f"/proc/{server.process.pid}/clear_refs").write_text("5", "ascii")

        with probing(server.port) as took:
            answers = anyio.run(upload_all, server.port)
        growth = memory(server, "VmHWM") - before

        # Everybody who stayed is answered.
        for name, expected in EXPECTED.items():
            told = [(it.status, it.document) for it in answers if it.kind == name]
            assert told == [expected] * KINDS[name]
        stalled = [it for it in answers if it.kind == "stalls"]
        assert [(it.status, it.document["limit"]) for it in stalled] == [
            (408, "idle_timeout")
        ] * KINDS["stalls"]

        # Nothing is left of those who left, or were refused.
        deadline = time.monotonic() + PATIENCE
        while running(server) > 0 or open_files(server) > files + 1:  # that of the probe
            assert time.monotonic() < deadline
        assert len(os.listdir(folder)) == saved + KINDS["quick"] + KINDS["drips"]
        assert sorted({path.stat().st_size for path in folder.iterdir()}) == [2000, MIB]

    ranks = quantiles(took, n=100)
    told = " ".join(f"p{q} {ranks[q - 1] * 1000:.0f} ms" for q in (50, 90, 99))
    print(f"\n{kind}: {growth / MIB:.0f} MiB more, {len(took)} questions, {told}")
    assert growth < sum(KINDS.values()) * MOST_OF_EACH
    assert len(took) > 50
    assert ranks[89] < QUICK_ENOUGH[0]
    assert ranks[98] < QUICK_ENOUGH[1]
