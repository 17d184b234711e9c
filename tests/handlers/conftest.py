"""An S3 server that the tests of a process share, and a bucket of its own for each test.

Knows: when they start and stop. Must not know: what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.objects import Bucket, moto


@pytest.fixture(scope="session")
def s3() -> Iterator[int]:
    """The port of the server."""
    with moto() as port:
        yield port


@pytest.fixture
def bucket(s3: int) -> Iterator[Bucket]:
    """An empty bucket."""
    made = Bucket(s3)
    yield made
    made.close()
