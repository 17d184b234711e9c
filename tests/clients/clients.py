"""Real clients, each as a function that uploads the same files `count` times at once.

Knows: how each of them is told to. Must not know: the service. One that is missing is an error.
"""

from __future__ import annotations

import asyncio
import io
import json
import socket
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import anyio
import httpx
import requests

from tests.cli.service import PATIENCE

Files: TypeAlias = Sequence[tuple[str, Path]]
"""What each file is to be called, and where its bytes are."""
Answers: TypeAlias = list[tuple[int, dict[str, Any]]]
"""Status and document of each answer."""

NOTE = "Grüße"
TIMEOUT = 4 * PATIENCE


def curl(url: str, files: Files, count: int = 1) -> Answers:
    """curl -F, a process for each request."""
    command = ["curl", "-sS", "--max-time", str(TIMEOUT), "-w", "\n%{http_code}"]
    command += ["-F", f"note={NOTE}"]
    for name, path in files:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        command += ["-F", f'file=@{path};filename="{quoted}"']
    processes = [
        subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    answers: Answers = []
    for process in processes:
        with process:
            out, _ = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, out
        document, _, status = out.rpartition("\n")
        answers.append((int(status), json.loads(document)))
    return answers


def node_fetch(url: str, files: Files, count: int = 1) -> Answers:
    """Node's fetch and FormData."""
    script = Path(__file__).with_name("upload.mjs")
    order = {"url": url, "count": count, "files": [[name, str(path)] for name, path in files]}
    done = subprocess.run(
        ["node", script],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    return [(status, document) for status, document in json.loads(done.stdout)]


def httpx_sync(url: str, files: Files, count: int = 1) -> Answers:
    """httpx.Client, a thread for each request."""

    def send(_: int) -> tuple[int, dict[str, Any]]:
        parts = [("file", (name, path.read_bytes())) for name, path in files]
        response = httpx.post(url, files=parts, data={"note": NOTE}, timeout=TIMEOUT)
        return response.status_code, response.json()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(send, range(count)))


def _httpx_async(backend: str) -> Callable[..., Answers]:
    def upload(url: str, files: Files, count: int = 1) -> Answers:
        answers: Answers = []

        async def send(client: httpx.AsyncClient) -> None:
            parts = [("file", (name, path.read_bytes())) for name, path in files]
            response = await client.post(url, files=parts, data={"note": NOTE})
            answers.append((response.status_code, response.json()))

        async def main() -> None:
            async with httpx.AsyncClient(timeout=TIMEOUT) as client:  # noqa: SIM117 - two lives
                async with anyio.create_task_group() as tasks:
                    for _ in range(count):
                        tasks.start_soon(send, client)

        anyio.run(main, backend=backend)
        return answers

    return upload


def _aiohttp(*, quote_fields: bool) -> Callable[..., Answers]:
    def upload(url: str, files: Files, count: int = 1) -> Answers:
        async def send(session: aiohttp.ClientSession) -> tuple[int, dict[str, Any]]:
            form = aiohttp.FormData(quote_fields=quote_fields)
            form.add_field("note", NOTE)
            for name, path in files:
                # aiohttp warns of bytes by themselves: they are sent without a pause
                form.add_field("file", io.BytesIO(path.read_bytes()), filename=name)
            async with session.post(url, data=form) as response:
                return response.status, await response.json()

        async def main() -> Answers:
            sockets: list[socket.socket] = []

            def make_socket(address: tuple[Any, ...]) -> socket.socket:
                sockets.append(socket.socket(*address[:3]))
                return sockets[-1]

            timeout = aiohttp.ClientTimeout(TIMEOUT)
            connector = aiohttp.TCPConnector(socket_factory=make_socket)
            async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
                answers = await asyncio.gather(*(send(session) for _ in range(count)))
            # A closed session goes on to send what a refused request had still in its buffer.
            while any(one.fileno() != -1 for one in sockets):  # noqa: ASYNC110 - sockets tell nobody
                await asyncio.sleep(0)
            return answers

        return asyncio.run(asyncio.wait_for(main(), TIMEOUT))

    return upload


def requests_post(url: str, files: Files, count: int = 1) -> Answers:
    """requests, a thread for each request."""

    def send(_: int) -> tuple[int, dict[str, Any]]:
        parts = [("file", (name, path.read_bytes())) for name, path in files]
        response = requests.post(url, files=parts, data={"note": NOTE}, timeout=TIMEOUT)
        return response.status_code, response.json()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(send, range(count)))


CLIENTS: dict[str, Callable[..., Answers]] = {
    "curl": curl,
    "node": node_fetch,
    "httpx": httpx_sync,
    "httpx-asyncio": _httpx_async("asyncio"),
    "httpx-trio": _httpx_async("trio"),
    "aiohttp": _aiohttp(quote_fields=True),
    "aiohttp-unquoted": _aiohttp(quote_fields=False),
    "requests": requests_post,
}
