"""docs/examples/batch_mails.py: a local cluster of Dask, mails on disk and in S3, kill -9."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import obstore
import pytest

from mpflow.testing import PartSpec, body, content_type_of
from tests.objects import Bucket, moto

pytestmark = pytest.mark.clients

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "batch_mails.py"
PATIENCE = 180.0


def mail(number: int) -> tuple[bytes, bytes]:
    """A mail with an attachment of its own, and the attachment."""
    data = random.Random(number).randbytes(10_000 + number)
    message = EmailMessage()
    message["Subject"] = f"number {number}"
    message.set_content(f"text of {number}\n")
    message.add_attachment(data, maintype="image", subtype="gif", filename="bild.gif")
    return message.as_bytes(), data


@contextmanager
def program(folder: Path, store: str, *options: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    with (folder / "stderr").open("w") as err:
        popen = subprocess.Popen(
            [sys.executable, EXAMPLE, store, "--workers", "2", *options],
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            cwd=folder,
            env={**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical", **env},
            start_new_session=True,
        )
    with popen:
        try:
            yield popen
        finally:
            if popen.poll() is None:
                os.killpg(popen.pid, signal.SIGKILL)


def finish(folder: Path, store: str, *options: str, **env: str) -> tuple[int, list[str], str]:
    """Run it to its end: the exit code, the last line, and the failures."""
    with program(folder, store, *options, **env) as running:
        out, _ = running.communicate(timeout=PATIENCE)
        return running.returncode, out.splitlines(), (folder / "stderr").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty mails, a page that is cut, and one that is no mail."""
    (tmp_path / "mails" / "new").mkdir(parents=True)
    for number in range(60):
        (tmp_path / "mails" / "new" / f"{number}.eml").write_bytes(mail(number)[0])
    (tmp_path / "mails" / "cut.eml").write_bytes(mail(1)[0][:-1000])
    (tmp_path / "mails" / "plain.eml").write_bytes(b"Subject: a\r\n\r\nonly text\r\n")
    return tmp_path


def outcomes(folder: Path) -> dict[str, dict[str, Any]]:
    results = folder / "results"
    found = results.rglob("*.json")
    return {str(path.relative_to(results)): json.loads(path.read_text()) for path in found}


def times(folder: Path, pattern: str = "*") -> dict[Path, int]:
    """When each result was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "results").rglob(pattern)}


def check(folder: Path) -> None:
    """Each mail has its outcome, and its attachment is stored."""
    found = outcomes(folder)
    assert len(found) == 62
    for number in range(60):
        outcome = found[f"mails/new/{number}.eml.json"]
        assert outcome["error"] is None
        text, attached = outcome["parts"]
        data = mail(number)[1]
        assert text["text"] == f"text of {number}"
        assert attached["sha256"] == hashlib.sha256(data).hexdigest()
        assert (folder / attached["stored"]).read_bytes() == data
    assert found["mails/plain.eml.json"]["parts"] == []
    assert found["mails/cut.eml.json"]["error"].startswith("TruncatedBody: ")
    # Of the mail that is cut, nothing is kept.
    stored = list((folder / "results").rglob("*.gif"))
    assert len(stored) == 60


def test_a_folder_and_once_more(folder: Path) -> None:
    code, lines, err = finish(folder, folder.as_uri(), "--prefix", "mails/")
    assert (code, lines[-1]) == (1, "62 messages, 1 failed"), err
    assert "mails/cut.eml: TruncatedBody: " in err
    check(folder)
    before = times(folder)
    code, lines, err = finish(folder, folder.as_uri(), "--prefix", "mails/")
    assert (code, lines) == (0, ["0 messages, 0 failed"]), err
    assert times(folder) == before
    # What failed is done again where somebody asks for it.
    (folder / "mails" / "cut.eml").write_bytes(mail(1)[0])
    code, lines, err = finish(folder, folder.as_uri(), "--prefix=mails/", "--retry-failed")
    assert (code, lines[-1]) == (0, "1 messages, 0 failed"), err


def test_what_is_done_is_not_done_again_after_a_crash(folder: Path) -> None:
    with program(folder, folder.as_uri(), "--prefix", "mails/") as running:
        assert running.stdout is not None
        # At the first line: on a busy machine the workers are far ahead of who reads.
        assert running.stdout.readline()
        os.killpg(running.pid, signal.SIGKILL)  # the program, and all its workers
    done = times(folder, "*.json")
    assert 1 <= len(done) < 62
    _, lines, err = finish(folder, folder.as_uri(), "--prefix", "mails/")
    assert lines[-1].startswith(f"{62 - len(done)} messages, "), err
    after = times(folder, "*.json")
    assert {path: after[path] for path in done} == done
    check(folder)


def test_a_worker_that_is_killed_costs_nothing_but_time(folder: Path) -> None:
    with program(folder, folder.as_uri(), "--prefix", "mails/") as running:
        assert running.stdout is not None
        for _ in range(5):
            assert running.stdout.readline()
        worker = next(pid for pid in children(running.pid) if b"spawn_main" in command(pid))
        os.kill(worker, signal.SIGKILL)
        out, _ = running.communicate(timeout=PATIENCE)
    assert out.splitlines()[-1] == "62 messages, 1 failed"
    check(folder)


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_bucket(tmp_path: Path) -> None:
    with moto() as port:
        bucket = Bucket(port)
        store = bucket.store()
        for number in range(5):
            obstore.put(store, f"mails/{number}.eml", mail(number)[0])
        archived = body([PartSpec(b"abc", name="f", filename="a.txt")])
        # Of form-data moto would keep the value of the first field, whatever the method is.
        attributes: Any = {"Content-Type": content_type_of(subtype="mixed")}
        obstore.put(store, "mails/upload", archived, attributes=attributes)
        env = {
            "AWS_ENDPOINT": bucket.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }
        code, lines, err = finish(tmp_path, f"s3://{bucket.name}", "--prefix=mails/", **env)
        assert (code, lines[-1]) == (0, "6 messages, 0 failed"), err
        told = json.loads(bytes(obstore.get(store, "results/mails/upload.json").bytes()))
        (part,) = told["parts"]
        assert bytes(obstore.get(store, part["stored"]).bytes()) == b"abc"
        keys, left = bucket.left()
        assert (len(keys), left) == (6 * 3, [])
        bucket.close()
