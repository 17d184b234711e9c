"""What a type checker knows of parts as files, and of digests that are told."""

from __future__ import annotations

import io
from typing import BinaryIO, TextIO, assert_type

from mpflow import Part, PartInfo, Route, Router
from mpflow_handlers import Digest, Spool, Spooled, SyncHandler


def total(file: io.TextIOWrapper, info: PartInfo) -> float:
    return sum(map(float, file))


def lines(file: TextIO, info: PartInfo) -> list[str]:
    return list(file)


def size(file: BinaryIO, info: PartInfo, *, owner: str) -> int:
    return len(file.read())


def whole(file: io.BufferedReader, info: PartInfo) -> bytes:
    return file.read()


router = Router()
assert_type(router.add(SyncHandler(total, text=True)), Route[float])
assert_type(router.add(SyncHandler(lines, text=True, encoding="utf-8")), Route[list[str]])
assert_type(router.add(SyncHandler(size), needs="owner"), Route[int])
assert_type(router.add(Spool("1 MiB")), Route[Spooled])
SyncHandler(lambda file, info: file.peek())
SyncHandler(lambda file, info: file.newlines, text=True)
SyncHandler(total)  # error: the file is binary
SyncHandler(whole, text=True)  # error: the file is text
SyncHandler(whole, encoding="utf-8")  # error: there is nothing to decode


async def by_hand(part: Part, spooled: Spooled) -> None:
    assert_type(await SyncHandler(whole)(part), bytes)
    assert_type(await spooled.read(limit=None), bytes)
    assert_type(spooled.file(), io.BufferedReader)


def told(info: PartInfo, *, manifest: dict[str, str]) -> str | None:
    return manifest.get(info.filename or "")


def wrong(name: str) -> str:
    return name


Digest("sha256", expected=told)
Digest("sha256", expected={"sha256": "00"})
Digest("sha256", expected={"sha256": b"\0"})
Digest(expected=lambda info: info.headers.get("X-Digest"))
Digest(expected="Content-MD5")
Digest(expected=5)  # error: it tells nothing
Digest(expected=wrong)  # error: it takes no PartInfo
