"""The end of `mpflow serve`, by real signals: who is under way finishes, or leaves nothing."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpflow.testing import PartSpec, body
from tests.cli.service import BACKENDS, PATIENCE, Reply, Service, running

MIB = 1024 * 1024
HEAD = b'--boundary\r\nContent-Disposition: form-data; name="f"; filename="big.bin"\r\n\r\n'
TAIL = b"\r\n--boundary--\r\n"
LENGTH = len(HEAD) + 4 * MIB + len(TAIL)
FILE = body([PartSpec(b"abc", filename="small")])

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def under_way(service: Service) -> bool:
    return any(size >= MIB for size in service.staged())


@pytest.fixture
def service(backend: str, tmp_path: Path) -> Iterator[Service]:
    """It waits for ever, so that a test hangs that relies on a grace that ends."""
    with running(tmp_path, backend, "--grace", "1e9") as service:
        yield service


def refused(service: Service) -> Reply:
    """The answer to a new upload, once the signal has come."""
    deadline = time.monotonic() + PATIENCE
    while (reply := service.post(FILE)).status == 200:
        assert time.monotonic() < deadline
    return reply


def answer_of(client: socket.socket) -> tuple[bytes, dict[str, object]]:
    """All that comes until the connection is closed: the head, and the document."""
    head, _, told = client.makefile("rb").read().partition(b"\r\n\r\n")
    return head.lower(), json.loads(told)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_under_way_finishes_and_new_uploads_are_refused(
    service: Service, number: signal.Signals
) -> None:
    with service.upload(HEAD + bytes(2 * MIB), length=LENGTH) as client:
        service.until(lambda: under_way(service))
        service.process.send_signal(number)
        reply = refused(service)
        assert (reply.status, reply.document["status"]) == (503, 503)
        assert reply.headers["connection"] == "close"
        client.sendall(bytes(2 * MIB) + TAIL)
        head, document = answer_of(client)
    assert head.startswith(b"http/1.1 200")
    assert b"connection: close" in head
    assert document["parts"][0]["size"] == 4 * MIB  # type: ignore[index]
    assert service.process.wait(PATIENCE) == 0
    assert "big.bin" in service.files()
    assert not [name for name in service.files() if name.startswith(".mpflow-")]
    assert service.stderr().splitlines() == [
        "mpflow serve: ending; an upload may go on for 1e+09 s, or until the next signal"
    ]


def test_nobody_under_way_is_the_end_at_once(service: Service) -> None:
    assert service.post(FILE).status == 200
    assert service.stop(signal.SIGTERM) == 0
    assert service.stderr() == ""


def test_an_idle_connection_is_not_waited_for(service: Service) -> None:
    with socket.create_connection((service.host, service.port), timeout=PATIENCE) as client:
        client.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        assert service.stop() == 0
    assert service.stderr() == ""


def test_a_second_signal_rolls_back(service: Service) -> None:
    with service.upload(HEAD + bytes(2 * MIB), length=LENGTH) as client:
        service.until(lambda: under_way(service))
        service.process.send_signal(signal.SIGTERM)
        refused(service)
        assert service.stop(signal.SIGTERM) == 0
        head, document = answer_of(client)
    assert head.startswith(b"http/1.1 503")
    assert document["status"] == 503
    assert "big.bin" not in service.files()
    assert not [name for name in service.files() if name.startswith(".mpflow-")]


def test_a_third_signal_leaves_the_connections(service: Service) -> None:
    address = service.host, service.port
    with (
        service.upload(HEAD + bytes(2 * MIB), length=LENGTH),
        socket.create_connection(address, timeout=PATIENCE) as idle,
    ):
        idle.sendall(b"POST / HTTP/1.1\r\n")  # the server would wait for the rest
        service.until(lambda: under_way(service))
        service.process.send_signal(signal.SIGTERM)
        refused(service)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)  # into the server's own wait for its connections, of 3 s
        assert service.stop(signal.SIGTERM) == 0
    assert service.files() == []
    assert service.stderr().splitlines() == [
        "mpflow serve: ending; an upload may go on for 1e+09 s, or until the next signal"
    ]


@pytest.mark.parametrize("grace", ["0", "0.2"])
def test_the_grace_has_an_end(backend: str, tmp_path: Path, grace: str) -> None:
    with (
        running(tmp_path, backend, "--grace", grace) as service,
        service.upload(HEAD + bytes(2 * MIB), length=LENGTH) as client,
    ):
        service.until(lambda: under_way(service))
        assert service.stop(signal.SIGTERM) == 0
        head, document = answer_of(client)
        assert head.startswith(b"http/1.1 503")
        assert document["detail"] == ("the service is stopping; what was under way was rolled back")
        assert service.files() == []


def test_signals_that_come_as_it_ends_change_nothing(backend: str, tmp_path: Path) -> None:
    """A terminal and a parent may both tell of one Ctrl-C, and a person may be impatient."""
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        with running(folder, backend) as service:
            for _ in range(4):
                service.process.send_signal(signal.SIGINT)
                time.sleep(0.002 * number)
            assert service.process.wait(PATIENCE) == 0
            assert service.stderr() == ""


def test_a_signal_that_is_ignored_stays_so(backend: str, tmp_path: Path) -> None:
    """As in a script's job in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a child takes it over
    try:
        with running(tmp_path, backend) as service:
            service.process.send_signal(signal.SIGINT)
            assert service.post(FILE).status == 200
            assert service.stop(signal.SIGTERM) == 0
    finally:
        signal.signal(signal.SIGINT, before)
