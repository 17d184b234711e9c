"""A process of its own for the photo example: its service is killed at each step of an upload.

Knows: each call to the file system and to the database, and how to die right before it.
Must not know: what should be left; it prints what is, as JSON.

Run as `python -m tests.killed_uploads BACKEND DIRECTORY nameless|temporary`.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import anyio
import hypercorn.asyncio.run
import hypercorn.protocol
import hypercorn.trio.run
from hypercorn.config import Config

from mpflow.testing import PartSpec, body, content_type_of
from mpflow_handlers import syscalls
from tests.handlers.support import Seam

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "photo_upload.py"
PHOTOS = [b"one" * 1000, b"two" * 300_000, b"three"]


def load() -> Any:
    spec = spec_from_file_location("photo_upload", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["photo_upload"] = module  # attrs looks the module of a class up by its name
    spec.loader.exec_module(module)
    return module


def form(title: str, photos: list[bytes]) -> bytes:
    metadata = json.dumps({"title": title, "owner": "me"})
    specs = [PartSpec(data, name="photo", filename="a.jpg") for data in photos]
    # In the middle: photos come before and after what is said of them.
    specs.insert(1, PartSpec(metadata, name="metadata", content_type="application/json"))
    return body(specs)


def post(port: int, title: str, photos: list[bytes]) -> int | None:
    """Upload; the status, or None where the server died."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/", form(title, photos), {"Content-Type": content_type_of()})
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class Steps:
    """Counts the steps of one upload, and dies right before the one that it is told."""

    def __init__(self, at: int, log: Path) -> None:
        self._at = at
        self._log = log
        self._count = 0
        self.armed = False

    def __call__(self, what: str) -> None:
        if not self.armed:
            return
        self._count += 1
        with self._log.open("a") as file:
            file.write(f"{what}\n")
        if self._count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


def watch(steps: Steps, *, nameless: bool) -> None:
    """Have the steps told of each call that the service makes."""

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            steps(" ".join(sql.split()[:3]))
            return super().execute(sql, *args)

        def close(self) -> None:
            steps("close the database")
            super().close()

    syscalls.system = Seam(lambda number, name: steps(name), nameless=nameless)
    sqlite3.connect = partial(sqlite3.connect, factory=Watched)  # type: ignore[assignment]


def service_at(place: Path) -> Any:
    return MODULE.Photos(place / "photos", place / "photos.db", temporary_age=0)


class Server:
    """The service in a process of its own."""

    def __init__(self, place: Path, backend: str, prepare: Callable[[], Steps] | None) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._serve(listener, place, backend, prepare)
                os._exit(0)
            finally:
                os._exit(1)
        listener.close()

    def _serve(
        self, listener: socket.socket, place: Path, backend: str, prepare: Any | None
    ) -> None:
        steps = prepare() if prepare is not None else None
        service = service_at(place)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def sent(message: Any) -> None:
                if steps is not None:
                    steps(message["type"])
                await send(message)

            if steps is not None:
                steps.armed = scope["type"] == "http"
            await service(scope, receive, sent)

        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.loglevel = "CRITICAL"
        serve: Any = hypercorn.asyncio.serve if backend == "asyncio" else hypercorn.trio.serve
        anyio.run(partial(serve, app, config), backend=backend)

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def wait(self) -> None:
        """Wait until it has killed itself."""
        assert os.WTERMSIG(os.waitpid(self._pid, 0)[1]) == signal.SIGKILL


def state(place: Path) -> dict[str, Any]:
    """The files with their digests, and the rows of each upload."""
    connection = sqlite3.connect(place / "photos.db")
    try:
        rows = connection.execute(
            "select title, file, sha256 from upload left join photo on upload = upload.id"
        ).fetchall()
    finally:
        connection.close()
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (place / "photos").iterdir()
    }
    return {"files": files, "rows": rows}


def trial(at: int, place: Path, backend: str, *, nameless: bool) -> dict[str, Any]:
    """An upload during which the service dies, and what another process makes of that."""
    log = place / "steps"

    def prepare() -> Steps:
        steps = Steps(at, log)
        watch(steps, nameless=nameless)
        return steps

    server = Server(place, backend, prepare)
    status = post(server.port, "upload", PHOTOS)
    if status is None:
        server.wait()
    else:
        server.kill()
    found: dict[str, Any] = {"status": status, "steps": log.read_text().splitlines()}
    found["crashed"] = state(place)
    service_at(place).prepare()  # as each start does
    return found | {"swept": state(place)}


def main(backend: str, directory: Path, *, nameless: bool) -> list[dict[str, Any]]:
    first = directory / "first"
    first.mkdir()
    server = Server(first, backend, None)
    assert post(server.port, "before", PHOTOS[:1]) == 201
    server.kill()
    found: list[dict[str, Any]] = []
    for at in range(1, 1000):
        place = directory / str(at)
        shutil.copytree(first, place)
        found.append(trial(at, place, backend, nameless=nameless))
        if found[-1]["status"] is not None:
            return found
    raise AssertionError("it never came to an end")


if __name__ == "__main__":
    MODULE = load()
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), nameless=sys.argv[3] == "nameless")))
