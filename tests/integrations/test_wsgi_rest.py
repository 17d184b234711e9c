"""gunicorn, and the rest of a body that was given up: never a request, and no harm to others.

Knows: the services of wsgi_services.py, gunicorn's options and its access log, HTTP by hand.
Must not know: how a read is ended.
"""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

from mpflow.testing import PartSpec, body, content_type_of
from tests.integrations.wsgi_servers import Server, serving

WORKERS = {"gthread": (), "sync": ("--worker-class", "sync", "--threads", "1")}
PATIENCE = 30.0

EVIL = b"POST /evil HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
HEALTHY = body([PartSpec(b"a", name="what")])
# A piece of the body is seen when it is whole: of 4 KiB, the first.
SIZE = 9000


@pytest.fixture(scope="module", params=WORKERS)
def worker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(worker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--access-logfile", "-", *WORKERS[worker])
    folder = tmp_path_factory.mktemp(worker)
    with serving("gunicorn", folder, options=options) as server:
        server.request("GET", "/django/token")  # it is ready
        yield server


def head(app: str, length: int | None) -> bytes:
    """Of an upload to `app`; a chunked one without a length."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    kind = f"Host: a\r\nContent-Type: {content_type_of()}\r\n{framing}"
    return f"POST /{app}/ HTTP/1.1\r\n{kind}\r\n\r\n".encode()


def upload(name: str) -> bytes:
    """A body that is given up at the part `name`, and whose rest is requests."""
    rest = (EVIL * (SIZE // len(EVIL) + 1))[:SIZE]
    return body([PartSpec(b"", name=name), PartSpec(rest, name="rest")])


def until_the_end(client: socket.socket) -> bytes:
    answer = b""
    try:
        while more := client.recv(65536):
            answer += more
    except (ConnectionError, ssl.SSLError):
        pass  # what was sent meanwhile is answered with a reset
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answer)]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("app", ["hasty", "bare"])
@pytest.mark.parametrize(("name", "status"), [("what", 408), ("refuse", 402)])
def test_the_rest_of_a_body_that_was_given_up_is_no_request(
    server: Server, app: str, name: str, status: int, chunked: bool
) -> None:
    logged = server.log.stat().st_size
    data = upload(name)
    first = data[:6000]
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(head(app, None if chunked else len(data)))
        client.sendall(b"%x\r\n%b" % (len(data), first) if chunked else first)
        answer = client.recv(65536)  # and only now it goes on
        try:
            for _ in range(10):
                client.sendall(EVIL)
        except ConnectionError:
            pass  # it has ended
        answer += until_the_end(client)
    assert statuses(answer) == [status], answer
    assert server.request("POST", f"/{app}/", HEALTHY)[0] == 204
    noted = server.log.read_bytes()[logged:]
    assert b"POST /" in noted, noted
    assert b"evil" not in noted


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("app", ["hasty", "bare"])
def test_a_connection_whose_body_comes_whole_is_kept(
    server: Server, worker: str, app: str, chunked: bool
) -> None:
    """Also behind an early answer, and though its body looks like requests."""
    logged = server.log.stat().st_size
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        for data in (upload("refuse"), HEALTHY, HEALTHY):
            client.sendall(head(app, None if chunked else len(data)))
            client.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if chunked else data)
        client.shutdown(socket.SHUT_WR)
        answer = until_the_end(client)
    # gunicorn's sync workers take one request a connection, and end it.
    assert statuses(answer) == ([402, 204, 204] if worker == "gthread" else [402]), answer
    assert b"evil" not in server.log.read_bytes()[logged:]


# -- TLS --------------------------------------------------------------------------------------


@attrs.frozen
class Secure:
    server: Server
    context: ssl.SSLContext

    def connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE)
        return self.context.wrap_socket(plain)

    def stall(self, app: str, chunked: bool) -> bytes:
        """What a client gets that says no more in the middle of its body."""
        data = upload("what")
        first = data[:6000]
        with self.connect() as client:
            client.sendall(head(app, None if chunked else len(data)))
            client.sendall(b"%x\r\n%b" % (len(data), first) if chunked else first)
            return until_the_end(client)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("secure")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    openssl = shutil.which("openssl") or pytest.skip("needs openssl")
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a"]
    files: list[str | Path] = ["-keyout", key, "-out", certificate]
    subprocess.run([openssl, *made, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    options = ("--certfile", str(certificate), "--keyfile", str(key), "--keep-alive", "60")
    with serving("gunicorn", folder, options=options) as server:
        secure = Secure(server, context)
        with secure.connect() as client:  # it is ready
            client.sendall(b"GET /django/token HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert statuses(until_the_end(client)) == [200]
        yield secure


def test_clients_that_stall_hurt_nobody_over_tls(secure: Secure) -> None:
    """The worker does not touch what OpenSSL has of a connection while another thread is in it."""
    workers = secure.server.workers()
    with secure.connect() as healthy, ThreadPoolExecutor(3) as threads:
        healthy.sendall(head("bare", len(HEALTHY)) + HEALTHY)
        assert statuses(healthy.recv(65536)) == [204]
        stalled = [threads.submit(secure.stall, "bare", chunked) for chunked in (0, 1, 0)]
        # Without `Lingering` the answer ends with the connection.
        assert [client.result() for client in stalled] == [b""] * 3
        healthy.sendall(head("bare", len(HEALTHY)) + HEALTHY)
        assert statuses(healthy.recv(65536)) == [204]
    assert secure.server.workers() == workers
    assert b"Traceback" not in secure.server.log.read_bytes()


@pytest.mark.parametrize("chunked", [False, True])
def test_lingering_answers_a_client_that_stalls_over_tls(secure: Secure, chunked: bool) -> None:
    workers = secure.server.workers()
    assert statuses(secure.stall("hasty", chunked)) == [408]
    assert secure.server.workers() == workers
