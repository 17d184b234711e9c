"""S9: a form with a file, and a form of small fields, written by mpflow and by others.

Knows: how each makes a form. Must not know: what is good.

A file is read from the page cache, by the pass that warms up; the floor is a loop that reads it.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportMissingImports=false
from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from mpflow import FormData
from tests.benchmarks.scenario import KIB, MIB, Peer, Result, Scenario, Take, store
from tests.benchmarks.timing import BACKENDS, Pass, measured, on, plain

__all__ = ["WRITING"]

FEW = 10
MANY = 10_000


@attrs.frozen
class Form:
    """What is written: so many fields, and a file."""

    count: int
    path: Path | None = None

    @property
    def fields(self) -> dict[str, str]:
        return {f"field{number}": f"value {number}" for number in range(self.count)}

    @property
    def size(self) -> int:
        """Bytes of the file, or of the values."""
        if self.path is not None:
            return self.path.stat().st_size
        return sum(map(len, self.fields.values()))


class Sink:
    """A stream that counts, and keeps nothing."""

    def __init__(self, take: Take) -> None:
        self.total = 0
        self.take = take

    async def send(self, data: bytes) -> None:
        self.total += self.take(data)

    async def write(self, data: Any) -> None:
        self.total += self.take(data)


def read(form: Form, take: Take) -> int:
    """The floor: the file in pieces of 64 KiB."""
    total = 0
    assert form.path is not None
    with form.path.open("rb") as file:
        while chunk := file.read(64 * KIB):
            total += take(chunk)
    return total


def _ours(form: Form, file: Any) -> FormData:
    data = FormData(list(form.fields.items()))
    if file is not None:
        data.append(file).set_content_disposition("form-data", name="file")
    return data


async def writer(form: Form, take: Take) -> int:
    """Chunk by chunk, as an HTTP client iterates it."""
    total = 0
    file = form.path and form.path.open("rb")
    async for chunk in _ours(form, file):
        total += take(chunk)
    if file:
        file.close()
    return total


async def sink(form: Form, take: Take) -> int:
    """Into a stream that is written to."""
    stream = Sink(take)
    file = form.path and form.path.open("rb")
    await _ours(form, file).write(stream)
    if file:
        file.close()
    return stream.total


async def httpx(form: Form, take: Take) -> int:
    import httpx as package

    total = 0
    file = form.path and form.path.open("rb")
    files: Any = {"file": file} if file else {n: (None, v) for n, v in form.fields.items()}
    fields = form.fields if file else None
    request = package.Request("POST", "http://x/", data=fields, files=files)
    stream: Any = request.stream
    async for chunk in stream:
        total += take(chunk)
    if file:
        file.close()
    return total


async def aiohttp(form: Form, take: Take) -> int:
    import aiohttp as package

    stream: Any = Sink(take)
    file = form.path and form.path.open("rb")
    data = package.FormData(default_to_multipart=True)
    for name, value in form.fields.items():
        data.add_field(name, value)
    if file:
        data.add_field("file", file, filename="file")
    await data().write(stream)
    if file:
        file.close()
    return int(stream.total)


def _path(size: int) -> Path:
    return store() / f"random-{size}.bin"


def _prepare(size: int) -> None:
    """A file of random bytes, made once."""
    path = _path(size)
    if not path.exists() or path.stat().st_size != size:
        rng = random.Random(5)
        with path.open("wb") as file:
            for _ in range(size // MIB):
                file.write(rng.randbytes(MIB))


def _counted(form: Form, total: int) -> tuple[int, int]:
    """Every form has its own boundary and headers: that all of the payload is there is checked."""
    assert total >= form.size, f"expected {form.size} bytes and more, got {total}"
    return form.count, form.size


def _over(way: Callable[[Form, Take], Any], backend: str | None, form: Form) -> Pass:
    if backend is None:
        return plain(lambda take: _counted(form, way(form, take)))

    async def call(take: Take) -> tuple[int, int]:
        writing: Awaitable[int] = way(form, take)
        return _counted(form, await writing)

    return on(backend, call)


WAYS: dict[str, tuple[Callable[[Form, Take], Any], str | None, Peer]] = {}
for _name, _way, _distribution, _backends in [
    ("writer", writer, None, BACKENDS),
    ("sink", sink, None, BACKENDS),
    ("httpx", httpx, "httpx", ("asyncio",)),
    ("aiohttp", aiohttp, "aiohttp", ("asyncio", "uvloop")),
]:
    for _on in _backends:
        _peer = Peer(f"{_name}-{_on}", _distribution, required=False, quick=_on == "asyncio")
        WAYS[_peer.name] = (_way, _on, _peer)
WAYS["read"] = (read, None, Peer("read"))


def _run(large: bool, peer: str, quick: bool) -> Result:
    way, backend, _ = WAYS[peer]
    if large:
        form = Form(FEW, _path(_size(quick)))
        warm = form  # which brings the file into the page cache
    else:
        form, warm = Form(MANY), Form(100)
    told = measured(
        _over(way, backend, form),
        warm=_over(way, backend, warm),
        expected=(form.count, form.size),
        quick=quick,
    )
    return told | {"wire": form.size}


def _size(quick: bool) -> int:
    return 32 * MIB if quick else 256 * MIB


WRITING = [
    Scenario(
        "S9",
        "a form with a file of 256 MiB, written",
        [peer for _, _, peer in WAYS.values()],
        partial(_run, True),
        prepare=lambda quick: _prepare(_size(quick)),
    ),
    Scenario(
        "S9-fields",
        "a form of 10,000 small fields, written",
        [peer for _, _, peer in WAYS.values() if peer.name != "read"],
        partial(_run, False),
    ),
]
