"""The FastAPI endpoint of the README, as it stands there, under the servers that it names.

Knows: README.md, HTTP, Linux's /proc. Must not know: how the library does it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from openapi_spec_validator import validate

from mpflow.testing import PartSpec, body, content_type_of

README = Path(__file__).parents[2] / "README.md"
PATIENCE = 60.0
SERVERS = {
    "uvicorn": ["uvicorn", "main:app", "--fd", "{fd}"],
    "hypercorn-trio": ["hypercorn", "main:app", "-k", "trio", "-w", "0", "-b", "fd://{fd}"],
}
PHOTO = bytes(range(256)) * 5000


def code() -> str:
    (block,) = re.findall(
        r"^An upload endpoint, `main.py`:\n\n```python\n(.*?)^```$",
        README.read_text("utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    return block


@attrs.frozen
class Served:
    process: subprocess.Popen[bytes]
    folder: Path
    url: str

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    def files(self) -> list[str]:
        return os.listdir(self.inbox)

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8")

    def staged(self) -> bool:
        """Whether it has a file in its inbox open."""
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                if os.readlink(link).startswith(str(self.inbox)):
                    return True
            except FileNotFoundError:
                continue  # closed since it was listed
        return False

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.log()
            assert httpx.get(f"{self.url}/openapi.json", timeout=PATIENCE).status_code == 200


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "main.py").write_text(code(), "utf-8")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # whoever connects waits until the server accepts
        port = listener.getsockname()[1]
        fd = listener.fileno()
        command = [part.format(fd=fd) for part in SERVERS[request.param]]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=folder,
                stdout=log,
                stderr=log,
                pass_fds=[fd],
            )
    with process:
        try:
            yield Served(process, folder, f"http://127.0.0.1:{port}")
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
        finally:
            process.kill()


@pytest.fixture
def served(server: Served) -> Served:
    for name in server.files() if server.inbox.exists() else []:
        (server.inbox / name).unlink()
    return server


# -- clients ----------------------------------------------------------------------------------


def curl(url: str, folder: Path, title: bytes | None, photo: bytes) -> tuple[int, Any]:
    (folder / "dawn.jpg").write_bytes(photo)
    command = ["curl", "-sS", "--max-time", str(PATIENCE), "-w", "\n%{http_code}"]
    if title is not None:
        (folder / "title").write_bytes(title)
        command += ["-F", f"title=<{folder}/title"]
    command += ["-F", f"photo=@{folder}/dawn.jpg", f"{url}/photos"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def httpx_post(url: str, folder: Path, title: bytes | None, photo: bytes) -> tuple[int, Any]:
    files: list[Any] = [("photo", ("dawn.jpg", photo, "image/jpeg"))]
    if title is not None:
        files.insert(0, ("title", (None, title)))
    answer = httpx.post(f"{url}/photos", files=files, timeout=PATIENCE)
    return answer.status_code, answer.text


WITHOUT = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(params=[pytest.param(curl, marks=WITHOUT), httpx_post])
def post(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_it_is_short() -> None:
    assert len(code().splitlines()) < 25


def test_an_upload(served: Served, post: Any, tmp_path: Path) -> None:
    status, text = post(served.url, tmp_path, b"Dawn", PHOTO)
    assert status == 200, text
    answer = json.loads(text)
    assert (answer["title"], answer["size"]) == ("Dawn", len(PHOTO))
    assert served.files() == [answer["file"]]
    assert (served.inbox / answer["file"]).read_bytes() == PHOTO


def test_a_part_that_is_missing(served: Served, post: Any, tmp_path: Path) -> None:
    status, text = post(served.url, tmp_path, None, PHOTO)
    assert (status, json.loads(text)["missing"]) == (422, ["title"])
    assert served.files() == []


def test_a_photo_that_is_too_large(served: Served, post: Any, tmp_path: Path) -> None:
    status, text = post(served.url, tmp_path, b"Dawn", bytes(50 * 1024 * 1024 + 1))
    answer = json.loads(text)
    assert (status, answer["limit"], answer["part"]["name"]) == (413, "max_bytes", "photo")
    assert served.files() == []
    assert not served.staged()


def test_a_handler_that_refuses_its_part(served: Served, post: Any, tmp_path: Path) -> None:
    status, text = post(served.url, tmp_path, b"\xff", PHOTO)
    assert (status, json.loads(text)["part"]["name"]) == (422, "title")
    assert served.files() == []


def test_a_handler_that_fails(served: Served, post: Any, tmp_path: Path) -> None:
    served.inbox.rename(served.folder / "elsewhere")
    try:
        status, text = post(served.url, tmp_path, b"Dawn", PHOTO)
        assert (status, text) == (500, "Internal Server Error")
    finally:
        (served.folder / "elsewhere").rename(served.inbox)
    served.until(lambda: "FileNotFoundError" in served.log())  # logged once it is answered
    assert served.files() == []
    assert post(served.url, tmp_path, b"Dawn", PHOTO)[0] == 200


def test_a_client_that_is_cut(served: Served) -> None:
    data = body([("title", "Dawn"), PartSpec(PHOTO, name="photo", filename="dawn.jpg")])
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(
            f"POST /photos HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(data)}\r\n"
            f"Content-Type: {content_type_of()}\r\n\r\n".encode()
        )
        client.sendall(data[:-100])
        served.until(served.staged)
    served.until(lambda: not served.staged())
    assert served.files() == []


def test_the_document(served: Served) -> None:
    document = httpx.get(f"{served.url}/openapi.json", timeout=PATIENCE).json()
    validate(document)
    asked = document["paths"]["/photos"]["post"]["requestBody"]
    schema = asked["content"]["multipart/form-data"]["schema"]
    assert schema["required"] == ["title", "photo"]
    assert schema["properties"]["title"] == {"type": "string"}
    assert schema["properties"]["photo"]["format"] == "binary"
