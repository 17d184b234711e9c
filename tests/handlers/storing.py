"""A process of its own for `ObjectStore`: stores 200 MiB, and says by how much it grew.

Knows: the peak of its own memory. Must not know: where it is spent.

Run as `python -m tests.handlers.storing BACKEND ENDPOINT BUCKET`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import anyio
from obstore.store import S3Store

from mpflow.testing import part
from mpflow_handlers import ObjectStore

SIZE = 200 * 1024 * 1024


class Source:
    """Random bytes in chunks of 64 KiB, none of them kept."""

    def __init__(self, size: int) -> None:
        self._left = size

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 65536
        return os.urandom(65536)


def peak() -> int:
    """Bytes. `getrusage` would tell the peak of the process that started this one, too."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def main(endpoint: str, bucket: str) -> None:
    store = S3Store(
        bucket,
        endpoint=endpoint,
        access_key_id="test",
        secret_access_key="test",
        region="us-east-1",
        client_options={"allow_http": True},
    )
    save = ObjectStore(store, "a", digests=["sha256"])
    async with ObjectStore(store, "warm")(part(b"warm")):  # what is imported and opened once
        pass
    before = peak()
    async with save(part(chunks=Source(SIZE))) as stored:
        pass
    print(json.dumps({"size": stored.size, "grown": peak() - before}))


if __name__ == "__main__":
    anyio.run(main, *sys.argv[2:], backend=sys.argv[1])
