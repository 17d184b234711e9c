"""docs/examples/deployment: three processes behind nginx, a real S3 API, and kill -9.

Knows: nginx, processes, HTTP by hand, and what is in the bucket.
Must not know: how an upload gets there.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import obstore
import pytest

from mpflow.testing import PartSpec, body, content_type_of
from tests.objects import Bucket, moto

pytestmark = pytest.mark.clients

FOLDER = Path(__file__).parents[2] / "docs" / "examples" / "deployment"
PATIENCE = 120.0
LARGE = random.Random(5).randbytes(30_000_000)
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@attrs.define(eq=False)
class Process:
    """One of the service's processes."""

    popen: subprocess.Popen[bytes]
    port: int

    def under_way(self) -> int:
        _, told = ask(self.port, "GET", "/health")
        return int(told["uploads"])

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(PATIENCE)


@attrs.define(eq=False)
class Deployment:
    """nginx's port, the processes behind it, and the bucket behind them."""

    port: int
    processes: list[Process]
    bucket: Bucket
    env: dict[str, str]

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.env, cwd=FOLDER, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def abandoned(self, *options: str) -> list[dict[str, Any]]:
        """What `mpflow uploads` says."""
        told = self.run(
            *(sys.executable, "-m", "mpflow", "uploads", self.bucket.name),
            *("--endpoint", self.bucket.endpoint, "--older-than=0s", "--json", *options),
        )
        return list(json.loads(told)["uploads"])

    def manifests(self) -> dict[str, list[dict[str, Any]]]:
        """The uploads that count, and the files of each."""
        store = self.bucket.store()
        keys = [key for key in self.keys() if key.startswith("manifests/")]
        found = {key: json.loads(bytes(obstore.get(store, key).bytes())) for key in keys}
        return {key[10:-5]: manifest["files"] for key, manifest in found.items()}

    def objects(self) -> list[str]:
        return [key for key in self.keys() if key.startswith("objects/")]

    def keys(self) -> list[str]:
        return self.bucket.left()[0]


def ask(port: int, method: str, path: str, data: bytes = b"") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, data, {"Content-Type": content_type_of()})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    finally:
        connection.close()


def upload(port: int, upload_id: str, *files: bytes) -> tuple[int, Any]:
    specs = [
        PartSpec(data, name="f", filename=f"{number}.bin") for number, data in enumerate(files)
    ]
    return ask(port, "POST", f"/uploads/{upload_id}", body(specs))


def start(folder: Path, env: dict[str, str], number: int) -> Process:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        (folder / f"service-{number}.log").open("wb") as log,
    ):
        fd = listener.fileno()
        command = [sys.executable, "-m", "hypercorn", "service:app", "--workers", "0"]
        popen = subprocess.Popen(
            [*command, "--bind", f"fd://{fd}", "--graceful-timeout", "30"],
            env=env,
            cwd=FOLDER,
            stdout=log,
            stderr=log,
            pass_fds=[fd],
        )
        # What comes before it is ready waits in the socket, which is its alone from here on.
        return Process(popen, listener.getsockname()[1])


