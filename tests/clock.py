"""Virtual time for portable tests: a sleep of an hour takes no time, on asyncio and on trio.

Knows: how pytest is told of a backend. Must not know: how the clock of either is made.

    from tests.clock import virtual_time

    pytestmark = [pytest.mark.anyio, virtual_time]      # or @virtual_time on one test
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest

from mpflow.testing import virtual_time as virtual_backend
from mpflow.testing.clock import GRACE

__all__ = ["GRACE", "VIRTUAL", "VirtualBackend", "virtual_time"]


@attrs.frozen
class VirtualBackend:
    """A parameter of the fixture `anyio_backend`: `name` with a clock that jumps."""

    name: str

    @contextmanager
    def start(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """A fresh clock, as anyio's backend options."""
        with virtual_backend(self.name) as backend:
            yield backend


VIRTUAL = [pytest.param(VirtualBackend(name), id=f"virtual-{name}") for name in ("asyncio", "trio")]
virtual_time = pytest.mark.parametrize("anyio_backend", VIRTUAL, indirect=True)
"""Mark for a test, a class or a module: run on asyncio and trio, in virtual time."""
