"""`mpflow uploads`: what a service that was killed has left in a bucket, of a real S3 API."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from mpflow.cli import main
from tests.cli.command import COMMAND, PATIENCE
from tests.objects import Bucket

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


def begin(bucket: Bucket, *keys: str) -> None:
    """Multipart uploads with a part each, as a process that was killed leaves them."""
    client: Any = boto3.client(
        "s3",
        endpoint_url=bucket.endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
    for key in keys:
        upload = client.create_multipart_upload(Bucket=bucket.name, Key=key)["UploadId"]
        client.upload_part(Bucket=bucket.name, Key=key, UploadId=upload, PartNumber=1, Body=b"a")
    client.close()


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def uploads(
    bucket: Bucket, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)

    def run(*options: str, name: str | None = None) -> tuple[int, str, str]:
        what = [name or bucket.name, "--endpoint", bucket.endpoint]
        code = main(["uploads", *what, *options])
        return code, *capfd.readouterr()

    return run


def test_they_are_listed_and_stay(bucket: Bucket, uploads: Command) -> None:
    begin(bucket, "a", "b/c")
    code, out, err = uploads("--older-than", "0s")
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first.split()[1:2] == ["a"]
    assert second.split()[1:2] == ["b/c"]
    assert bucket.uploads() == ["a", "b/c"]


def test_they_are_aborted(bucket: Bucket, uploads: Command) -> None:
    begin(bucket, "a", "b")
    code, out, err = uploads("--older-than=0s", "--abort")
    assert (code, err) == (0, "")
    assert [line.endswith("  aborted") for line in out.splitlines()] == [True, True]
    assert bucket.left() == ([], [])
    assert uploads("--older-than=0s", "--abort") == (0, "", "")


def test_young_ones_are_left_alone(
    bucket: Bucket, uploads: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may be sending them right now."""
    begin(bucket, "a")
    now = f"{datetime.now(UTC) - timedelta(minutes=10):%Y-%m-%dT%H:%M:%S.000Z}".encode()
    forward = bucket.forward

    def dated(*request: Any) -> tuple[Any, bytes]:
        """moto says of each upload that it began in 2010."""
        answer, data = forward(*request)
        return answer, data.replace(b"2010-11-10T20:48:33.000Z", now)

    monkeypatch.setattr(bucket, "forward", dated)
    assert uploads("--abort") == (0, "", "")
    assert uploads("--abort", "--older-than", "30m") == (0, "", "")
    assert bucket.uploads() == ["a"]
    assert uploads("--older-than", "5m")[1].startswith(now[:19].decode())


@pytest.mark.parametrize("by_url", [True, False])
def test_only_those_with_a_prefix(bucket: Bucket, uploads: Command, by_url: bool) -> None:
    begin(bucket, "one/a", "two/b", "two/c")
    options = ["--older-than=0s", "--abort", "--json"]
    if by_url:
        code, out, _ = uploads(*options, name=f"s3://{bucket.name}/two/")
    else:
        code, out, _ = uploads(*options, "--prefix=two/")
    assert code == 0
    told = json.loads(out)
    assert told["bucket"] == bucket.name
    assert [one["key"] for one in told["uploads"]] == ["two/b", "two/c"]
    assert all(one["aborted"] for one in told["uploads"])
    assert told["uploads"][0].keys() == {"key", "id", "initiated", "aborted"}
    assert bucket.uploads() == ["one/a"]


def test_one_that_cannot_be_aborted_hides_no_other(bucket: Bucket, uploads: Command) -> None:
    begin(bucket, "a", "b")
    bucket.fault = lambda method, path: 403 if method == "DELETE" and "/a?" in path else None
    code, out, err = uploads("--older-than=0s", "--abort", "--json")
    assert code == 1
    first, second = json.loads(out)["uploads"]
    assert "403" in first["error"]
    assert second["aborted"] is True
    assert err.startswith("mpflow uploads: 'a': ClientError")
    bucket.fault = lambda method, path: None
    assert bucket.uploads() == ["a"]


def test_one_that_has_ended_meanwhile_is_no_failure(
    bucket: Bucket, uploads: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    begin(bucket, "a")
    lost = ["a"]  # the answer to the first request
    bucket.fault = lambda method, path: (
        "lose" if method == "DELETE" and lost and lost.pop() else None
    )
    code, _, err = uploads("--older-than=0s", "--abort")
    assert (code, err) == (0, "")


def test_a_bucket_that_is_not_there(bucket: Bucket, uploads: Command) -> None:
    code, out, err = uploads("--json", name="nobody-has-it")
    assert code == 1
    assert "NoSuchBucket" in json.loads(out)["error"]
    assert err.startswith("mpflow uploads: NoSuchBucket: ")


def test_a_store_that_does_not_answer(bucket: Bucket, uploads: Command) -> None:
    bucket.fault = lambda method, path: "drop"
    code, out, err = uploads()
    assert (code, out) == (1, "")
    assert err.startswith("mpflow uploads: ConnectionClosedError: ")


@pytest.mark.parametrize("age", ["1", "d", "-1d", "1y", "١d", "999999999w", "999999d"])
def test_an_age_that_is_none(bucket: Bucket, uploads: Command, age: str) -> None:
    code, _, err = uploads(f"--older-than={age}")
    assert code == 2
    assert "--older-than" in err


def test_an_endpoint_that_is_none(bucket: Bucket, uploads: Command) -> None:
    code, _, err = uploads("--endpoint=nowhere")
    assert (code, err) == (2, "mpflow uploads: Invalid endpoint: nowhere\n")


def test_in_a_process_of_its_own(bucket: Bucket) -> None:
    begin(bucket, "a")
    done = subprocess.run(
        [*COMMAND, "uploads", bucket.name, f"--endpoint={bucket.endpoint}", "--abort"],
        env={**os.environ, **CREDENTIALS},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert bucket.left() == ([], [])


def test_without_boto3() -> None:
    code = "import sys; sys.modules['boto3'] = None; from mpflow.cli import main; sys.exit(main())"
    done = subprocess.run(
        [COMMAND[0], "-c", code, "uploads", "a"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert done.stderr == "mpflow uploads: expected boto3: install multipart-flow[s3]\n"
