"""`mpflow uploads BUCKET`: the multipart uploads that nobody has completed, and their end.

Knows: boto3's client of S3, and how old an upload has to be. Must not know: what was uploaded.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any, Final

import attrs

from mpflow.cli.interrupts import interruptible
from mpflow.cli.opened import fail, run_command, say
from mpflow.errors import excerpt

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "list the unfinished multipart uploads of an S3 bucket, or abort them"

_URL: Final = re.compile(r"s3://(?P<bucket>[^/]+)/?(?P<prefix>.*)", re.DOTALL)
_AGE: Final = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_age(text: str) -> timedelta:
    """A time such as 90s, 30m, 12h, 1d or 2w. Raises `argparse.ArgumentTypeError`."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"expected a number and one of s, m, h, d, w, got {excerpt(text)}"
        )
    try:
        age = timedelta(**{_UNITS[found[2]]: int(found[1])})
        _ = datetime.now(UTC) - age  # the calendar begins with the year 1
    except OverflowError:
        raise argparse.ArgumentTypeError(f"expected a shorter time than {text}") from None
    return age


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bucket", metavar="BUCKET", help="its name, or s3://name/prefix")
    parser.add_argument("--endpoint", metavar="URL", help="where the S3 API is (default: AWS)")
    parser.add_argument("--prefix", metavar="PREFIX", default="", help="with what keys begin")
    parser.add_argument(
        "--older-than",
        metavar="AGE",
        type=parse_age,
        default=timedelta(days=1),
        help="how long ago they began at least: 90s, 30m, 12h, 1d, 2w (default: 1d); 0s is all, "
        "those under way too",
    )
    parser.add_argument("--abort", action="store_true", help="abort them, and free their parts")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """List or abort them; the exit code is 1 where the store has refused something."""
    bucket, prefix = options.bucket, options.prefix
    if url := _URL.fullmatch(bucket):
        bucket, prefix = url["bucket"], url["prefix"] + prefix
    try:
        botocore: Any = import_module("botocore.exceptions")
        with interruptible():
            client: Any = import_module("boto3").client("s3", endpoint_url=options.endpoint)
    except ImportError:
        return fail("uploads", "expected boto3: install multipart-flow[s3]", code=2)
    except ValueError as error:
        return fail("uploads", str(error), code=2)
    except Exception as error:  # of boto3's own: a profile that is none, say
        return fail("uploads", _said(error), code=2)
    failures = botocore.ClientError, botocore.BotoCoreError
    store = _Store(client, bucket, prefix, failures)
    before = datetime.now(UTC) - options.older_than
    work = partial(_work, store, before, abort=options.abort, as_json=options.json)
    try:
        return run_command("uploads", work)
    finally:
        client.close()


async def _work(store: _Store, before: datetime, *, abort: bool, as_json: bool) -> int:
    """It blocks: nothing else runs, and a signal ends what blocks the main thread."""
    code = 0
    told: list[dict[str, Any]] = []
    document: dict[str, Any] = {"bucket": store.bucket, "uploads": told}
    try:
        # All of them, before one is gone from the list.
        found = [one for one in store.uploads() if one.initiated <= before]
        for one in found:
            problem = store.abort(one) if abort else None
            told.append(one.told(aborted=abort, problem=problem))
            if not as_json:
                say(one.line(aborted=abort and problem is None))
            if problem is not None:
                code = fail("uploads", f"{excerpt(one.key, limit=200)}: {problem}")
    except store.failures as error:
        document["error"] = _said(error)
        code = fail("uploads", document["error"])
    if as_json:
        say(json.dumps(document, indent=2))
    return code


@attrs.frozen
class _Unfinished:
    """One multipart upload."""

    key: str
    id: str
    initiated: datetime

    @property
    def time(self) -> str:
        return self.initiated.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def line(self, *, aborted: bool) -> str:
        key = self.key if self.key.isprintable() else excerpt(self.key, limit=1024)
        return f"{self.time}  {key}  {self.id}{'  aborted' if aborted else ''}"

    def told(self, *, aborted: bool, problem: str | None) -> dict[str, Any]:
        told: dict[str, Any] = {"key": self.key, "id": self.id, "initiated": self.time}
        if problem is not None:
            return told | {"error": problem}
        return told | {"aborted": True} if aborted else told


@attrs.define(eq=False)
class _Store:
    """A bucket. All of it blocks, in the main thread."""

    client: Any
    bucket: str
    prefix: str
    failures: tuple[type[Exception], ...]

    def uploads(self) -> Iterator[_Unfinished]:
        pages = self.client.get_paginator("list_multipart_uploads")
        found = iter(pages.paginate(Bucket=self.bucket, Prefix=self.prefix))
        while True:
            with interruptible():
                page = next(found, None)
            if page is None:
                return
            for one in page.get("Uploads", ()):
                yield _Unfinished(one["Key"], one["UploadId"], one["Initiated"])

    def abort(self, one: _Unfinished) -> str | None:
        """Abort it; what the store says against it. One that has ended meanwhile is none."""
        try:
            with interruptible():
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=one.key, UploadId=one.id)
        except self.failures as error:
            response: Any = getattr(error, "response", None)  # None, too, where none came
            is_gone = response and response.get("Error", {}).get("Code") == "NoSuchUpload"
            return None if is_gone else _said(error)
        return None


def _said(error: BaseException) -> str:
    return excerpt(f"{type(error).__name__}: {error}", limit=300)[1:-1]
