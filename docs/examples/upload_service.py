"""An album service: photos on disk and their rows in SQLite, all of an upload or nothing of it.

    hypercorn --worker-class trio upload_service:app      (or asyncio)

`POST /` takes a form with one part `album` (JSON: `{"title": "..."}`) and any number of files, and
answers 201 with what it stored. Whatever is wrong with an upload is one line of JSON and a status.

Knows: what an upload to this service is, and how ASGI is spoken.
Must not know: how a multipart is read, or how a file is stored.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import attrs
from anyio import to_thread

from mpflow import (
    ClientDisconnected,
    Limits,
    MultipartError,
    MultipartReader,
    Part,
    Rejected,
    Results,
    Route,
    Router,
)
from mpflow_handlers import Discard, Save, Saved

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 1.0
"""How much of a refused body is read on, so that the client gets to hear the answer."""

TABLES = """
create table if not exists album (id integer primary key, title text not null unique);
create table if not exists photo (
    file text primary key, album integer not null references album, filename text not null,
    size integer not null, sha256 text not null
);
"""


@attrs.frozen
class Album:
    """What the part `album` says."""

    title: str

    @classmethod
    def from_json(cls, value: Any) -> Album:
        """The album of a JSON value; a `ValueError` becomes status 422."""
        try:
            title: str = value["title"].strip()
            title.encode()  # JSON can hold half a surrogate pair, a database cannot
        except (AttributeError, LookupError, TypeError):
            title = ""
        if not title:
            raise ValueError('expected {"title": "..."}')
        return cls(title)


async def album(part: Part) -> Album:
    """The handler of the part `album`."""
    return await part.json(into=Album.from_json)


@attrs.define(eq=False)
class Service:
    """The service as an ASGI application. Files go into `directory`, rows into `database`."""

    directory: Path
    database: Path
    router: Router = attrs.field(init=False)
    photos: Route[Saved] = attrs.field(init=False)
    _turn: anyio.Lock = attrs.field(factory=anyio.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self.router = Router(
            limits=Limits(max_parts=100, max_part_bytes="1 GiB", max_total_bytes="4 GiB")
        )
        self.router.add(
            album, name="album", content_type="application/json", required=True, max_count=1
        )
        # Random names on disk; the client's filenames are data, and stand in the rows.
        save = Save(self.directory, digests=["sha256"])
        self.photos = self.router.add(save, filename="?*", key="photos")
        # What a browser sends for a file input that was left blank.
        self.router.add(Discard(), filename="")

    def prepare(self) -> None:
        """Make the folder and the tables. It blocks."""
        self.directory.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.database)
        connection.executescript(TABLES)
        connection.close()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await Request(self, scope, receive, send).answer()

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await to_thread.run_sync(self.prepare)
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def store(self, reader: MultipartReader) -> dict[str, Any]:
        """Receive an upload; its files and its rows stand when this returns, or none of them."""
        async with self.router.flow(reader) as flow, self._transaction() as connection:
            # The body is whole. The files are on the disk and synced, but have no names yet.
            await to_thread.run_sync(self._insert, connection, flow.results)
            # Files first: one without a row is harmless, a row without its file is not.
            await flow.commit()
        return {"title": flow.results[album].title, "photos": self._describe(flow.results)}

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[sqlite3.Connection, None]:
        def connect() -> sqlite3.Connection:
            # Autocommit: `begin` and `commit` are where they are written, and nowhere else.
            return sqlite3.connect(self.database, isolation_level=None, check_same_thread=False)

        # Uploads queue here. Would they wait for SQLite's lock instead, each in a worker thread,
        # then no thread were left for the files of the one that holds it.
        async with self._turn:
            connection = await to_thread.run_sync(connect)
            try:
                await to_thread.run_sync(connection.execute, "begin immediate")
                yield connection
                await to_thread.run_sync(connection.execute, "commit")
            finally:
                # Without its commit, closing it rolls it back; also when we were cancelled.
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(connection.close)

    def _insert(self, connection: sqlite3.Connection, results: Results) -> None:
        title = results[album].title
        try:
            row = connection.execute("insert into album (title) values (?)", [title]).lastrowid
        except sqlite3.IntegrityError:
            raise Rejected(409, f"there is an album {title!a} already") from None
        for photo in self._describe(results):
            connection.execute(
                "insert into photo values (:file, :album, :filename, :size, :sha256)",
                {**photo, "album": row},
            )

    def _describe(self, results: Results) -> list[dict[str, Any]]:
        return [
            {
                "file": item.value.name,
                # Bytes that are no text come as surrogates, which a database cannot hold.
                "filename": (item.part.filename or "").encode(errors="replace").decode(),
                "size": item.value.size,
                "sha256": item.value.digests["sha256"],
            }
            for item in results
            if item.route is self.photos
        ]


@attrs.define(eq=False)
class Request:
    """One request under way."""

    service: Service
    scope: Message
    receive_message: Receive
    send: Send
    ended: bool = False
    """Whether there is nothing left to receive. After a disconnect nobody may ask again."""
    enough: anyio.Event = attrs.field(factory=anyio.Event, init=False)
    """Set when enough was read for the client to hear a refusal."""

    async def receive(self) -> Message:
        """ASGI's `receive`, with an eye on the end of the body."""
        message = await self.receive_message()
        self.ended = not message.get("more_body", False)
        return message

    async def answer(self) -> None:
        """Answer it, if the client is still there."""
        try:
            status, content, headers = await self._respond()
        except ClientDisconnected:
            return
        data = json.dumps(content).encode()
        start = {"content-type": "application/json", "content-length": str(len(data)), **headers}
        pairs = [(name.encode(), value.encode()) for name, value in start.items()]
        with suppress(OSError):  # the client went away meanwhile
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._linger)
                await self.send({"type": "http.response.start", "status": status, "headers": pairs})
                await self.send({"type": "http.response.body", "body": data, "more_body": True})
                with anyio.move_on_after(LINGER_SECONDS):
                    await self.enough.wait()
                await self.send({"type": "http.response.body", "body": b"", "more_body": False})
                tasks.cancel_scope.cancel()

    async def _linger(self) -> None:
        """Throw away what still comes. A client that only writes would not hear the answer."""
        left = LINGER_BYTES
        while not self.ended:
            left -= len((await self.receive()).get("body", b""))
            if left <= 0:
                self.enough.set()
        self.enough.set()

    async def _respond(self) -> tuple[int, dict[str, Any], dict[str, str]]:
        if self.scope["path"] != "/" or self.scope["method"] != "POST":
            return 404, {"error": "expected POST /"}, {}
        try:
            reader = MultipartReader.from_asgi(self.scope, self.receive)
            return 201, await self.service.store(reader), {}
        except ClientDisconnected:
            raise
        except MultipartError as error:
            headers = error.headers if isinstance(error, Rejected) else {}
            return error.status, {"error": str(error)}, headers


app = Service(
    directory=Path(os.environ.get("ALBUM_FILES", "album-files")),
    database=Path(os.environ.get("ALBUM_DATABASE", "album.db")),
)
