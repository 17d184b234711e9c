"""Cleaning up in a worker thread, though somebody cancels.

Knows: how long a handler that ends waits for it. Must not know: what is cleaned up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
from anyio import to_thread

__all__ = ["clean_up"]

_CLEANUP: Final = 10.0
"""Seconds that a handler waits for its file to be removed; it is removed even if later."""


async def clean_up(function: Callable[[], object]) -> None:
    """Call a function that blocks, exactly once, whatever is cancelled meanwhile."""
    begun = False

    def run() -> None:
        nonlocal begun
        begun = True
        function()

    try:
        with anyio.move_on_after(_CLEANUP, shield=True):
            # A limiter of its own: all the others may be waiting for this very disk.
            limiter = anyio.CapacityLimiter(1)
            await to_thread.run_sync(run, abandon_on_cancel=True, limiter=limiter)
    finally:
        if not begun:  # cancelled outside of anyio, or no thread to be had
            function()
