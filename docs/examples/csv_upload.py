"""A CSV of any size into SQLite while it uploads: all of its rows, or none.

    python csv_upload.py [--rows 1000000] [--database readings.db] [--backend asyncio|trio]

makes such an upload up and receives it. `receive` is what a service would call with the reader of
its request; upload_service.py has the HTTP around it.

The rows go, as they come, into a temporary database that nobody else sees; SQLite removes it with
its connection. At the commit, when the whole upload is in and no part was refused, one statement
in one transaction moves them over. So a client that is slow holds no lock, and one that goes away
leaves nothing.

Knows: what a reading is, and SQLite. Must not know: how a multipart is read.
"""

from __future__ import annotations

import argparse
import csv
import io
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import anyio
import attrs
from anyio import to_thread

from mpflow import FormData, Limits, MultipartReader, Part, PartInfo, Rejected, Router
from mpflow_handlers import Json, SyncHandler

COLUMNS = ["time", "sensor", "celsius"]
ROW = 64 * 1024
"""Characters of a row at most: `csv` holds one in memory."""
READING = "(time text not null, sensor text not null, celsius real not null)"


@attrs.frozen
class Load:
    """A handler: the rows of a CSV into a table of `database`; gives how many."""

    database: Path

    @asynccontextmanager
    async def __call__(self, part: Part) -> AsyncGenerator[int, None]:
        connection = await to_thread.run_sync(self._connect)
        try:
            # In a thread of its own, for as long as the upload takes.
            yield await SyncHandler(partial(fill, connection), text=True)(part)
            await to_thread.run_sync(publish, connection)
        finally:
            # Also after a failure or a cancellation. What was not committed is gone.
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(connection.close)

    def _connect(self) -> sqlite3.Connection:
        # No name: a temporary database, in memory while it is small, else in a file without a name.
        connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        connection.execute(f"create table staged {READING}")
        connection.execute("attach ? as store", [str(self.database)])
        connection.execute(f"create table if not exists store.reading {READING}")
        return connection


def fill(connection: sqlite3.Connection, file: io.TextIOWrapper, info: PartInfo) -> int:
    """Stage the rows of a CSV. It blocks, mostly because it waits for the client."""
    connection.execute("begin")
    inserted = connection.executemany("insert into staged values (?, ?, ?)", readings(file))
    connection.execute("commit")
    return inserted.rowcount


def readings(file: io.TextIOWrapper) -> Iterator[tuple[str, str, float]]:
    """The rows of a CSV, checked. What is wrong with one is said of its line."""
    lines = Lines(file)
    rows = csv.reader(lines, strict=True)
    try:
        if (head := next(rows, [])) != COLUMNS:
            raise ValueError(f"expected the columns {','.join(COLUMNS)}, got {head!a:.60}")
        lines.room = ROW
        for when, sensor, celsius in rows:
            if not isfinite(degrees := float(celsius)):
                raise ValueError(f"expected degrees, got {celsius:.20}")
            yield when, sensor, degrees
            lines.room = ROW
    except (ValueError, csv.Error) as error:
        raise Rejected(422, f"line {lines.number}: {error}") from error


@attrs.define
class Lines:
    """The lines of a file, for `csv`: it would hold a line, or a row, that never ends."""

    file: io.TextIOWrapper
    room: int = ROW
    """Characters that are left for the row. A row may be many lines, in quotes."""
    number: int = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number += 1
        line = self.file.readline(self.room + 1)
        if not line:
            raise StopIteration
        self.room -= len(line)
        if self.room < 0:
            raise ValueError(f"expected rows of at most {ROW} characters, got a longer one")
        return line


def publish(connection: sqlite3.Connection) -> None:
    """Move the staged rows over, in one transaction."""
    connection.execute("begin immediate")
    connection.execute("insert into store.reading select * from staged")
    connection.execute("commit")


def make_router(database: Path) -> Router:
    """An upload has one CSV, and says how many rows it should have."""
    router = Router(limits=Limits(max_part_bytes="1 GiB", max_total_bytes="1 GiB"))
    router.add(Load(database), name="readings", filename="*.csv", required=True, max_count=1)
    router.add(Json(), name="summary", required=True, max_count=1)
    return router


async def receive(router: Router, reader: MultipartReader) -> int:
    """Receive an upload; its rows stand when this returns, or none of them."""
    async with router.flow(reader) as flow:
        # Everything is staged, and nothing of it can be seen. Last chance to refuse it.
        rows: int = flow.results["readings"]
        summary: Any = flow.results["summary"]
        if not isinstance(summary, dict) or summary.get("rows") != rows:
            raise Rejected(422, f"expected a summary of {rows} rows, got {summary!a:.60}")
    return rows


# -- a client, made up ------------------------------------------------------------------------


async def made_up(rows: int) -> AsyncIterator[bytes]:
    """A CSV of so many rows, made while it is sent."""
    yield b"time,sensor,celsius\r\n"
    for start in range(0, rows, 1000):
        block = (
            f"2026-11-22T18:{i // 60 % 60:02}:{i % 60:02}Z,s{i % 97},{i % 400 / 10}\r\n"
            for i in range(start, min(start + 1000, rows))
        )
        yield "".join(block).encode()


def upload(rows: int) -> FormData:
    """An upload of so many rows: an async iterable of bytes, as a client would send it."""
    form = FormData()
    form.add("readings", made_up(rows), filename="readings.csv", content_type="text/csv")
    form.add("summary", f'{{"rows": {rows}}}')
    return form


async def main(rows: int, database: Path) -> None:
    """Send an upload to ourselves, and say what came of it."""
    form, began = upload(rows), time.perf_counter()
    received = await receive(make_router(database), MultipartReader(form, form.content_type))
    print(f"{received} rows in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", type=Path, default=Path("readings.db"))
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    options = parser.parse_args()
    anyio.run(main, options.rows, options.database, backend=options.backend)
