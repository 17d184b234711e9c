"""Django and Flask under gunicorn, and under the development servers: uploads over real sockets.

Knows: the services of wsgi_services.py, HTTP by hand. Must not know: how a body gets to mpflow.
"""

from __future__ import annotations

import hashlib
import json
import re
import select
import socket
from collections.abc import Iterator

import pytest

from mpflow.testing import PartSpec, body, content_type_of
from tests.integrations.wsgi_servers import SERVERS, Server, serving

LARGE = bytes(range(256)) * 20_000
TITLE = PartSpec(b"sea", name="title")
FILE = PartSpec(LARGE, name="file", filename="a.bin")


@pytest.fixture(scope="module", params=list(SERVERS))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture
def token(server: Server) -> dict[str, str]:
    _, headers, value = server.request("GET", "/django/token")
    return {"Cookie": headers["set-cookie"].partition(";")[0], "X-CSRFToken": value.decode()}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("framework", ["django", "flask"])
def test_an_upload_is_stored(
    server: Server, token: dict[str, str], framework: str, backend: str
) -> None:
    before = server.files()
    status, told = server.post(f"/{framework}/upload?backend={backend}", TITLE, FILE, **token)
    digest = hashlib.sha256(LARGE).hexdigest()
    assert (status, told["title"]) == (200, "sea")
    assert told["files"] == [{"size": len(LARGE), "sha256": digest}]
    assert len(server.files()) == len(before) + 1


@pytest.mark.parametrize("framework", ["django", "flask"])
def test_a_chunked_body(server: Server, token: dict[str, str], framework: str) -> None:
    data = body([TITLE, FILE])
    pieces = (data[at : at + 10_000] for at in range(0, len(data), 10_000))
    status, _, told = server.request("POST", f"/{framework}/upload", pieces, token)
    assert (status, json.loads(told)["files"][0]["size"]) == (200, len(LARGE))


@pytest.mark.parametrize("framework", ["django", "flask"])
@pytest.mark.parametrize(
    ("parts", "status", "error"),
    [
        ([FILE], 422, "MissingParts"),
        ([FILE, TITLE, PartSpec(b"", name="refuse")], 402, "Rejected"),
        ([TITLE, FILE, PartSpec(b"?", name="what")], 422, "NoRoute"),
    ],
)
def test_a_refusal_is_told_and_nothing_is_stored(
    server: Server,
    token: dict[str, str],
    framework: str,
    parts: list[PartSpec],
    status: int,
    error: str,
) -> None:
    before = server.files()
    got, headers, data = server.request("POST", f"/{framework}/upload", body(parts), token)
    assert (got, json.loads(data)["error"]) == (status, error), data
    assert headers["content-type"] == "application/problem+json"
    assert headers.get("x-why") == ("because" if error == "Rejected" else None)
    assert server.files() == before


@pytest.mark.parametrize("framework", ["django", "flask"])
def test_no_multipart(server: Server, token: dict[str, str], framework: str) -> None:
    kind = {"Content-Type": "application/json"}
    status, _, _ = server.request("POST", f"/{framework}/upload", b"{}", {**token, **kind})
    assert status == 415


@pytest.mark.parametrize("path", ["/flask/failing", "/django/failing"])
def test_an_error_in_the_block_rolls_back(server: Server, path: str) -> None:
    before = server.files()
    status, _, data = server.request("POST", path, body([TITLE, FILE]))
    assert status == 500
    assert b"ZeroDivision" not in data
    assert server.files() == before


@pytest.mark.parametrize("framework", ["django", "flask"])
def test_an_early_refusal_reaches_a_client_that_only_writes(
    server: Server, token: dict[str, str], framework: str
) -> None:
    parts = [TITLE, PartSpec(b"", name="refuse"), *[FILE] * 3]
    assert server.post(f"/{framework}/upload", *parts, **token)[0] == 402


@pytest.mark.parametrize("framework", ["django", "flask"])
def test_a_client_that_goes_away_leaves_nothing(
    server: Server, token: dict[str, str], framework: str
) -> None:
    before = server.files()
    data = body([TITLE, FILE])
    lines = [
        f"POST /{framework}/upload HTTP/1.1",
        "Host: a",
        f"Content-Type: {content_type_of()}",
        f"Content-Length: {len(data)}",
        *(f"{name}: {value}" for name, value in token.items()),
    ]
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall("\r\n".join([*lines, "\r\n"]).encode() + data[:100_000])
        client.shutdown(socket.SHUT_WR)
        assert select.select([client], [], [], 60)[0]
        answer = client.recv(65536)
        while b"\r\n\r\n" in answer and not answer.rstrip().endswith(b"}"):
            if not (more := client.recv(65536)):
                break
            answer += more
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert b"ClientDisconnected" in answer
    assert server.files() == before


