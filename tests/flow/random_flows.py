"""Random flows: bodies of random parts, and routers with the handlers that they are for.

Knows: every kind of handler that stores something, and how they are put into one another.
Must not know: what goes wrong, or what has to be left then.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import attrs
from obstore.store import MemoryStore

from mpflow import Order, Part, PartInfo, Router
from mpflow_handlers import Digest, Nested, ObjectStore, Save, Spool, SyncHandler, Tee
from tests.flow.support import Field, form, nested

KINDS = ["one", "early", "row", "save", "tee", "spool", "object", "digest", "sync"]
NEEDING = ["named", "teed"]
"""Kinds whose handlers need what the part `owner` gave."""
SIZES = [0, 1, 300, 300, 300, 5_000, 5_000, 70_000]


@attrs.frozen
class Leaf:
    """A part: its kind is its name, and chooses its handler."""

    kind: str
    size: int


@attrs.frozen
class Level:
    """The parts of one level, and how its router is made."""

    parts: tuple[Leaf | Level, ...]
    slots: int
    spools: bool
    """Whether parts may come before what they need."""


@attrs.frozen
class Plan:
    """A random flow: the same for the same seed."""

    level: Level
    chunk: int
    """Bytes of each chunk of the source."""
    nameless: bool
    """Whether the file system has O_TMPFILE."""

    @classmethod
    def of(cls, seed: int) -> Plan:
        """The plan of that seed."""
        chance = random.Random(seed)
        level = _level(chance, depth=2)
        chunk = chance.choice([4_000, 20_000, 1_000_000] if _size(level) > 20_000 else [300, 4_000])
        return cls(level, chunk, chance.random() < 0.7)

    @property
    def body(self) -> bytes:
        """The body on the wire."""
        return form(*_fields(self.level, "0"))


def _level(chance: random.Random, depth: int) -> Level:
    parts: list[Leaf | Level] = [
        Leaf(chance.choice(KINDS), chance.choice(SIZES)) for _ in range(chance.randint(1, 4))
    ]
    if depth and chance.random() < 0.7:
        parts.append(_level(chance, depth - 1))
    spools = chance.random() < 0.5
    needing = [Leaf(chance.choice(NEEDING), chance.choice(SIZES)) for _ in range(2)]
    if chance.random() < 0.7:
        parts += needing[: chance.randint(1, 2)]
    chance.shuffle(parts)
    owner = Leaf("owner", 5)
    parts.insert(chance.randint(0, len(parts)) if spools else 0, owner)
    return Level(tuple(parts), chance.choice([1, 2, 16]), spools)


def _size(level: Level) -> int:
    return sum(_size(part) if isinstance(part, Level) else part.size for part in level.parts)


def _fields(level: Level, path: str) -> list[Field]:
    fields: list[Field] = []
    for number, part in enumerate(level.parts):
        if isinstance(part, Level):
            inner = _fields(part, f"{path}{number}")
            fields.append(nested("inner", *inner, boundary=f"b{path}{number}"))
        else:
            data = bytes(f"{path}{number}", "ascii") * part.size
            fields.append(Field(part.kind, data[: part.size]))
    return fields


def _length(file: IO[bytes], info: PartInfo) -> int:
    """In a thread: reads a part as a file."""
    return sum(map(len, iter(lambda: file.read(1000), b"")))


@attrs.define(eq=False)
class Shop:
    """Where the handlers of a plan store: a folder, a store of objects, a table of rows.

    `step` is awaited wherever one of our own handlers waits.
    """

    directory: Path
    step: Callable[[], Awaitable[object]]
    store: MemoryStore = attrs.field(factory=MemoryStore)
    rows: list[tuple[int, ...]] = attrs.field(factory=list[tuple[int, ...]])
    running: int = 0

    async def one(self, part: Part) -> int:
        """In one phase: reads it all."""
        self.running += 1
        try:
            size = 0
            async for chunk in part:
                size += len(chunk)
                await self.step()
            return size
        finally:
            self.running -= 1

    async def early(self, part: Part) -> None:
        """In one phase: answers before it has read anything."""
        await self.step()

    async def owner(self, part: Part) -> str:
        """What other parts need."""
        text = await part.text()
        await self.step()
        return text

    @asynccontextmanager
    async def row(self, part: Part) -> AsyncGenerator[tuple[int, ...], None]:
        """In two phases: a row that is seen from the commit on."""
        await self.one(part)
        self.running += 1
        try:
            yield part.path
            await self.step()
            self.rows.append(part.path)
        finally:
            self.running -= 1

    def router(self, level: Level) -> Router:
        """The router of a level."""

        def name_of(info: PartInfo, owner: str) -> str:
            return f"{owner.strip()}-{'.'.join(map(str, info.path))}"

        save = Save(self.directory)
        order: Order = "spool" if level.spools else "reject"
        options: Any = {"needs": "owner", "order": order}
        router = Router(max_handlers=level.slots)
        router.add(self.owner, name="owner", key="owner")
        router.add(self.one, name="one")
        router.add(self.early, name="early")
        router.add(self.row, name="row")
        router.add(save, name="save")
        router.add(Tee(save, Digest("md5"), self.one, self.row), name="tee")
        router.add(Spool(max_memory=1000), name="spool")
        router.add(ObjectStore(self.store, digests=["md5"]), name="object")
        router.add(Digest("sha256"), name="digest")
        router.add(SyncHandler(_length), name="sync")
        router.add(Save(self.directory, name_of), name="named", **options)
        router.add(Tee(Save(self.directory, name_of), self.row), name="teed", **options)
        for part in level.parts:
            if isinstance(part, Level):
                inner = Nested(self.router(part), needs={"given": "owner"})
                router.add(inner, name="inner", order=order)
        return router

    def stored(self) -> tuple[list[str], list[str], list[tuple[int, ...]]]:
        """The files, the objects and the rows that there are."""
        files = sorted(path.name for path in self.directory.iterdir())
        objects = sorted(it["path"] for batch in self.store.list() for it in batch)
        return files, objects, sorted(self.rows)
