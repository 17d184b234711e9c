"""The clients: each uploads the same set to many addresses, in one run where it can.

Knows: how each of them is told to, and how it tells its version. Must not know: services, or what
a client makes of a name. One that is missing is an error.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import attrs
import httpx
import requests

from tests.clients.chromium import run_scripts
from tests.clients.matrix.hard import Entry, order
from tests.clients.matrix.known import Answer
from tests.peers.programs import build_go, go_post

__all__ = ["SENDERS", "Sender"]

HERE: Final = Path(__file__).parent
TIMEOUT: Final = 120.0
"""Seconds that one upload may take on a busy machine; where all go to one program, all of them."""


Send: TypeAlias = Callable[[Sequence[str], Sequence[Entry], Path], list[Answer]]
"""The answer of each address; the folder is for what a program writes."""


@attrs.frozen
class Sender:
    send: Send
    version: Callable[[], str]


def _run(command: Sequence[str | Path], told: str = "") -> str:
    done = subprocess.run(command, input=told, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _said(pattern: str, *command: str) -> Callable[[], str]:
    """What a program says about its version."""

    def find() -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = re.search(pattern, done.stdout + done.stderr)
        assert found is not None, done
        return found[1]

    return find


def _fields(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.filename is None]


def _files(entries: Sequence[Entry]) -> list[tuple[str, tuple[str, bytes]]]:
    """The files as httpx and requests take them."""
    return [(it.name, (it.filename, it.data)) for it in entries if it.filename is not None]


def curl(urls: Sequence[str], entries: Sequence[Entry], folder: Path) -> list[Answer]:
    command = ["curl", "-sS", "--max-time", str(TIMEOUT), "-w", "\n%{http_code}"]
    for number, it in enumerate(entries):
        if it.filename is None:
            command += ["--form-string", f"{it.name}={it.data.decode()}"]
        else:
            path = folder / f"file{number}"
            path.write_bytes(it.data)
            quoted = it.filename.replace("\\", "\\\\").replace('"', '\\"')
            command += ["-F", f'{it.name}=@{path};filename="{quoted}"']
    answers: list[Answer] = []
    for url in urls:
        text, _, status = _run([*command, url]).rpartition("\n")
        answers.append(Answer(int(status), text))
    return answers


def send_with_httpx(urls: Sequence[str], entries: Sequence[Entry], folder: Path) -> list[Answer]:
    data = {it.name: it.data.decode() for it in _fields(entries)}
    with httpx.Client(timeout=TIMEOUT) as client:
        replies = [client.post(url, data=data, files=_files(entries)) for url in urls]
    return [Answer(reply.status_code, reply.text) for reply in replies]


def send_with_requests(urls: Sequence[str], entries: Sequence[Entry], folder: Path) -> list[Answer]:
    data = [(it.name, it.data.decode()) for it in _fields(entries)]
    with requests.Session() as session:
        replies = [
            session.post(url, data=data, files=_files(entries), timeout=TIMEOUT) for url in urls
        ]
    return [Answer(reply.status_code, reply.text) for reply in replies]


def _aiohttp(*, quote_fields: bool) -> Send:
    def send(urls: Sequence[str], entries: Sequence[Entry], folder: Path) -> list[Answer]:
        async def main() -> list[Answer]:
            answers: list[Answer] = []
            async with aiohttp.ClientSession() as session:
                for url in urls:
                    form = aiohttp.FormData(quote_fields=quote_fields, default_to_multipart=True)
                    for it in entries:
                        if it.filename is None:
                            form.add_field(it.name, it.data.decode())
                        else:  # aiohttp warns of bytes by themselves: they are sent without a pause
                            form.add_field(it.name, BytesIO(it.data), filename=it.filename)
                    async with session.post(url, data=form) as response:
                        answers.append(Answer(response.status, await response.text()))
            return answers

        return asyncio.run(asyncio.wait_for(main(), TIMEOUT))

    return send


def node(urls: Sequence[str], entries: Sequence[Entry], folder: Path) -> list[Answer]:
    script = (HERE / "send.js").read_text("utf-8")
    program = (
        "import { text } from 'node:stream/consumers';"
        f"const send = {script.strip()};"
        "console.log(JSON.stringify(await send(JSON.parse(await text(process.stdin)))));"
    )
    command = ["node", "--input-type=module", "-e", program]
    return [Answer(*told) for told in json.loads(_run(command, order(urls, entries)))]


def chromium(urls: Sequence[str], entries: Sequence[Entry], folder: Path) -> list[Answer]:
    """From a page of each service, since a browser tells no page what others answer."""
    script = (HERE / "send.js").read_text("utf-8").strip().removesuffix(";")
    origins: dict[str, list[str]] = {}
    for url in urls:
        origins.setdefault("{0.scheme}://{0.netloc}/".format(urlsplit(url)), []).append(url)
    calls = {origin: f"({script})({order(mine, entries)})" for origin, mine in origins.items()}
    answers: dict[str, Answer] = {}
    for mine, told in zip(origins.values(), run_scripts(calls, folder / "profile"), strict=True):
        answers |= {url: Answer(*one) for url, one in zip(mine, told, strict=True)}
    return [answers[url] for url in urls]


def go(urls: Sequence[str], entries: Sequence[Entry], folder: Path) -> list[Answer]:
    program = build_go(folder)
    asked = {"subtype": "form-data", "parts": [_for_go(entry) for entry in entries]}
    answers: list[Answer] = []
    for url in urls:
        document = go_post(program, url, asked)
        answers.append(Answer(document.get("status", 200), json.dumps(document)))
    return answers


def _for_go(entry: Entry) -> Mapping[str, Any]:
    """A part as `peer.go` takes it, for which what is empty is not there."""
    if entry.filename is None:
        if entry.name:
            return {"name": entry.name, "data": entry.data}
        return {"headers": {"Content-Disposition": 'form-data; name=""'}, "data": entry.data}
    if entry.filename:
        return {"name": entry.name, "filename": entry.filename, "data": entry.data}
    said = f'form-data; name="{entry.name}"; filename=""'
    return {"headers": {"Content-Disposition": said}, "data": entry.data}


def _java(http: str) -> Send:
    def encoded(data: bytes) -> str:
        return f".{b64encode(data).decode()}"

    def line(it: Entry) -> str:
        filename = "-" if it.filename is None else encoded(it.filename.encode())
        return f"{encoded(it.name.encode())} {filename} {encoded(it.data)}\n"

    def send(urls: Sequence[str], entries: Sequence[Entry], folder: Path) -> list[Answer]:
        told = _run(["java", HERE / "Send.java", http, *urls], "".join(map(line, entries)))
        answers: list[Answer] = []
        for said in told.splitlines():
            status, _, text = said.partition(" ")
            answers.append(Answer(int(status), b64decode(text[1:]).decode()))
        return answers

    return send


_of_java: Final = _said(r'version "([^"]+)"', "java", "-version")
_of_aiohttp: Final = lambda: version("aiohttp")  # noqa: E731 - as those above, without a name
SENDERS: Final = {
    "curl": Sender(curl, _said(r"curl (\S+)", "curl", "--version")),
    "httpx": Sender(send_with_httpx, lambda: version("httpx")),
    "requests": Sender(send_with_requests, lambda: version("requests")),
    "aiohttp": Sender(_aiohttp(quote_fields=True), _of_aiohttp),
    "aiohttp, quote_fields=False": Sender(_aiohttp(quote_fields=False), _of_aiohttp),
    "Node's fetch": Sender(node, _said(r"v(\S+)", "node", "--version")),
    "Go": Sender(go, _said(r"go(\d\S+)", "go", "version")),
    "Java, HTTP_1_1": Sender(_java("1.1"), _of_java),
    "Java, HTTP_2": Sender(_java("default"), _of_java),
    "Chromium": Sender(chromium, _said(r"Chromium (\S+)", "chromium", "--version")),
}
"""All of `known.CLIENTS`."""
