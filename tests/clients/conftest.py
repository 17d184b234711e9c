"""The service that the clients upload to, on either backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.service import BACKENDS, Service, running


@pytest.fixture(params=BACKENDS)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path, request.param) as service:
        yield service


@pytest.fixture(params=BACKENDS)
def bounded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path, request.param, "--max-bytes", "1 MiB") as service:
        yield service
