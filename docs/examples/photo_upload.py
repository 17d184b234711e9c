"""A photo service: photos with JSON metadata and a database row, all of an upload or nothing of it.

    python photo_upload.py [--directory photos] [--database photos.db] [--backend asyncio|trio]

`POST /` takes a form: one part `metadata` (JSON: `{"title": "...", "owner": "..."}`) and one or
more files, in any order. It answers 201 with what it stored, or a status and one line of JSON.

The order of the steps is what makes it all or nothing, also where the process is killed:

1. the files are received and synced; they have no names yet
2. the rows are written, with the names that the files will have, and not committed
3. `flow.commit()` gives the files their names
4. the database commits

A crash before 4 leaves no row. What it may leave is a file that no row names: `sweep` removes it.

Knows: the order of those steps, SQLite, and how ASGI is spoken.
Must not know: how a multipart is read, or how a file is stored.

It needs multipart-flow[msgspec,serve].
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import attrs
from anyio import to_thread

from mpflow import Flow, Limits, MultipartError, MultipartReader, Router
from mpflow_handlers import Json, Save, Saved

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TABLES = """
create table if not exists upload (id integer primary key, title text not null, owner text);
create table if not exists photo (
    file text primary key, upload integer not null references upload, sha256 text not null
);
"""


def can_be_stored(metadata: Any, field: Any, value: str) -> None:
    """Refuse half a surrogate pair, by a `ValueError`: JSON can hold one, a database cannot."""
    value.encode()


@attrs.frozen
class Metadata:
    """What the part `metadata` says."""

    title: str = attrs.field(validator=can_be_stored)
    owner: str = attrs.field(validator=can_be_stored)


@attrs.frozen
class Upload:
    """An upload: its parts, by the keys of their routes."""

    metadata: Metadata
    photos: list[Saved]


@attrs.define(eq=False)
class Photos:
    """The service as an ASGI application. `directory` and `database` are nobody else's."""

    directory: Path
    database: Path
    temporary_age: float = 24 * 3600.0
    """Seconds after which `sweep` takes a temporary file for one that nobody writes any more."""
    router: Router = attrs.field(init=False)
    _turn: anyio.Lock = attrs.field(factory=anyio.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self.router = Router(limits=Limits(max_parts=100, max_total_bytes="4 GiB"))
        self.router.add(Json(into=Metadata), name="metadata")
        # A random name, known before the commit: it is what the row says.
        save = Save(self.directory, digests=["sha256"])
        self.router.add(save, filename="?*", key="photos", required=True, max_bytes="1 GiB")

    async def store(self, reader: MultipartReader) -> Upload:
        """Receive an upload: its files and its rows stand when this returns, else none of them."""
        async with self.router.flow(reader, into=Upload) as flow:
            upload = flow.results.into(Upload)
            # Uploads queue here. Would they wait for SQLite's lock instead, each in a worker
            # thread, then no thread were left for the files of the one that holds it.
            async with self._turn:
                await self._write(flow, upload)
        return upload

    async def _write(self, flow: Flow, upload: Upload) -> None:
        """Write the rows, name the files, commit the rows."""
        connection = await to_thread.run_sync(self.connect)
        try:
            await to_thread.run_sync(insert, connection, upload)
            # Once the first file has its name, nobody stops us half way.
            with anyio.CancelScope(shield=True):
                await flow.commit()
                await to_thread.run_sync(connection.execute, "commit")
        finally:
            # Without its commit, closing it rolls the rows back.
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(connection.close)

    def connect(self) -> sqlite3.Connection:
        """Open the database, with transactions that begin and end where it is written."""
        return sqlite3.connect(self.database, isolation_level=None, check_same_thread=False)

    def prepare(self) -> None:
        """Make the folder and the tables, and sweep. It blocks."""
        self.directory.mkdir(parents=True, exist_ok=True)
        connection = self.connect()
        connection.executescript(TABLES)
        connection.close()
        self.sweep()

    def sweep(self) -> list[str]:
        """Remove what a crash left: files that no row names; which. Also while uploads come in."""
        connection = self.connect()
        try:
            # An upload names its files while it holds the lock on the database. So do we, and see
            # no file whose row is still to come.
            connection.execute("begin immediate")
            rows = {name for (name,) in connection.execute("select file from photo")}
            swept = [path for path in self.directory.iterdir() if self._is_left(path, rows)]
            for path in swept:
                path.unlink(missing_ok=True)
        finally:
            connection.close()
        return sorted(path.name for path in swept)

    def _is_left(self, path: Path, rows: set[str]) -> bool:
        if not path.name.startswith(".mpflow-"):
            return path.name not in rows
        with suppress(FileNotFoundError):  # it got its name, or its upload failed, just now
            return time.time() - path.stat().st_mtime > self.temporary_age
        return False

    # -- HTTP ---------------------------------------------------------------------------------

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            body = Body(receive)
            status, content = await self._respond(scope, body)
            # A client that only writes would not hear the answer: see upload_service.py for one
            # that is sent at once.
            await body.drain()
            data, headers = json.dumps(content).encode(), [(b"content-type", b"application/json")]
            start = {"type": "http.response.start", "status": status, "headers": headers}
            with suppress(OSError):  # the client went away meanwhile
                await send(start)
                await send({"type": "http.response.body", "body": data})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await to_thread.run_sync(self.prepare)
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _respond(self, scope: Message, body: Body) -> tuple[int, dict[str, Any]]:
        if scope["path"] != "/" or scope["method"] != "POST":
            return 404, {"error": "expected POST /"}
        try:
            upload = await self.store(MultipartReader.from_asgi(scope, body.receive))
        except MultipartError as error:
            return error.status, {"error": str(error)}
        return 201, {"title": upload.metadata.title, "files": [it.name for it in upload.photos]}


@attrs.define
class Body:
    """ASGI's `receive` for one request, with an eye on the end of its body."""

    receive_message: Receive
    ended: bool = False

    async def receive(self) -> Message:
        """The next message."""
        message = await self.receive_message()
        self.ended = not message.get("more_body", False)
        return message

    async def drain(self, size: int = 16 * 1024 * 1024, seconds: float = 1.0) -> None:
        """Throw away the rest, at most that much."""
        with anyio.move_on_after(seconds):
            while not self.ended and size > 0:
                size -= len((await self.receive()).get("body", b""))


def insert(connection: sqlite3.Connection, upload: Upload) -> None:
    """Write the rows of an upload, in a transaction that is left open."""
    connection.execute("begin immediate")
    row = connection.execute(
        "insert into upload (title, owner) values (?, ?)",
        [upload.metadata.title, upload.metadata.owner],
    ).lastrowid
    for photo in upload.photos:
        connection.execute(
            "insert into photo values (?, ?, ?)", [photo.name, row, photo.digests["sha256"]]
        )


def main() -> None:
    """Serve on port 8000 until it is interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--directory", type=Path, default=Path("photos"))
    parser.add_argument("--database", type=Path, default=Path("photos.db"))
    parser.add_argument("--bind", default="127.0.0.1:8000")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    options = parser.parse_args()
    config = import_module("hypercorn.config").Config.from_mapping(bind=[options.bind])
    serve = import_module(f"hypercorn.{options.backend}").serve
    app = Photos(options.directory, options.database)
    # Ctrl-C may strike between any two lines, those of the event loop's own: trio would hang then.
    on_trio = {"restrict_keyboard_interrupt_to_checkpoints": True}
    run_options = on_trio if options.backend == "trio" else {}
    try:
        run = partial(serve, app, config)
        anyio.run(run, backend=options.backend, backend_options=run_options)
    except* KeyboardInterrupt:  # on trio it may come in a group
        pass


if __name__ == "__main__":
    main()
