"""Remove the objects that no manifest names: of uploads whose process was killed at their end.

    UPLOADS_URL=s3://bucket python sweep.py [--hours 24]

An object that is younger than that may belong to an upload that is just being finished. Run it once
a day, beside `mpflow uploads --abort`, which ends what was killed before.

Knows: what service.py stores, and where. Must not know: how it gets there.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import obstore
from obstore.store import from_url
from service import manifest_of


def named(store: Any, upload: str) -> set[str]:
    """The keys of an upload's objects; none where it has no manifest."""
    try:
        manifest = json.loads(bytes(obstore.get(store, manifest_of(upload)).bytes()))
    except FileNotFoundError:
        return set()
    return {file["key"] for file in manifest["files"]}


def sweep(store: Any, before: datetime) -> list[str]:
    """Delete what is older than `before` and named by nobody; the keys."""
    uploads: dict[str, set[str]] = {}
    removed: list[str] = []
    for page in obstore.list(store, prefix="objects/"):
        for found in page:
            key = found["path"]
            if found["last_modified"] > before:
                continue
            upload = key.split("/")[1]
            if upload not in uploads:
                uploads[upload] = named(store, upload)
            if key not in uploads[upload]:
                removed.append(key)
    for key in removed:
        obstore.delete(store, key)
    return removed


def main() -> None:
    """Sweep the store that the environment names, and print the keys."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hours", type=float, default=24.0)
    options = parser.parse_args()
    before = datetime.now(UTC) - timedelta(hours=options.hours)
    for key in sweep(from_url(os.environ["UPLOADS_URL"]), before):
        print(key)


if __name__ == "__main__":
    main()
