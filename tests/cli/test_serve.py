"""The real service, in a process of its own, on both backends: what comes in, and what is left."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mpflow.testing import PartSpec, body, content_type_of, nested
from tests.cli.service import Reply, Service, running

MIB = 1024 * 1024
HEAD = b'--boundary\r\nContent-Disposition: form-data; name="f"; filename="big.bin"\r\n\r\n'
TAIL = b"\r\n--boundary--\r\n"

NAMES = {
    'na"ïve 日本.txt': "na_ïve 日本.txt",
    "../../etc/passwd": "passwd",
    "C:\\x\\y.txt": "y.txt",
    "🦊.png": "🦊.png",
    "CON": "_CON",
    ".bashrc": "bashrc",
    "a\r\nb": "ab",
    "-rf": "rf",
    "..": "unnamed",
    "x" * 300 + ".txt": "x" * 251 + ".txt",
}
"""Names that clients send, and what the files are called."""


def blocks(count: int) -> Iterator[bytes]:
    """A file of `count` MiB as it is uploaded."""
    yield HEAD
    block = os.urandom(MIB)
    for _ in range(count):
        yield block
    yield TAIL


def send_blocks(service: Service, count: int) -> Reply:
    length = len(HEAD) + count * MIB + len(TAIL)
    return service.post(blocks(count), **{"Content-Length": str(length)})


# -- uploads --------------------------------------------------------------------------------------


def test_a_form(shared: Service) -> None:
    data = os.urandom(3 * MIB)
    form = [
        PartSpec('{"a":1}', name="meta", content_type="application/json"),
        PartSpec(data, name="file", filename="form.bin", content_type="application/octet-stream"),
        PartSpec(b"", name="file", filename="form.empty"),
        nested([PartSpec(b"abc", filename="form.txt"), ("", "inner")], name="more"),
    ]
    meta, file, empty, more = shared.post(body(form)).parts
    assert meta == {
        "name": "meta",
        "content_type": "application/json",
        "size": 7,
        "value": {"a": 1},
    }
    assert (file["saved_as"], file["size"]) == ("form.bin", len(data))
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    assert (shared.directory / "form.bin").read_bytes() == data
    assert (empty["saved_as"], empty["size"]) == ("form.empty", 0)
    assert [part.get("saved_as", part.get("value")) for part in more["parts"]] == [
        "form.txt",
        "inner",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_hard_names(shared: Service, name: str) -> None:
    (part,) = shared.post(body([PartSpec(b"abc", name="f", filename=name)])).parts
    assert part["filename"] == name
    assert part["saved_as"] == NAMES[name]
    path = shared.directory / part["saved_as"]
    assert path.read_bytes() == b"abc"
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()


def test_names_that_are_taken_get_a_suffix(service: Service) -> None:
    for data in (b"1", b"2"):
        service.post(body([PartSpec(data, filename="a.txt")] * 2))
    assert service.files() == ["a-1.txt", "a-2.txt", "a-3.txt", "a.txt"]
    assert (service.directory / "a.txt").read_bytes() == b"1"
    assert (service.directory / "a-3.txt").read_bytes() == b"2"


def test_chunked_transfer(shared: Service) -> None:
    (part,) = shared.post(iter([HEAD[:20], HEAD[20:], b"abc", TAIL])).parts
    assert part["size"] == 3


def test_the_page_on_a_connection_that_goes_on(shared: Service) -> None:
    reply = shared.request("GET")
    assert reply.body.startswith(b"<!doctype html>")
    head = shared.request("HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(reply.body))


def test_fifty_at_once(service: Service) -> None:
    files = [os.urandom(200_000 + number) for number in range(50)]

    def upload(number: int) -> str:
        spec = PartSpec(files[number], name="f", filename="same.bin")
        (part,) = service.post(body([("n", str(number)), spec])).parts[1:]
        assert part["sha256"] == hashlib.sha256(files[number]).hexdigest()
        return part["saved_as"]

    with ThreadPoolExecutor(50) as pool:
        saved = list(pool.map(upload, range(50)))
    assert service.files() == sorted(saved)
    for number, name in enumerate(saved):
        assert (service.directory / name).read_bytes() == files[number]


def test_a_thousand_files_in_one_body(service: Service) -> None:
    parts = service.post(body([PartSpec(b"x", filename=f"{n}.txt") for n in range(1000)])).parts
    assert [part["saved_as"] for part in parts] == [f"{n}.txt" for n in range(1000)]
    assert len(service.files()) == 1000


def test_memory_stays_flat(service: Service) -> None:
    send_blocks(service, 32)
    service.forget_peak()
    before = service.memory("VmRSS")
    (part,) = send_blocks(service, 256).parts
    assert part["size"] == 256 * MIB
    assert service.memory("VmHWM") - before < 16 * MIB


# -- refusals -------------------------------------------------------------------------------------


def refused(reply: Reply, status: int) -> dict[str, Any]:
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    told = reply.document
    assert told["status"] == status
    assert told["detail"]
    assert "\n" not in told["detail"]
    return told


FILE = PartSpec(b"abc", filename="a")


@pytest.mark.parametrize(
    ("content_type", "data", "status"),
    [
        ("multipart/form-data", body([FILE]), 400),
        (f"multipart/form-data; boundary={'b' * 71}", body([FILE]), 400),
        ("application/json", b"{}", 415),
        (content_type_of(), b"", 400),
        (content_type_of(), body([FILE])[:-4], 400),
        (content_type_of(), body([FILE] * 1001), 413),
        (content_type_of(), body([FILE, PartSpec(headers={"X": "x" * 5000})]), 413),
        (content_type_of(), body([FILE, PartSpec(b"{", content_type="application/json")]), 422),
    ],
    ids=["boundary", "long", "json", "empty", "cut", "parts", "header", "content"],
)
def test_bad_input_leaves_nothing(
    service: Service, content_type: str, data: bytes, status: int
) -> None:
    refused(service.post(data, content_type), status)
    assert service.files() == []


def test_no_content_type(shared: Service) -> None:
    refused(shared.request("POST", "/", b"abc", {}), 415)


def test_a_target_in_absolute_form(shared: Service) -> None:
    """RFC 9112, 3.2.2."""
    kind = {"Content-Type": content_type_of()}
    target = f"http://{shared.host}:{shared.port}"
    reply = shared.request("POST", f"{target}/", body([("a", "1")]), kind)
    assert [part["value"] for part in reply.parts] == ["1"]
    assert shared.request("GET", target).body.startswith(b"<!doctype html>")
    refused(shared.request("POST", f"{target}/nothing", body([("a", "1")]), kind), 404)


def test_other_paths_and_methods(shared: Service) -> None:
    refused(shared.request("GET", "/nothing"), 404)
    assert refused(shared.request("DELETE"), 405)
    assert shared.request("GET", "/favicon.ico").status == 204


@pytest.fixture(params=["asyncio", "trio"])
def bounded(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Service]:
    with running(tmp_path, request.param, "--max-bytes", "1 MiB") as service:
        yield service


def test_too_large_reaches_a_client_that_writes_everything_first(bounded: Service) -> None:
    """http.client sends all of its body before it looks for an answer."""
    told = refused(send_blocks(bounded, 16), 413)  # by its Content-Length
    assert told["limit"] == "max_total_bytes"
    told = refused(bounded.post([HEAD, bytes(3 * MIB // 2), TAIL]), 413)  # by its bytes
    assert told["limit"] == "max_total_bytes"
    told = refused(bounded.post([HEAD, *[bytes(MIB)] * 12, TAIL]), 413)  # chunked, and no end seen
    assert told["limit"] == "max_total_bytes"
    refused(bounded.post([HEAD, bytes(MIB), TAIL], "text/plain"), 415)
    assert bounded.files() == []
    assert bounded.post(body([FILE])).parts[0]["saved_as"] == "a"


def test_an_answer_does_not_wait_for_an_endless_body(bounded: Service) -> None:
    with bounded.upload(HEAD, length=1 << 40) as client:
        assert client.recv(12) == b"HTTP/1.1 413"


def test_a_full_disk_is_told_and_leaves_nothing(service: Service) -> None:
    # A limit on the size of files stands for the disk: the same call fails, with EFBIG.
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (MIB, MIB))
    told = refused(send_blocks(service, 4), 507)
    assert told["detail"] == "the upload was not stored: no room is left for it"
    assert service.files() == []
    assert service.staged() == []
    assert service.post(body([FILE])).parts[0]["size"] == 3
    assert "File too large" in service.stderr()


# -- what goes away in the middle -----------------------------------------------------------------


def under_way(service: Service) -> bool:
    return any(size >= MIB for size in service.staged())


def test_a_client_that_hangs_up_leaves_nothing(service: Service) -> None:
    with service.upload(HEAD + bytes(4 * MIB), length=64 * MIB):
        service.until(lambda: under_way(service))
        assert not [name for name in service.files() if not name.startswith(".mpflow-")]
    service.until(lambda: not service.staged())
    assert service.files() == []


def test_a_client_that_is_reset_leaves_nothing(service: Service) -> None:
    with service.upload(HEAD + bytes(4 * MIB), length=64 * MIB) as client:
        service.until(lambda: under_way(service))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    service.until(lambda: not service.staged())
    assert service.files() == []


def test_kill_9_leaves_no_partial_file_under_a_final_name(service: Service) -> None:
    service.post(body([PartSpec(b"abc", filename="whole")]))
    with service.upload(HEAD + bytes(4 * MIB), length=64 * MIB):
        service.until(lambda: under_way(service))
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    assert [name for name in service.files() if not name.startswith(".mpflow-")] == ["whole"]
    assert (service.directory / "whole").read_bytes() == b"abc"
