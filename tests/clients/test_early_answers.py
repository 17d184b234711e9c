"""Early answers on real servers: a 413 and a 401 reach curl, http.client and Java's HttpClient."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from mpflow.testing import PartSpec, body, content_type_of
from tests.cli.service import PATIENCE
from tests.clients.servers import SERVERS, Server, serving

pytestmark = pytest.mark.clients

MIB = 1024 * 1024
DATA = body([PartSpec(bytes(20 * MIB), name="f", filename="x")])
# Of a chunked body nobody knows how much is left: within what `Linger` reads in any case.
CHUNKED = body([PartSpec(bytes(8 * MIB), name="f", filename="x")])
TYPE = content_type_of()

BY_HEADERS = {"total": 413, "given": 401, "before": 401, "foreign": 413}
"""Refused before the body is asked for."""
REFUSED = {**BY_HEADERS, "part": 413, "predicate": 401, "handler": 401}
"""All that `refusing.py` refuses, and with which status."""
WAIT_TO_ASK = ("uvicorn-h11", "uvicorn-httptools", "granian")
"""Servers that say 100 only when the application asks for the body."""


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with serving(request.param, "tests.clients.refusing:app", folder) as server:
        yield server


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("body") / "body"
    path.write_bytes(DATA)
    return path


def check(path: str, kind: str, text: str) -> None:
    """The answer is the one of the application, whole."""
    if path == "foreign":
        assert text == "too large"
        return
    assert kind == "application/problem+json"
    told: dict[str, Any] = json.loads(text)
    assert told["status"] == REFUSED[path]
    assert told["error"] == ("LimitExceeded" if REFUSED[path] == 413 else "Rejected")


def curl(server: Server, path: str, file: Path, *options: str) -> tuple[int, int]:
    """Status, and how many bytes curl sent; the answer must be whole."""
    form = "%{http_code} %{size_upload} %{content_type}"
    command = ["curl", "-sS", "--max-time", str(PATIENCE), "-w", f"\n{form}"]
    command += ["-H", f"Content-Type: {TYPE}", "--data-binary", f"@{file}", *options]
    done = subprocess.run([*command, f"{server.url}/{path}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text, _, told = done.stdout.rpartition("\n")
    status, sent, kind = told.split(maxsplit=2)
    check(path, kind, text)
    return int(status), int(sent)


@pytest.mark.parametrize("path", REFUSED)
@pytest.mark.parametrize("options", [[], ["-H", "Transfer-Encoding: chunked"]])
def test_curl(server: Server, path: str, options: list[str], file: Path) -> None:
    assert curl(server, path, file, "-H", "Expect:", *options)[0] == REFUSED[path]


@pytest.mark.parametrize("path", REFUSED)
def test_curl_that_waits_to_be_asked(server: Server, path: str, file: Path) -> None:
    status, sent = curl(server, path, file, "-H", "Expect: 100-continue")
    assert status == REFUSED[path]
    if path in BY_HEADERS and server.kind in WAIT_TO_ASK:
        assert sent == 0


@pytest.mark.parametrize("path", REFUSED)
def test_curl_over_http_2(server: Server, path: str, file: Path) -> None:
    if not server.kind.startswith("hypercorn"):
        return  # uvicorn has no HTTP/2; granian may end the stream with an error (granian#616)
    assert curl(server, path, file, "--http2-prior-knowledge")[0] == REFUSED[path]


@pytest.mark.parametrize("path", REFUSED)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_writes_all_before_it_reads(server: Server, path: str, chunked: bool) -> None:
    pieces = (CHUNKED[i : i + 65536] for i in range(0, len(CHUNKED), 65536))
    connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request("POST", f"/{path}", pieces if chunked else DATA, {"Content-Type": TYPE})
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == REFUSED[path]
        check(path, response.headers["content-type"], text)
        # The connection serves the next request, or was closed; it is never out of step.
        connection.request("POST", "/given", CHUNKED[:0], {"Content-Type": TYPE})
        assert connection.getresponse().status == 401
    finally:
        connection.close()


def java(server: Server, size: int, *paths: str) -> dict[tuple[str, str], tuple[int, str]]:
    """Status and text by path and version; the status is 0 where no answer came."""
    command = ["java", str(Path(__file__).with_name("Upload.java")), str(size)]
    done = subprocess.run(
        [*command, *(f"{server.url}/{path}" for path in paths)],
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[tuple[str, str], tuple[int, str]] = {}
    for line in done.stdout.splitlines():
        path, version, status, text = line.split("\t")
        answers[path[1:], version] = int(status), text
    return answers


def test_java(server: Server) -> None:
    answers = java(server, 20 * MIB, *REFUSED, "taking")
    assert len(answers) == 2 * (len(REFUSED) + 1)
    for (path, version), (status, text) in answers.items():
        if version == "default" and server.kind == "uvicorn-httptools":
            # uvicorn drops the body, and answers what comes of it by itself: either 400, or cut.
            assert status in (400, 0), (path, text)
        else:
            assert status == REFUSED.get(path, 200), (path, version, text)
            assert path in ("taking", "foreign") or json.loads(text)["status"] == status


def test_a_body_that_the_server_drops_is_told(server: Server) -> None:
    """Java's client asks for HTTP/2 by default, and uvicorn with httptools drops the body then."""
    answers = java(server, 1000, "taking", "foreign")
    assert answers["taking", "1.1"] == (200, "1000 ")
    assert answers["foreign", "1.1"] == (413, "too large")
    if server.kind != "uvicorn-httptools":
        assert answers["taking", "default"] == (200, "1000 ")
        return
    for path in ("taking", "foreign"):
        status, text = answers[path, "default"]
        assert status == 400
        told = json.loads(text)
        assert told["error"] == "EmptyBody"
        assert "HttpClient.Version.HTTP_1_1" in told["detail"]
        assert "--http h11" in told["detail"]


@pytest.mark.parametrize("options", [["-H", "Expect:"], ["-H", "Expect: 100-continue"]])
def test_what_is_not_refused_comes_whole(server: Server, options: list[str], file: Path) -> None:
    command = ["curl", "-sS", "-H", f"Content-Type: {TYPE}", "--data-binary", f"@{file}"]
    done = subprocess.run(
        [*command, *options, f"{server.url}/taking"], capture_output=True, text=True
    )
    assert done.stdout == f"{20 * MIB}\n", done.stderr
