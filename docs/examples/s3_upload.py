"""An upload service on S3: each file is stored, hashed and scanned at once, as it comes.

    python s3_upload.py s3://bucket/uploads [--bind 127.0.0.1:8000] [--backend asyncio|trio]

`POST /` takes a form with any number of files, and answers 201 with their keys, sizes and SHA-256,
or a status and one line of JSON. Nothing is gathered, on disk or in memory: while one chunk goes to
the bucket it is hashed and scanned. An upload shows up in the bucket at the commit, when the whole
body is in and clean. A virus in any file, a client that goes away, a bucket that fails: all that
was sent is given up, and the bucket holds nothing of it.

S3's credentials, region and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, ...).

Knows: what an upload to this service is, and how ASGI is spoken.
Must not know: how a multipart is read, or how an object is stored.

It needs multipart-flow[objectstore,serve].
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

import anyio
import attrs

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
from mpflow_handlers import Digest, Discard, ObjectStore, Stored, Tee

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

Scan = Callable[[Part], Awaitable[None]]
"""A scanner: a handler that raises `Rejected` where it finds something."""

LINGER_BYTES = 64 * 1024 * 1024
LINGER_SECONDS = 10.0
"""How much of a refused body is read on: a client that only writes hears no answer before."""

# What the makers of scanners agreed on as a test: harmless, and found by all of them. In two
# halves, so that none of them finds this file.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}" + rb"$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


async def scan(part: Part) -> None:
    """Stands for a scanner: refuses what holds the EICAR string, wherever its chunks are cut.

    A real one is a handler like this, which gives the chunks to its daemon.
    """
    seen = b""
    async for chunk in part.stored():
        seen += chunk
        if EICAR in seen:
            raise Rejected(422, "the file holds a virus: EICAR")
        seen = seen[-(len(EICAR) - 1) :]  # it may begin here and end in the next chunk


@attrs.define(eq=False)
class Body:
    """ASGI's `receive`, with an eye on the end of the body."""

    receive: Receive
    ended: bool = False

    async def __call__(self) -> Message:
        message = await self.receive()
        self.ended = not message.get("more_body", False)
        return message

    async def linger(self) -> None:
        """Throw away what still comes of a body that was refused."""
        left = LINGER_BYTES
        with anyio.move_on_after(LINGER_SECONDS):
            while left > 0 and not self.ended:
                left -= len((await self()).get("body", b""))


@attrs.define(eq=False)
class Uploads:
    """The service as an ASGI application. `store` is a bucket of obstore, or its URL."""

    store: Any
    scan: Scan = scan
    router: Router = attrs.field(init=False)
    files: Route[tuple[Stored, Mapping[str, str], None]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.router = Router(
            limits=Limits(max_parts=20, max_part_bytes="2 GiB", max_total_bytes="8 GiB")
        )
        # Random keys, and nothing that the client says of its file: what a bucket serves to a
        # browser as HTML runs there.
        store = ObjectStore(self.store, attributes={"Content-Disposition": "attachment"})
        self.files = self.router.add(
            Tee(store, Digest("sha256"), self.scan), filename="?*", key="files", required=True
        )
        # What a browser sends for a file input that was left blank.
        self.router.add(Discard(), filename="")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            status, content = await self._respond(scope, receive)
        except ClientDisconnected:
            return  # nobody is left to hear an answer
        data, headers = json.dumps(content).encode(), [(b"content-type", b"application/json")]
        with suppress(OSError):  # the client went away meanwhile
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": data})

    async def _respond(self, scope: Message, receive: Receive) -> tuple[int, dict[str, Any]]:
        if scope["path"] != "/" or scope["method"] != "POST":
            return 404, {"error": "expected POST /"}
        body = Body(receive)
        try:
            results = await self.router.dispatch(MultipartReader.from_asgi(scope, body))
        except ClientDisconnected:
            raise
        except MultipartError as error:
            await body.linger()
            # What a 5xx says is of this side, and may name the bucket.
            said = str(error) if error.status < 500 else "the upload could not be stored"
            return error.status, {"error": said}
        return 201, {"files": self._describe(results)}

    def _describe(self, results: Results) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for item in results:
            if item.route is self.files:
                stored, digests, _ = item.value
                found.append({"key": stored.key, "size": stored.size, **digests})
        return found


def main() -> None:
    """Serve until it is interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("store", help="s3://bucket/prefix, gs://bucket, memory:/// to try")
    parser.add_argument("--bind", default="127.0.0.1:8000")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    options = parser.parse_args()
    config = import_module("hypercorn.config").Config.from_mapping(bind=[options.bind])
    serve = import_module(f"hypercorn.{options.backend}").serve
    # Ctrl-C may strike between any two lines, those of the event loop's own: trio would hang then.
    on_trio = {"restrict_keyboard_interrupt_to_checkpoints": True}
    run_options = on_trio if options.backend == "trio" else {}
    try:
        run = partial(serve, Uploads(options.store), config)
        anyio.run(run, backend=options.backend, backend_options=run_options)
    except* KeyboardInterrupt:  # on trio it may come in a group
        pass


if __name__ == "__main__":
    main()
