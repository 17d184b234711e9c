"""Who may upload: the token, as a value and in front of the real service."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from mpflow.cli import main
from mpflow.cli.access import Access
from mpflow.cli.app import App
from mpflow.cli.inbox import Inbox
from mpflow.cli.sinks import Folder
from mpflow.integrations.exchange import Linger
from mpflow.testing import PartSpec, body
from tests.cli.asgi import Client
from tests.cli.service import BACKENDS, PATIENCE, Service, running

TOKEN = "0123456789-abc._~+/=="
BEARER = f"Bearer {TOKEN}"
FILE = body([PartSpec(b"abc", name="f", filename="a")])


def basic(password: str, user: str = "anybody") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# -- the token as a value -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown", [BEARER, f"bearer   {TOKEN}", basic(TOKEN), basic(TOKEN, ""), basic(TOKEN, "ü")]
)
def test_who_shows_the_token_is_let_in(shown: str) -> None:
    assert Access.of(f" {TOKEN}\n").allows(shown)


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Bearer {TOKEN}=",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer x{TOKEN}",
        f"Digest {TOKEN}",
        f"Basic {TOKEN}",
        "Basic ???",
        "Basic " + base64.b64encode(TOKEN.encode()).decode(),
        basic(""),
        basic("", TOKEN),
        basic(TOKEN + "x"),
        "Bearer \xfc\xff",
        "Basic \u20ac",
    ],
)
def test_nobody_else_is(shown: str | None) -> None:
    assert not Access.of(TOKEN).allows(shown)


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 15, "a space in the middle", "ü" * 20, "=" * 20]
)
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(ValueError, match="expected a token of at least 16"):
        Access.of(token)


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(Access.of(TOKEN))


# -- in front of the service ----------------------------------------------------------------------


async def ask(directory: Path, method: str = "POST", **headers: str) -> Client:
    client = Client(method, chunks=[FILE], headers={"Host": "h:1", **headers})
    app = App(Inbox(Folder(directory)), Access.of(TOKEN))
    await app(client.scope, client.receive, client.send)
    return client


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_refusal_says_what_is_needed_before_a_byte_is_read(
    tmp_path: Path, method: str
) -> None:
    client = Client(method, chunks=[FILE])
    received: list[int] = []

    async def send(message: dict[str, Any]) -> None:
        received.append(client.received)
        await client.send(message)

    app = App(Inbox(Folder(tmp_path)), Access.of(TOKEN))
    await app(client.scope, client.receive, send)
    assert received[0] == 0
    assert client.status == client.document["status"] == 401
    assert client.document["detail"] == "expected the token of this service, got none"
    assert client.headers["www-authenticate"] == (
        'Basic realm="mpflow", charset="UTF-8", Bearer realm="mpflow"'
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.anyio
async def test_a_script_that_is_refused_opens_no_window(tmp_path: Path) -> None:
    client = await ask(tmp_path, Authorization="Bearer wrong")
    assert client.status == 401
    assert client.document["detail"] == "expected the token of this service, got another one"
    assert client.headers["www-authenticate"] == 'Bearer realm="mpflow", error="invalid_token"'


@pytest.mark.anyio
@pytest.mark.parametrize("shown", [BEARER, basic(TOKEN)])
async def test_who_has_it_uploads(tmp_path: Path, shown: str) -> None:
    client = await ask(tmp_path, Authorization=shown)
    assert client.status == 200
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("origin", "shown", "status"),
    [
        ("http://h:1", basic(TOKEN), 200),
        ("http://elsewhere", basic(TOKEN), 403),
        ("http://h:2", basic(TOKEN), 403),
        ("null", basic(TOKEN), 403),
        ("http://[", basic(TOKEN), 403),  # is no URL
        ("http://[::1", basic(TOKEN), 403),
        ("http://elsewhere", BEARER, 200),  # no browser sends it by itself
    ],
)
async def test_what_a_browser_sends_by_itself_serves_no_other_page(
    tmp_path: Path, origin: str, shown: str, status: int
) -> None:
    """Over plain HTTP browsers have no Sec-Fetch-Site."""
    assert (await ask(tmp_path, Origin=origin, Authorization=shown)).status == status


@pytest.mark.anyio
async def test_the_page_is_for_everybody_and_asks(tmp_path: Path) -> None:
    page = await ask(tmp_path, "GET")
    assert page.status == 200
    assert b'data-needs-token="yes"' in page.body
    assert b'<a href="/?token">' in page.body
    signed_in = await ask(tmp_path, "GET", Authorization=basic(TOKEN))
    assert b'data-needs-token=""' in signed_in.body
    assert b"/?token" not in signed_in.body


@pytest.mark.anyio
async def test_a_browser_is_made_to_ask(tmp_path: Path) -> None:
    for shown, status in (({}, 401), ({"Authorization": basic(TOKEN)}, 200)):
        client = Client("GET", headers={"Accept": "text/html", **shown})
        client.scope["query_string"] = b"token"
        app = App(Inbox(Folder(tmp_path)), Access.of(TOKEN))
        await app(client.scope, client.receive, client.send)
        assert client.status == status
        assert client.headers["content-type"] == "text/html; charset=utf-8"
        assert ("www-authenticate" in client.headers) == (status == 401)


# -- the real service -----------------------------------------------------------------------------


@pytest.fixture(params=BACKENDS)
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    with running(tmp_path, request.param, "--token-file", str(file)) as service:
        yield service


def test_a_client_that_asks_first_sends_nothing_when_it_is_refused(guarded: Service) -> None:
    """RFC 9110, 10.1.1: no 100 comes before the 401. Nobody waits for what does not come."""
    with guarded.upload(b"", length=1000, Expect="100-continue") as client:
        answer = client.makefile("rb")
        assert answer.readline().startswith(b"HTTP/1.1 401")
        head = b"".join(iter(answer.readline, b"\r\n")).lower()
        assert b"connection: close" in head
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        assert json.loads(answer.read(length))["status"] == 401
        client.settimeout(Linger().known_seconds / 2)
        assert answer.read() == b""


def test_a_client_that_does_not_wait_long_reads_why_it_is_refused(guarded: Service) -> None:
    """As curl, which sends after a second; here it has sent all before it reads."""
    with guarded.upload(bytes(5_000_000), length=5_000_000, Expect="100-continue") as client:
        answer = client.makefile("rb")
        assert answer.readline().startswith(b"HTTP/1.1 401")
        assert b'"status": 401' in answer.read()


def test_a_client_that_asks_first_is_told_to_go_on(guarded: Service) -> None:
    length = len(FILE)
    shown = {"Expect": "100-continue", "Authorization": BEARER}
    with guarded.upload(b"", length=length, **shown) as client:
        answer = client.makefile("rb")
        assert answer.readline().startswith(b"HTTP/1.1 100")
        list(iter(answer.readline, b"\r\n"))
        client.sendall(FILE)
        assert answer.readline().startswith(b"HTTP/1.1 200")
    assert guarded.files() == ["a"]


@pytest.mark.parametrize("head", ["GET", "GET 0", "HEAD"])
def test_who_asks_and_has_no_body_keeps_its_connection(guarded: Service, head: str) -> None:
    """There is nothing to wait for: the request is over before its answer is."""
    method, _, length = head.partition(" ")
    lines = [f"{method} / HTTP/1.1", "Host: x", "Expect: 100-continue"]
    lines += [f"Content-Length: {length}"] if length else []
    with socket.create_connection((guarded.host, guarded.port), timeout=PATIENCE) as client:
        for _ in range(5):
            client.sendall("\r\n".join([*lines, "", ""]).encode())
            with HTTPResponse(client, method=method) as answer:
                answer.begin()  # past the 100
                assert (answer.status, answer.headers["Connection"]) == (200, None)
                assert bool(answer.read()) == (method == "GET")


def test_too_large_by_its_length_is_no_reason_to_go_on(tmp_path: Path) -> None:
    with running(tmp_path, "asyncio", "--max-bytes", "1 MiB") as service:
        too_large = service.upload(b"", length=1 << 40, Expect="100-continue")
        with too_large as client:
            assert client.recv(12) == b"HTTP/1.1 413"


def test_a_client_that_asks_and_goes_away_holds_nothing_up(guarded: Service) -> None:
    for _ in range(3):
        with guarded.upload(b"", length=1 << 40, Expect="100-continue", Authorization=BEARER):
            pass
    assert guarded.request("GET").status == 200
    with socket.create_connection((guarded.host, guarded.port)):
        pass


def test_the_token_in_the_environment(tmp_path: Path) -> None:
    with running(tmp_path, "asyncio", env={"MPFLOW_TOKEN": TOKEN}) as service:
        assert service.post(FILE).status == 401
        assert service.post(FILE, Authorization=BEARER).status == 200
        command = Path(f"/proc/{service.process.pid}/cmdline").read_text()
        assert TOKEN not in command


@pytest.mark.parametrize("name", ["file", "environment"])
def test_a_token_that_is_none_is_said_without_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "token"
    file.write_text("secret")
    arguments = ["serve", str(tmp_path / "inbox"), "--bind", "127.0.0.1:0"]
    if name == "file":
        arguments += ["--token-file", str(file)]
    else:
        monkeypatch.setenv("MPFLOW_TOKEN", "secret")
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"mpflow serve: {file if name == 'file' else 'MPFLOW_TOKEN'}: expected a")
    assert "secret" not in err


def test_a_token_file_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "token")
    arguments = ["serve", str(tmp_path / "inbox"), "--token-file", missing]
    assert main(arguments) == 1
    assert capsys.readouterr().err == f"mpflow serve: {missing}: No such file or directory\n"


def test_a_service_that_is_open_to_others_says_so(tmp_path: Path) -> None:
    with running(tmp_path, "asyncio", "--bind", "0.0.0.0:0") as service:
        assert service.post(FILE).status == 200
        address = f"0.0.0.0:{service.port}"
    assert service.stderr() == (
        f"mpflow serve: anybody who can reach {address} can upload; --token-file asks for a token\n"
    )
