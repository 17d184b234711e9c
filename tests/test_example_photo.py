"""The photo example: all or nothing, also where its process is killed.

Knows: docs/examples/photo_upload.py and HTTP. Must not know: how the library does it.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest
from anyio import to_thread

from mpflow import ClientDisconnected, InvalidContent, MultipartReader, WireError
from mpflow.testing import Cut, Failing, content_type_of
from tests.http import serving
from tests.killed_uploads import EXAMPLE, PHOTOS, form, load, post, state

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    module: ModuleType = load()
    return module


@pytest.fixture
def service(example: ModuleType, tmp_path: Path) -> Any:
    made = example.Photos(tmp_path / "photos", tmp_path / "photos.db")
    made.prepare()
    return made


def stored(service: Any) -> tuple[list[str], list[str]]:
    """The files that stand, and the files that rows name."""
    found = state(service.directory.parent)
    return sorted(found["files"]), sorted(file for _, file, _ in found["rows"])


@pytest.mark.anyio
async def test_an_upload_is_stored(service: Any) -> None:
    async with serving(service) as port, httpx.AsyncClient() as client:
        headers = {"Content-Type": content_type_of()}
        url = f"http://127.0.0.1:{port}/"
        response = await client.post(url, content=form("Sea", PHOTOS), headers=headers)
        assert response.status_code == 201, response.text
        for parts, status, text in [
            (form("Sea", []), 422, "did not come: photos"),
            (form("Sea", PHOTOS).replace(b'"owner"', b'"nobody"'), 422, "owner"),
            (form("Sea", PHOTOS)[:-20], 400, "close delimiter"),
        ]:
            refused = await client.post(url, content=parts, headers=headers)
            assert refused.status_code == status
            assert text in refused.json()["error"]
        assert (await client.get(url)).status_code == 404
    answer = response.json()
    assert answer["title"] == "Sea"
    files, rows = stored(service)
    assert files == rows == sorted(answer["files"])
    first = (service.directory / answer["files"][0]).read_bytes()
    assert first == PHOTOS[0]


@pytest.mark.anyio
async def test_rows_that_are_refused_keep_no_file(service: Any) -> None:
    connection = service.connect()
    refuse = "create trigger full before insert on photo begin select raise(abort, 'no'); end"
    connection.execute(refuse)
    connection.close()
    with pytest.raises(sqlite3.IntegrityError, match="no"):
        await service.store(MultipartReader(form("Sea", PHOTOS), content_type_of()))
    assert stored(service) == ([], [])


@pytest.mark.anyio
@pytest.mark.parametrize("at", [0, 500, 2_000, 400_000])
async def test_a_client_that_goes_away_leaves_nothing(service: Any, at: int) -> None:
    data = form("Sea", PHOTOS)
    gone = ClientDisconnected("it went away")
    for source in (Cut(data, at, 1000), Failing(data, at, 1000, error=gone)):
        with pytest.raises(WireError, match=r"ended|went away|no byte|empty"):
            await service.store(MultipartReader(source, content_type_of()))
        assert stored(service) == ([], [])


@pytest.mark.anyio
async def test_the_sweeper_removes_what_no_row_names(service: Any) -> None:
    upload = await service.store(MultipartReader(form("Sea", PHOTOS), content_type_of()))
    (service.directory / "f00d").write_bytes(b"left")
    young, old = service.directory / ".mpflow-young.part", service.directory / ".mpflow-old.part"
    young.touch()
    old.touch()
    os.utime(old, (0, time.time() - service.temporary_age - 60))
    assert service.sweep() == [old.name, "f00d"]
    assert service.sweep() == []
    files, rows = stored(service)
    assert files == sorted([*rows, young.name])
    assert rows == sorted(photo.name for photo in upload.photos)


@pytest.mark.anyio
async def test_the_sweeper_waits_for_an_upload_that_names_its_files(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the names of the files and the commit of the rows the lock is held."""
    swept: list[object] = []
    real = type(service).connect

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql == "commit":
                assert len(os.listdir(service.directory)) == len(PHOTOS)
                try:
                    swept.append(service.sweep())
                except sqlite3.OperationalError as error:
                    swept.append(str(error))
            return super().execute(sql, *args)

    def connect(self: Any) -> sqlite3.Connection:
        return sqlite3.connect(
            self.database, timeout=0, isolation_level=None, check_same_thread=False, factory=Watched
        )

    monkeypatch.setattr(type(service), "connect", connect)
    await service.store(MultipartReader(form("Sea", PHOTOS), content_type_of()))
    monkeypatch.setattr(type(service), "connect", real)
    assert swept == ["database is locked"]
    files, rows = stored(service)
    assert files == rows


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_as_a_program(backend: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        places = [f"--directory={tmp_path}/photos", f"--database={tmp_path}/photos.db"]
        bind = ["--bind", f"fd://{listener.fileno()}", "--backend", backend]
        with subprocess.Popen(
            [sys.executable, str(EXAMPLE), *places, *bind],
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                status = post(listener.getsockname()[1], "Sea", PHOTOS)
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=30)
            finally:
                process.kill()  # else leaving the block would wait for it
    assert status == 201
    assert "Traceback" not in errors
    found = state(tmp_path)
    assert sorted(found["files"]) == sorted(file for _, file, _ in found["rows"])
    assert len(found["files"]) == len(PHOTOS)


@pytest.mark.parametrize(("backend", "kind"), [("asyncio", "nameless"), ("trio", "temporary")])
def test_killed_at_each_step(backend: str, kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.killed_uploads", backend, str(tmp_path), kind]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    trials: list[dict[str, Any]] = json.loads(done.stdout)
    whole = sorted(["before"] + ["upload"] * len(PHOTOS))
    expected = sorted(hashlib.sha256(data).hexdigest() for data in [PHOTOS[0], *PHOTOS])
    for trial in trials:
        crashed, swept = trial["crashed"], trial["swept"]
        # Never a row without its file, and never half an upload.
        assert all(crashed["files"].get(file) == digest for _, file, digest in crashed["rows"])
        titles = sorted(title for title, _, _ in crashed["rows"])
        assert titles in (["before"], whole)
        # What the rows say is what they said before the sweeping, and each file has its row.
        assert swept["rows"] == crashed["rows"]
        assert swept["files"] == {file: digest for _, file, digest in swept["rows"]}
        if "close the database" in trial["steps"]:
            assert titles == whole  # it was committed: nothing of it is lost
            assert sorted(swept["files"].values()) == expected
        else:
            assert titles == ["before"]
    assert trials[-1]["status"] == 201
    assert all(trial["status"] is None for trial in trials[:-1])
    left = [len(trial["crashed"]["files"]) for trial in trials]
    assert max(left) >= 1 + len(PHOTOS)
    # Each step was died at, and those that matter are among them.
    assert all(len(b["steps"]) - len(a["steps"]) == 1 for a, b in pairwise(trials[:-1]))
    steps = [trial["steps"][-1] for trial in trials]
    matter = ["begin immediate", "commit", "close the database", "http.response.start"]
    assert [step for step in steps if step in matter] == matter
    assert steps.count("link_open" if kind == "nameless" else "link") == len(PHOTOS)
    print(f"killed at {len(trials) - 1} steps on {backend} ({kind}): {', '.join(steps)}")


@pytest.mark.anyio
async def test_more_uploads_at_once_than_there_are_worker_threads(service: Any) -> None:
    """They wait in turn for the database, and leave the threads to the one whose turn it is."""
    count = int(to_thread.current_default_thread_limiter().total_tokens) + 5

    async def store() -> None:
        await service.store(MultipartReader(form("Sea", PHOTOS[2:]), content_type_of()))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as uploads:
            for _ in range(count):
                uploads.start_soon(store)
    files, rows = stored(service)
    assert files == rows
    assert len(files) == count


@pytest.mark.anyio
async def test_metadata_that_no_database_can_hold_is_refused(service: Any) -> None:
    data = form("Sea", PHOTOS).replace(b'"Sea"', b'"\\ud800"')
    with pytest.raises(InvalidContent, match="surrogates not allowed"):
        await service.store(MultipartReader(data, content_type_of()))
    assert stored(service) == ([], [])
