"""The package from its source, where it is not installed; the backends of the tests."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("mpflow_clamav") is None:
    sys.path.append(str(Path(__file__).parents[1] / "src"))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend
