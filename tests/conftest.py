"""What tests share: the backends, hypothesis' profiles, an S3 server.

Knows: on what the suite runs. Must not know: anything of mpflow but its virtual clock.

A portable async module says `pytestmark = pytest.mark.anyio` and runs on asyncio, uvloop and trio;
a trio-native one says `pytestmark = pytest.mark.trio`; none says both. A test that waits for time
to pass says `@virtual_time` too (see tests/clock.py), and no test sleeps in real time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.clock import VirtualBackend

if TYPE_CHECKING:
    from tests.objects import Bucket

# The backend's fixture is made once a test, not once an example; nothing in it changes between
# two examples, so the health check has nothing to warn about.
_CALM = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
# In the background of a shell SIGINT is ignored, and so it would be by all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # ... and under `nohup` this one is
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
settings.register_profile("ci", deadline=None, suppress_health_check=_CALM)
settings.register_profile(
    "long", deadline=None, suppress_health_check=_CALM, max_examples=2000, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {"restrict_keyboard_interrupt_to_checkpoints": True}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, Any]]]:
    """The backend of a portable test; under `@virtual_time` one whose clock is virtual."""
    if isinstance(request.param, VirtualBackend):
        with request.param.start() as backend:
            yield backend
    else:
        yield request.param


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, unless asked for, the tests whose very imports need what only they install."""
    asked = config.option.markexpr
    wants_clients = "not clients" not in asked
    if collection_path.name == "conformance" and collection_path.is_dir():
        # They are made of what was downloaded, so that they must be asked for by name.
        return None if "conformance" in asked.replace("not conformance", "") else True
    return None if wants_clients or collection_path.name not in ("clients", "peers") else True


@pytest.fixture(scope="session")
def s3() -> Iterator[int]:
    """The port of an S3 server that the tests of a process share."""
    from tests.objects import moto  # only now: most tests need none

    with moto() as port:
        yield port


@pytest.fixture
def bucket(s3: int) -> Iterator[Bucket]:
    """An empty bucket of its own for each test."""
    from tests.objects import Bucket

    made = Bucket(s3)
    yield made
    made.close()