@pytest.mark.parametrize("framework", ["django", "flask"])
@pytest.mark.parametrize(
    ("broken", "errors"),
    [
        # The development server tells all of them as a connection that broke.
        (b"zz\r\n", {"MalformedBody", "ClientDisconnected"}),
        (b"3\r\nabcdef\r\n", {"MalformedBody", "ClientDisconnected"}),
        (b"ff\r\nabc", {"ClientDisconnected"}),
        (b"3\r\nabc", {"ClientDisconnected"}),
        (b"3\r\nabc\r", {"ClientDisconnected"}),
        (b"", {"ClientDisconnected"}),
    ],
)
def test_a_chunked_body_that_breaks_off_or_is_malformed(
    server: Server, token: dict[str, str], framework: str, broken: bytes, errors: set[str]
) -> None:
    before, logged = server.files(), server.log.stat().st_size
    data = body([TITLE, FILE])[:5000]
    lines = [
        f"POST /{framework}/upload HTTP/1.1",
        "Host: a",
        f"Content-Type: {content_type_of()}",
        "Transfer-Encoding: chunked",
        *(f"{name}: {value}" for name, value in token.items()),
    ]
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall("\r\n".join([*lines, "\r\n"]).encode())
        client.sendall(b"%x\r\n%b\r\n%b" % (len(data), data, broken))
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while more := client.recv(65536):
            answer += more
    head, _, told = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head.partition(b"\r\n")[0]
    assert b"application/problem+json" in head
    assert any(error.encode() in told for error in errors), told
    assert b"Traceback" not in server.log.read_bytes()[logged:]
    assert server.files() == before


# -- silence ----------------------------------------------------------------------------------

SOON = 4.0
"""Seconds; gunicorn itself waits 5 for the rest of a body."""


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("app", "name", "status"),
    [("hasty", "what", 408), ("bare", "what", 408), ("hasty", "refuse", 402)],
)
def test_a_body_that_was_given_up_is_nobodys(
    server: Server, app: str, chunked: bool, name: str, status: int
) -> None:
    """Its rest is no request, and no other thread is still at it: the connection ends."""
    server.request("GET", "/django/token")  # it is ready
    logged = server.log.stat().st_size
    # A piece of the body is seen when it is whole: of 4 KiB, the first.
    data = body([PartSpec(b"", name=name), PartSpec(bytes(9000), name="rest")])
    first = data[:6000]
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(data)}"
    head = f"POST /{app}/ HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type_of()}\r\n{framing}"
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON) as client:
        client.sendall(f"{head}\r\n\r\n".encode())
        client.sendall(b"%x\r\n%b\r\n" % (len(first), first) if chunked else first)
        answer = b""
        while more := client.recv(65536):
            answer += more
    answers = re.findall(rb"HTTP/1\.1 (\d+)", answer)
    assert answers == [b"%d" % status], answer
    if app == "hasty" and status == 408:
        assert b"\r\nconnection: close\r\n" in answer.lower()
    noted = server.log.read_bytes()[logged:]
    assert b"Traceback" not in noted
    assert b"already executing" not in noted


# -- CSRF -------------------------------------------------------------------------------------


def test_django_checks_the_token_in_the_header_before_the_body(server: Server) -> None:
    before = server.files()
    status, _, data = server.request("POST", "/django/upload", body([TITLE, FILE]))
    assert (status, b"CSRF" in data) == (403, True)
    assert server.files() == before


def test_a_view_whose_body_django_has_read_is_told(server: Server, token: dict[str, str]) -> None:
    status, told = server.post("/django/unmarked", TITLE, FILE, **token)
    assert (status, told["error"]) == (500, "RouteError")
    assert b"mark the view as streamed" in server.log.read_bytes()


def test_a_token_in_the_body_is_checked_before_the_commit(
    server: Server, token: dict[str, str]
) -> None:
    before = server.files()
    cookie = {"Cookie": token["Cookie"]}
    right = PartSpec(token["X-CSRFToken"].encode(), name="csrfmiddlewaretoken")
    wrong = PartSpec(b"a" * 64, name="csrfmiddlewaretoken")
    for parts in ([TITLE, FILE], [wrong, TITLE, FILE]):
        status, told = server.post("/django/form", *parts, **cookie)
        assert (status, told["error"]) == (403, "Rejected")
        assert server.files() == before
    # Its place among the parts does not count.
    assert server.post("/django/form", TITLE, FILE, right, **cookie) == (200, {"files": 1})
    assert len(server.files()) == len(before) + 1


def test_a_body_that_flask_has_read_is_told(server: Server) -> None:
    status, told = server.post("/flask/read", TITLE)
    assert (status, told["error"]) == (500, "RouteError")


def test_what_fails_here_is_not_told(server: Server) -> None:
    status, _, data = server.request(
        "POST", "/flask/upload", body([TITLE, PartSpec(b"", name="broken")])
    )
    assert status == 500
    assert b"secret" not in data