def start_nginx(folder: Path, ports: list[int]) -> tuple[int, int]:
    """nginx with the example's configuration, but for its ports; its own port and process."""
    nginx = shutil.which("nginx", path=os.defpath + ":/usr/sbin:/usr/local/sbin")
    assert nginx, "expected nginx to be installed (Debian: nginx-light)"
    port = free_port()
    given = (FOLDER / "nginx.conf").read_text("utf-8").replace("listen 8080", f"listen {port}")
    for number, actual in enumerate(ports, start=8101):
        given = given.replace(f"127.0.0.1:{number}", f"127.0.0.1:{actual}")
    user = "user root;" if os.getuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi")
    )
    (folder / "nginx.conf").write_text(
        f"{user} pid {folder}/nginx.pid; error_log {folder}/nginx.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{given} }}\n",
        "utf-8",
    )
    # It goes to the background once it listens.
    done = subprocess.run(
        [nginx, "-p", folder, "-c", "nginx.conf"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return port, int((folder / "nginx.pid").read_text())


@pytest.fixture(scope="module")
def s3() -> Iterator[int]:
    with moto() as port:
        yield port


@pytest.fixture
def deployment(s3: int, tmp_path: Path) -> Iterator[Deployment]:
    bucket = Bucket(s3)
    env = {**os.environ, **CREDENTIALS, "UPLOADS_URL": f"s3://{bucket.name}"}
    env |= {"AWS_ENDPOINT": bucket.endpoint, "AWS_ALLOW_HTTP": "true"}
    processes: list[Process] = []
    nginx: int | None = None
    try:
        processes.extend(start(tmp_path, env, number) for number in range(3))
        port, nginx = start_nginx(tmp_path, [process.port for process in processes])
        yield Deployment(port, processes, bucket, env)
    finally:
        if nginx is not None:
            os.kill(nginx, signal.SIGTERM)
        for process in processes:
            process.kill()
        bucket.close()


def test_uploads_are_spread_and_each_is_there_once(deployment: Deployment) -> None:
    name = uuid.uuid4().hex
    status, told = upload(deployment.port, name, b"one", LARGE)
    assert status == 201, told
    assert [file["size"] for file in told["files"]] == [3, len(LARGE)]
    assert deployment.manifests() == {name: told["files"]}
    assert deployment.objects() == sorted(file["key"] for file in told["files"])
    # Whoever got no answer tries again. The early answer reaches a client that only writes.
    assert upload(deployment.port, name, b"one", LARGE)[0] == 409
    assert ask(deployment.port, "POST", "/uploads/short")[0] == 404
    assert len(deployment.objects()) == 2


def test_nginx_stores_nothing_on_the_way(deployment: Deployment) -> None:
    """Parts are in the bucket while the client still sends."""
    came = threading.Event()

    def watch(method: str, path: str) -> None:
        if "partNumber=2" in path:
            came.set()

    bucket = deployment.bucket
    bucket.fault = watch
    with sending(deployment.port, uuid.uuid4().hex, 25_000_000) as client:
        assert came.wait(PATIENCE)
        assert [process.under_way() for process in deployment.processes].count(1) == 1
        client.close()


def sending(port: int, name: str, size: int) -> socket.socket:
    """A client that has sent so much of a larger file, and goes on sending nothing."""
    data = body([PartSpec(LARGE, name="f", filename="a.bin")])
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    head = (
        f"POST /uploads/{name} HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type_of()}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    client.sendall(head.encode() + data[:size])
    return client


def test_a_process_that_is_killed_in_mid_upload(deployment: Deployment) -> None:
    name = uuid.uuid4().hex
    came = threading.Event()

    def watch(method: str, path: str) -> None:
        if "partNumber=1" in path:
            came.set()

    deployment.bucket.fault = watch
    with sending(deployment.port, name, 20_000_000) as client:
        assert came.wait(PATIENCE)
        (busy,) = (process for process in deployment.processes if process.under_way() == 1)
        busy.kill()
        answer = client.recv(65536)
    assert re.match(rb"HTTP/1.1 502 |$", answer)
    assert deployment.keys() == []
    # The others go on, and nginx sends nobody to the one that is gone.
    status, told = upload(deployment.port, name, LARGE)
    assert status == 201, told
    for _ in range(6):
        assert upload(deployment.port, uuid.uuid4().hex, b"small")[0] == 201
    assert len(deployment.manifests()) == 7
    # What the dead process has begun is listed, and ended.
    (left,) = deployment.abandoned()
    assert left["key"].startswith(f"objects/{name}/")
    (aborted,) = deployment.abandoned("--abort")
    assert aborted["aborted"] is True
    assert deployment.bucket.uploads() == []
    assert len(deployment.objects()) == 7
    digest = hashlib.sha256(LARGE).hexdigest()
    assert deployment.manifests()[name][0]["sha256"] == digest


def test_all_of_each_or_nothing_while_processes_die(deployment: Deployment) -> None:
    """Clients try until they know that their upload is there; two of three processes die."""
    names = [uuid.uuid4().hex for _ in range(16)]
    done = threading.Semaphore(0)
    answers: dict[str, list[int]] = {name: [] for name in names}
    deadline = time.monotonic() + PATIENCE

    def client(number: int) -> None:
        name = names[number]
        files = [name.encode(), LARGE[: 6_000_000 + number], b"end"]
        while not {201, 409} & set(answers[name]):
            assert time.monotonic() < deadline, answers[name][-10:]
            try:
                answers[name].append(upload(deployment.port, name, *files)[0])
            except (OSError, http.client.HTTPException, ValueError):
                answers[name].append(0)  # no answer, or a page of nginx's
        done.release()

    with ThreadPoolExecutor(8) as clients:
        running = [clients.submit(client, number) for number in range(len(names))]
        for process in deployment.processes[:2]:
            for _ in range(3):
                assert done.acquire(timeout=PATIENCE)
            process.kill()
        for one in running:
            one.result(PATIENCE)

    manifests = deployment.manifests()
    assert manifests.keys() == set(names)
    store = deployment.bucket.store()
    for name, files in manifests.items():
        assert len(files) == 3
        for file in files:
            data = bytes(obstore.get(store, file["key"]).bytes())
            assert hashlib.sha256(data).hexdigest() == file["sha256"]
        assert bytes(obstore.get(store, files[0]["key"]).bytes()) == name.encode()
    deployment.abandoned("--abort")
    assert deployment.bucket.uploads() == []
    # Of a process that died between two objects' completion; what counts is not touched.
    deployment.run(sys.executable, "sweep.py", "--hours", "0")
    named = sorted(file["key"] for files in manifests.values() for file in files)
    assert deployment.objects() == named


def by_script(deployment: Deployment, file: Path, name: str) -> tuple[int, list[str]]:
    """What upload.sh says: its exit code, and the status of each try."""
    done = subprocess.run(
        ["sh", FOLDER / "upload.sh", file, f"http://127.0.0.1:{deployment.port}", name],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, re.findall(r"^\d{3}$", done.stdout, re.MULTILINE)


def test_the_script_tries_again_only_what_may_come_through(
    deployment: Deployment, tmp_path: Path
) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(LARGE)
    name = uuid.uuid4().hex
    killed: list[Process] = []

    def kill(method: str, path: str) -> None:
        if "partNumber=2" in path and not killed:
            killed.extend(one for one in deployment.processes if one.under_way() == 1)
            killed[0].kill()

    deployment.bucket.fault = kill
    assert by_script(deployment, file, name) == (0, ["502", "201"])
    # Not once more where it is there, nor where it is refused for good.
    assert by_script(deployment, file, name) == (0, ["409"])
    assert by_script(deployment, file, "short") == (1, ["404"])
    assert list(deployment.manifests()) == [name]


def test_the_script_tries_again_where_there_was_no_answer(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = ["sh", FOLDER / "upload.sh", tmp_path / "a.bin", url, "0" * 16]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as script:
            for answer in (b"", b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"):
                client, _ = listener.accept()
                with client:
                    received = b""
                    while not received.endswith(b"--\r\n"):
                        received += (more := client.recv(65536))
                        assert more
                    client.sendall(answer)
            told, _ = script.communicate(timeout=PATIENCE)
    assert (script.returncode, told.split()) == (0, [b"000", b"201"])


def test_what_no_manifest_names_is_swept(deployment: Deployment) -> None:
    name = uuid.uuid4().hex
    assert upload(deployment.port, name, b"one")[0] == 201
    kept = deployment.objects()
    store = deployment.bucket.store()
    orphans = [f"objects/{name}/another-try/0", f"objects/{uuid.uuid4().hex}/a/0"]
    for key in orphans:
        obstore.put(store, key, b"x")
    assert deployment.run(sys.executable, "sweep.py") == ""  # they are young
    swept = deployment.run(sys.executable, "sweep.py", "--hours", "0").split()
    assert sorted(swept) == sorted(orphans)
    assert deployment.objects() == kept


def test_a_process_that_is_stopped_finishes_what_it_has_begun(deployment: Deployment) -> None:
    """SIGTERM, as systemd sends it when a new version is put in place."""
    name = uuid.uuid4().hex
    came = threading.Event()

    def watch(method: str, path: str) -> None:
        if "partNumber=1" in path:
            came.set()

    deployment.bucket.fault = watch
    data = body([PartSpec(LARGE, name="f", filename="a.bin")])
    with sending(deployment.port, name, 20_000_000) as client:
        assert came.wait(PATIENCE)
        (busy,) = (process for process in deployment.processes if process.under_way() == 1)
        busy.popen.send_signal(signal.SIGTERM)
        client.sendall(data[20_000_000:])
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 201 "), answer
    assert busy.popen.wait(PATIENCE) == 0
    assert list(deployment.manifests()) == [name]
