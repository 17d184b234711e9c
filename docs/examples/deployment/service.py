"""Uploads into S3 by any number of processes, on any number of machines: all of one, or nothing.

    UPLOADS_URL=s3://bucket hypercorn service:app --workers 0 --bind 127.0.0.1:8101

`POST /uploads/ID` takes a form with any number of files and answers 201 with their keys, sizes and
SHA-256. The client makes up the ID, and uses it again when it tries again: a 409 says that the
upload is there already. `GET /health` says how many uploads are under way.

No process has anything that another one needs. Each file of an upload becomes an object of its
own, and they are completed one after the other; so an upload counts from the moment on at which
its manifest is there, which is put last, and only where there is none. A process that is killed at
any moment leaves an upload with a manifest and all its objects, or one that nobody sees. What is
left of that is removed by `mpflow uploads --abort` and by sweep.py. A try that is refused at its
end deletes its objects itself, but never where its own manifest may stand.

Credentials, region and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, ...).

Knows: what an upload is, and when it counts. Must not know: how a multipart is read, or stored.

It needs multipart-flow[objectstore,serve].
"""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import suppress
from typing import Any

import attrs
import obstore
from anyio import CancelScope, move_on_after, to_thread
from obstore.store import from_url

from mpflow import Flow, Limits, Problem, Rejected, Route, Router
from mpflow.integrations.asgi import Answer, Exchange, Receive, Scope, Send, Upload
from mpflow_handlers import Digest, Discard, ObjectStore, Stored, Tee

ID = re.compile(r"/uploads/([0-9A-Za-z-]{16,64})")
CLEANUP = 10.0
"""Seconds that a client waits at most while the objects of its try are deleted."""


def manifest_of(upload: str) -> str:
    """The key of the object that makes an upload count."""
    return f"manifests/{upload}.json"


def publish(store: Any, upload: str, manifest: bytes) -> None:
    """Put the manifest. `Rejected` where that of another try stands, so that this never will.

    Any other failure leaves it open whether the manifest stands, or still will.
    """
    key = manifest_of(upload)
    try:
        obstore.put(store, key, manifest, mode="create")
    except Exception:
        # Where an answer was lost, the manifest that is there may be this one. No two tries have
        # the same: each names keys of its own.
        there: bytes | None = None
        with suppress(Exception):
            there = bytes(obstore.get(store, key).bytes())
        if there is None:
            raise  # also where none is there: a put whose answer was lost may still come through
        if there != manifest:
            raise Rejected(409, "this upload is there already") from None


def remove(store: Any, place: str) -> None:
    """Delete what one try has stored."""
    for page in obstore.list(store, prefix=f"{place}/"):
        obstore.delete(store, [found["path"] for found in page])


@attrs.define(eq=False)
class Service:
    """The service as an ASGI application. `store` is a bucket of obstore."""

    store: Any
    under_way: int = 0
    router: Router = attrs.field(init=False)
    files: Route[tuple[Stored, Any]] = attrs.field(init=False)
    uploads: Upload = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.router = Router(
            limits=Limits(max_parts=100, max_part_bytes="5 GiB", max_total_bytes="20 GiB")
        )
        # Nothing that the client says of a file goes into its key, or into its content type.
        objects = ObjectStore(
            self.store,
            key=lambda info, place: f"objects/{place}/{info.index}",
            attributes={"Content-Disposition": "attachment"},
        )
        self.files = self.router.add(
            Tee(objects, Digest("sha256")),
            filename="?*",
            key="files",
            required=True,
            needs="place",
        )
        self.router.add(Discard(), filename="")  # a file input that was left blank
        self.uploads = Upload(self.router, self.finish, given=self.begin, methods=("POST",))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or ID.fullmatch(scope["path"]):
            self.under_way += 1
            try:
                await self.uploads(scope, receive, send)
            finally:
                self.under_way -= 1
        elif scope["path"] == "/health":
            told = Answer.json(200, {"uploads": self.under_way - 1})  # the lifespan is one
            await Exchange(scope, receive, send).answer(told)
        else:
            problem = Problem(404, "expected /uploads/ and an ID of 16 to 64 letters and digits")
            await Exchange(scope, receive, send).answer(Answer.problem(problem))

    async def begin(self, scope: Scope) -> dict[str, str]:
        """Before the body is read: where the objects of this try go."""
        upload = scope["path"].rpartition("/")[2]
        try:
            await to_thread.run_sync(obstore.head, self.store, manifest_of(upload))
        except FileNotFoundError:
            # Two tries of one upload may be under way at the same time.
            return {"place": f"{upload}/{secrets.token_hex(8)}"}
        raise Rejected(409, "this upload is there already")

    async def finish(self, flow: Flow) -> Answer:
        """The body is whole, and all of it is in the store where nobody sees it."""
        stored = [(one, digests["sha256"]) for one, digests in flow.results.all(self.files)]
        told = [{"key": one.key, "size": one.size, "sha256": sha256} for one, sha256 in stored]
        place = stored[0][0].key.rpartition("/")[0]
        upload = place.split("/")[1]
        manifest = json.dumps({"files": told}).encode()
        try:
            await flow.commit()
        except BaseException:  # there will be no manifest
            await self.discard(place)
            raise
        try:
            with CancelScope(shield=True):  # what is committed is published
                await to_thread.run_sync(publish, self.store, upload, manifest)
        except Rejected:
            await self.discard(place)
            raise
        return Answer.json(201, {"upload": upload, "files": told})

    async def discard(self, place: str) -> None:
        """Delete the objects of a try that will never count. What stays is left to sweep.py."""
        with move_on_after(CLEANUP, shield=True), suppress(Exception):
            await to_thread.run_sync(remove, self.store, place, abandon_on_cancel=True)


app = Service(from_url(os.environ.get("UPLOADS_URL", "memory:///")))
