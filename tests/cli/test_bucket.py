"""`mpflow serve s3://...`: the same answers, and the files in a bucket of a real S3 server."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

from mpflow.cli import main
from mpflow.cli.inbox import Inbox
from mpflow.cli.sinks import Bucket as Sink
from mpflow.cli.sinks import is_url, open_sink
from mpflow.testing import PartSpec, body, nested
from tests.cli.service import BACKENDS, PATIENCE, Service, running
from tests.objects import Bucket, Fault, moto

MIB = 1024 * 1024
HEAD = b'--boundary\r\nContent-Disposition: form-data; name="f"; filename="big.bin"\r\n\r\n'
ENV = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
}
KEY = re.compile(r"[0-9a-f]{32}/(.+)")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with moto() as port:
        yield port


@pytest.fixture
def bucket(port: int) -> Iterator[Bucket]:
    bucket = Bucket(port)
    yield bucket
    bucket.close()


@pytest.fixture(params=BACKENDS)
def service(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> Iterator[Service]:
    store = f"s3://{bucket.name}/in/here"
    options = ("--endpoint", bucket.endpoint, "--grace", "0")
    with running(tmp_path, request.param, *options, store=store, env=ENV) as service:
        yield service


def stored(bucket: Bucket, saved_as: str) -> bytes:
    assert KEY.fullmatch(saved_as)
    return bytes(obstore.get(bucket.store(), f"in/here/{saved_as}").bytes())


def test_files_are_objects_and_the_answer_is_the_same(service: Service, bucket: Bucket) -> None:
    large = os.urandom(9 * MIB)  # more than one part of an upload
    form = [
        PartSpec('{"a":1}', name="meta", content_type="application/json"),
        PartSpec(large, name="f", filename="../large.bin"),
        PartSpec(b"abc", name="f", filename="a.txt"),
        PartSpec(b"", name="f", filename="a.txt"),
        PartSpec(b"", name="f", filename=""),
        nested([PartSpec(b"inner", filename="größe.txt")], name="more"),
    ]
    meta, big, one, empty, blank, more = service.post(body(form)).parts
    assert meta["value"] == {"a": 1}
    assert blank["value"] == ""
    (inner,) = more["parts"]
    for part, name, data in (
        (big, "large.bin", large),
        (one, "a.txt", b"abc"),
        (empty, "a.txt", b""),
        (inner, "größe.txt", b"inner"),
    ):
        found = KEY.fullmatch(part["saved_as"])
        assert found is not None
        assert found[1] == name
        assert part["size"] == len(data)
        assert part["sha256"] == hashlib.sha256(data).hexdigest()
        assert stored(bucket, part["saved_as"]) == data
    assert len(bucket.keys()) == 4
    assert bucket.uploads() == []


def test_names_are_never_taken(service: Service, bucket: Bucket) -> None:
    for data in (b"1", b"2"):
        service.post(body([PartSpec(data, filename="a.txt")] * 2))
    assert len(bucket.keys()) == 4


def test_what_is_refused_leaves_nothing(service: Service, bucket: Bucket) -> None:
    whole = body([PartSpec(bytes(9 * MIB), filename="a"), PartSpec(b"abc", filename="b")])
    reply = service.post(whole[:-4])
    assert reply.status == 400
    assert bucket.left() == ([], [])


def test_a_signal_leaves_nothing(service: Service, bucket: Bucket) -> None:
    with service.upload(HEAD + bytes(12 * MIB), length=64 * MIB):
        service.until(lambda: bucket.uploads())
        assert service.stop() == 0
    assert bucket.left() == ([], [])


@pytest.mark.parametrize(
    ("size", "signals"), [(3, 1), (12 * MIB, 3)], ids=["commit, one", "parts, three"]
)
def test_a_store_that_hangs_keeps_nobody(
    service: Service, bucket: Bucket, size: int, signals: int
) -> None:
    """It takes a request and never answers; obstore alone would wait for minutes."""
    hung, over = threading.Event(), threading.Event()

    def hang(method: str, path: str) -> Fault:
        if method == "PUT":
            hung.set()
            over.wait(3 * PATIENCE)
            return 503
        return None

    bucket.fault = hang
    data = HEAD + bytes(size) + b"\r\n--boundary--\r\n"
    try:
        with service.upload(data, length=len(data)):
            assert hung.wait(PATIENCE)
            for _ in range(signals - 1):
                service.process.send_signal(signal.SIGTERM)
                time.sleep(0.2)  # two that are pending are one
            assert service.stop(signal.SIGTERM) == 1
    finally:
        over.set()
    assert service.stderr().splitlines()[-1] == (
        "mpflow serve: ended while a disk or a store did not answer; see what is left there"
    )
    assert "Traceback" not in service.stderr()


def test_a_store_that_fails_is_a_502_that_names_nothing(service: Service, bucket: Bucket) -> None:
    bucket.fault = lambda method, path: 403
    reply = service.post(body([PartSpec(b"abc", filename="a")]))
    assert reply.status >= 500
    assert bucket.name not in reply.body.decode()
    assert "ServiceFailed" in service.stderr()
    bucket.fault = lambda method, path: None
    assert service.post(body([PartSpec(b"abc", filename="a")])).status == 200


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("s3://bucket/x", True),
        ("gs://bucket", True),
        ("memory:///", True),
        ("inbox", False),
        ("./s3://x", False),
        ("/a/b", False),
        ("C:\\x", False),
        ("C:/x", False),
    ],
)
def test_what_is_a_store(where: str, expected: bool) -> None:
    assert is_url(where) is expected


@pytest.mark.anyio
async def test_names_that_are_no_utf8_are_keys_all_the_same() -> None:
    from mpflow import MultipartReader
    from mpflow.testing import content_type_of

    sink = open_sink("memory:///")
    assert isinstance(sink, Sink)
    raw = HEAD.replace(b"big.bin", b"b\xfcg.bin") + b"abc\r\n--boundary--\r\n"
    told: dict[str, Any] = await Inbox(sink).take(MultipartReader(raw, content_type_of()))
    assert KEY.fullmatch(told["parts"][0]["saved_as"])


def test_an_endpoint_that_the_store_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "gs://bucket", "--endpoint", "http://127.0.0.1:1"]) == 2
    assert "expected the URL of a store, got 'gs://bucket'" in capsys.readouterr().err


def test_obstore_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "obstore.store", None)
    assert main(["serve", "s3://bucket"]) == 2
    assert "pip install 'multipart-flow[objectstore]'" in capsys.readouterr().err
