"""A DICOMweb store (STOW-RS): instances of a `multipart/related`, each a file, answered one by one.

    python dicomweb_store.py [--directory instances] [--port 8000]

`POST /studies` takes `multipart/related; type="application/dicom"` with an instance a part (DICOM
PS3.18, 10.5). Instances stand or fail one by one: what is no DICOM, or is there already, is listed
as failed, and the others are stored, all of them once the whole message is in. A message that is
cut leaves nothing.

Knows: what identifies an instance, and what STOW-RS answers. It is no archive: nothing but the
identifiers is looked at. Must not know: how a multipart is read, or how a file is stored.

It needs aiohttp.
"""

from __future__ import annotations

import argparse
import re
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
from aiohttp import web

from mpflow import InvalidContent, Limits, MultipartError, MultipartReader, Part, Rejected, Router
from mpflow.predicates import content_type, sniff
from mpflow_handlers import Save

UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")  # PS3.5, 9.1
LONG_LENGTHS = {b"OB", b"OW", b"OF", b"SQ", b"UT", b"UN"}  # PS3.5, 7.1.2
META_BYTES = 4096
"""Bytes that the file meta information has to be in: it takes a few hundred."""


@attrs.frozen
class Instance:
    """What identifies a DICOM instance."""

    sop_class: str
    uid: str


def is_dicom(head: bytes) -> bool:
    """Whether it begins as a DICOM file does: 128 bytes of anything, and a mark (PS3.10, 7.1)."""
    return head[128:132] == b"DICM"


def identify(head: bytes) -> Instance:
    """The instance whose file begins so. Raises `InvalidContent`."""
    found: dict[tuple[int, int], str] = {}
    at = 132
    while at + 8 <= len(head):
        # PS3.10, 7.1: the meta information is explicit VR little endian, whatever follows it.
        group, element, kind, length = struct.unpack_from("<HH2sH", head, at)
        if group != 2:
            break
        at += 8
        if kind in LONG_LENGTHS:
            (length,) = struct.unpack_from("<I", head.ljust(at + 4, b"\0"), at)
            at += 4
        if kind == b"UI":
            found[group, element] = head[at : at + length].rstrip(b"\0 ").decode("ascii", "replace")
        at += length
    uids = [found.get((2, 2), ""), found.get((2, 3), "")]
    for uid in uids:
        if len(uid) > 64 or not UID.fullmatch(uid):
            raise InvalidContent(f"expected the UIDs of a SOP instance, got {uid[:64]!a}")
    return Instance(*uids)


@attrs.frozen
class Store:
    """A handler: stores a DICOM instance under its own UID, and gives what identifies it."""

    directory: Path

    @asynccontextmanager
    async def __call__(self, part: Part) -> AsyncGenerator[Instance, None]:
        instance = identify(await part.peek(META_BYTES))
        async with Save(self.directory, f"{instance.uid}.dcm")(part):
            yield instance


async def refuse(part: Part) -> None:
    """A handler for what is no DICOM."""
    raise InvalidContent(f"expected a DICOM instance, got {part.content_type}")


def make_router(directory: Path) -> Router:
    """A router whose parts fail one by one."""
    router = Router(limits=Limits(max_parts=1000, max_part_bytes="2 GiB", max_total_bytes="8 GiB"))
    dicom = content_type("application/dicom") & sniff(132, is_dicom)
    router.add(Store(directory), dicom, on_error="collect")
    router.add(refuse, on_error="collect")
    return router


async def store(router: Router, reader: MultipartReader) -> tuple[int, dict[str, Any]]:
    """Store the instances of a message; the status, and the dataset that tells of each of them."""
    root = reader.content_type_params.get("type", "").lower()
    if (reader.content_type, root) != ("multipart/related", "application/dicom"):
        raise Rejected(415, 'expected multipart/related; type="application/dicom"')
    results = await router.dispatch(reader)
    stored = [item.value for item in results if item.error is None]
    failed = [item.error for item in results if item.error is not None]
    dataset: dict[str, Any] = {}
    if stored:
        dataset["00081199"] = sequence([reference(instance) for instance in stored])
    if failed:
        dataset["00081198"] = sequence([reason(error) for error in failed])
    # PS3.18, 10.5.3: all of them, some of them, none of them.
    return (409 if not stored else 202 if failed else 200), dataset


# -- the DICOM JSON model (PS3.18, F) ---------------------------------------------------------


def sequence(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items}


def reference(instance: Instance) -> dict[str, Any]:
    """Referenced SOP Class UID and Referenced SOP Instance UID."""
    return {
        "00081150": {"vr": "UI", "Value": [instance.sop_class]},
        "00081155": {"vr": "UI", "Value": [instance.uid]},
    }


def reason(error: BaseException) -> dict[str, Any]:
    """Failure Reason (PS3.4, B.2.3): there is one already, it cannot be read, or it went wrong."""
    if isinstance(error, FileExistsError):
        code = 0x0111
    else:
        code = 0xC000 if isinstance(error, MultipartError) else 0x0110
    return {"00081197": {"vr": "US", "Value": [code]}}


# -- HTTP -------------------------------------------------------------------------------------


def make_app(directory: Path) -> web.Application:
    """The service as an application of aiohttp."""
    router = make_router(directory)

    async def studies(request: web.Request) -> web.Response:
        try:
            status, dataset = await store(router, MultipartReader.from_message(request))
        except MultipartError as error:
            return web.json_response({"error": str(error)}, status=error.status)
        return web.json_response(dataset, status=status, content_type="application/dicom+json")

    app = web.Application()
    app.router.add_post("/studies", studies)
    return app


def main() -> None:
    """Serve until it is interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--directory", type=Path, default=Path("instances"))
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    web.run_app(make_app(options.directory), host="127.0.0.1", port=options.port)


if __name__ == "__main__":
    main()
