"""The CSV example: rows that are read while the upload comes, and that stand all or not at all.

Knows: docs/examples/csv_upload.py. Must not know: how the library does it.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from anyio import to_thread

from mpflow import ClientDisconnected, MissingParts, MultipartReader, Rejected
from mpflow.testing import PartSpec, body, content_type_of

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "csv_upload.py"
HEAD = b"time,sensor,celsius\r\n"
ROWS = 20_000


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = spec_from_file_location("csv_upload", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # attrs looks the module of a class up by its name.
    sys.modules["csv_upload"] = module
    spec.loader.exec_module(module)
    return module


def stored(database: Path) -> int:
    """How many rows somebody else sees."""
    connection = sqlite3.connect(database)
    try:
        tables = connection.execute("select count(*) from sqlite_schema").fetchone()[0]
        if not tables:
            return 0
        return int(connection.execute("select count(*) from reading").fetchone()[0])
    finally:
        connection.close()


async def test_rows_are_read_while_they_come_and_seen_at_the_commit(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "readings.db"
    read, real = 0, example.readings

    def counted(file: Any) -> Iterator[Any]:
        nonlocal read
        for row in real(file):
            read += 1
            yield row

    monkeypatch.setattr(example, "readings", counted)
    form = example.upload(ROWS)
    most, meanwhile = 0, []

    async def watched() -> AsyncIterator[bytes]:
        nonlocal most
        async for chunk in form:
            # The first rows are read before the rest is sent, or this never ends.
            while len(meanwhile) == 5 and not read:
                await anyio.lowlevel.checkpoint()
            meanwhile.append(await to_thread.run_sync(stored, database))
            most = read
            yield chunk

    reader = MultipartReader(watched(), form.content_type)
    assert await example.receive(example.make_router(database), reader) == ROWS
    assert len(meanwhile) > 5
    assert set(meanwhile) == {0}
    assert most > 0
    assert stored(database) == ROWS


def message(*, rows: bytes = b"", summary: str | None = '{"rows": 2}', content: str = "") -> bytes:
    specs = [
        PartSpec(
            HEAD + b"t,s,1.5\r\nt,s,2\r\n" + rows,
            name="readings",
            filename="r.csv",
            content_type=f"text/csv{content}",
        )
    ]
    if summary is not None:
        specs.append(PartSpec(summary, name="summary"))
    return body(specs)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (message(rows=b"t,s,warm\r\n"), "line 4: could not convert"),
        (message(rows=b"t,s\r\n"), "line 4: not enough values"),
        (message(rows=b't,"s"s,1\r\n'), "line 4: "),
        (message(rows=b"t,\xff,1\r\n"), "codec can't decode"),
        (message(rows=b"t,s,nan\r\n"), "line 4: expected degrees, got nan"),
        (message(rows=b"t,s,-inf\r\n"), "line 4: expected degrees, got -inf"),
        (message(rows=b"t" * 70_000), "line 4: expected rows of at most 65536 characters"),
        (message(rows=b'"\r\n",' * 20_000), r"line \d+: expected rows of at most 65536 char"),
        (message(summary='{"rows": 3}'), "expected a summary of 2 rows"),
        (message(summary="[]"), "expected a summary of 2 rows"),
        (message().replace(b"celsius", b"kelvin"), "expected the columns time,sensor,celsius"),
        (message(summary=None), "required parts did not come: 'summary'"),
    ],
)
async def test_a_refused_upload_leaves_no_row(
    example: ModuleType, tmp_path: Path, data: bytes, text: str
) -> None:
    database = tmp_path / "readings.db"
    router = example.make_router(database)
    with pytest.raises((Rejected, MissingParts), match=text) as caught:
        await example.receive(router, MultipartReader(data, content_type_of()))
    assert caught.value.status == 422
    assert stored(database) == 0
    assert await example.receive(router, MultipartReader(message(), content_type_of())) == 2
    assert stored(database) == 2


async def test_a_client_that_goes_away_leaves_no_row(example: ModuleType, tmp_path: Path) -> None:
    database = tmp_path / "readings.db"
    form = example.upload(ROWS)

    async def cut() -> AsyncIterator[bytes]:
        sent = 0
        async for chunk in form:
            sent += len(chunk)
            if sent > 300_000:
                raise ClientDisconnected("it went away")
            yield chunk

    reader = MultipartReader(cut(), form.content_type)
    with pytest.raises(ClientDisconnected):
        await example.receive(example.make_router(database), reader)
    assert stored(database) == 0


def test_as_a_program(tmp_path: Path, anyio_backend_name: str) -> None:
    database = tmp_path / "readings.db"
    command = [sys.executable, EXAMPLE, "--rows=1000", "--database", database]
    done = subprocess.run(
        [*command, "--backend", anyio_backend_name], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1000 rows in ")
    assert stored(database) == 1000
