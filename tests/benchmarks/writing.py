"""S9: one way to read or to write 256 MiB from a file with ten fields, timed once.

Knows: how httpx, aiohttp and mpflow make a form. Must not know: what is fast enough.

Run it: `python -m tests.benchmarks.writing WAY BACKEND FILE`; it prints the seconds of the second
of two passes: the first one brings the file into the page cache, and the modules into memory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

FIELDS = {f"field{number}": f"value {number}" for number in range(10)}
KIB = 1024


def _reading(size: int) -> Callable[[str], Awaitable[int]]:
    async def read(path: str) -> int:
        total = 0
        with open(path, "rb") as file:  # noqa: ASYNC230 - the floor is a plain loop
            while chunk := file.read(size):
                total += len(chunk)
        return total

    return read


class _Sink:
    """A stream that counts, and keeps nothing."""

    def __init__(self) -> None:
        self.total = 0

    async def send(self, data: bytes) -> None:
        self.total += len(data)

    async def write(self, data: Any) -> None:
        self.total += len(data)


async def _mpflow(path: str) -> int:
    from mpflow import FormData

    with open(path, "rb") as file:  # noqa: ASYNC230 - as users have it
        form = FormData(list(FIELDS.items()))
        form.append(file).set_content_disposition("form-data", name="file")
        total = 0
        async for chunk in form:
            total += len(chunk)
        return total


async def _mpflow_sink(path: str) -> int:
    from mpflow import FormData

    sink = _Sink()
    with open(path, "rb") as file:  # noqa: ASYNC230 - as users have it
        form = FormData(list(FIELDS.items()))
        form.append(file).set_content_disposition("form-data", name="file")
        await form.write(sink)
    return sink.total


async def _httpx(path: str) -> int:
    import httpx

    with open(path, "rb") as file:  # noqa: ASYNC230 - as users have it
        request = httpx.Request("POST", "http://x/", data=FIELDS, files={"file": file})
        total = 0
        async for chunk in request.stream:  # type: ignore[union-attr] # async too
            total += len(chunk)
        return total


async def _aiohttp(path: str) -> int:
    import aiohttp

    sink = _Sink()
    with open(path, "rb") as file:  # noqa: ASYNC230 - as users have it
        form = aiohttp.FormData(default_to_multipart=True)
        for name, value in FIELDS.items():
            form.add_field(name, value)
        form.add_field("file", file, filename="file")
        await form().write(sink)  # type: ignore[arg-type] # has the verbs
    return sink.total


WAYS: dict[str, Callable[[str], Awaitable[int]]] = {
    "read 64 KiB": _reading(64 * KIB),
    "read 1 MiB": _reading(KIB * KIB),
    "mpflow": _mpflow,
    "mpflow to a sink": _mpflow_sink,
    "httpx": _httpx,
    "aiohttp": _aiohttp,
}


async def main(way: str, path: str) -> float:
    await WAYS[way](path)
    began = time.perf_counter()
    assert await WAYS[way](path) >= 256 * KIB * KIB
    return time.perf_counter() - began


if __name__ == "__main__":
    way, backend, path = sys.argv[1:]
    options = {"use_uvloop": True} if backend == "uvloop" else {}
    backend = "asyncio" if backend == "uvloop" else backend
    print(anyio.run(main, way, path, backend=backend, backend_options=options))
