"""Serves one way to store uploads on a socket that listens already, until it is ended.

    python -m tests.benchmarks.services.serve WAY FD FOLDER

Knows: which server a way runs on. Must not know: who uploads, what is measured.

The ways are those of `over_asgi`, on uvicorn with uvloop and httptools; `save-unsynced`, which
leaves out each fsync; and `aiohttp`, on its own server and asyncio's loop, `aiohttp-64k-uvloop`.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from pathlib import Path

from mpflow_handlers import syscalls
from tests.benchmarks.services.seen import Gauge, TimedSyncs

__all__: list[str] = []


def main(way: str, fd: int, folder: Path) -> None:
    """Serve."""
    listener = socket.socket(fileno=fd)
    tempfile.tempdir = str(folder)  # where forms that are spooled go
    gauge = Gauge()
    name, _, how = way.partition("-")
    if name == "save":
        gauge.syncs = syscalls.system = TimedSyncs(syncs=how != "unsynced")
    if name == "aiohttp":
        _serve_aiohttp(listener, folder, gauge, fast=how == "64k-uvloop")
    else:
        _serve_asgi(name, listener, folder, gauge)


def _serve_asgi(name: str, listener: socket.socket, folder: Path, gauge: Gauge) -> None:
    import uvicorn

    from tests.benchmarks.services.over_asgi import application

    config = uvicorn.Config(
        application(name, folder, gauge),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="warning",
        access_log=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _serve_aiohttp(listener: socket.socket, folder: Path, gauge: Gauge, *, fast: bool) -> None:
    import asyncio

    import uvloop
    from aiohttp import web

    from tests.benchmarks.services.over_aiohttp import application

    loop = uvloop.new_event_loop() if fast else asyncio.new_event_loop()
    app = application(folder, gauge, 64 * 1024 if fast else None)
    web.run_app(app, sock=listener, loop=loop, print=None, access_log=None)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
