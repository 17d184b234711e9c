"""Routers from files, for the sub-commands that take `-c FILE`.

Knows: how such a file is named and loaded, and how its faults are told.
Must not know: what is dispatched.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import attrs

from mpflow import ConfigError, Limits, MultipartReader, Router
from mpflow.cli.opened import fail
from mpflow.cli.told import for_clients, tell_results

__all__ = ["Routed", "add_config_argument", "load_router"]


def add_config_argument(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Declare `-c FILE`."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        required=required,
        help="a TOML file of routes: which part goes to which handler",
    )


def load_router(command: str, path: str) -> Router | None:
    """The router; None where the file is at fault, which is said on stderr, a line a fault."""
    try:
        return Router.from_toml(path, given=())  # nothing is given on a command line
    except ConfigError as error:
        for line in error.problems:
            fail(command, line)
    except OSError as error:
        fail(command, f"{os.fsdecode(path)}: {error.strerror or error}")
    return None


@attrs.frozen
class Routed:
    """A router as a service takes it: each message is dispatched, and its results are told."""

    router: Router

    @property
    def limits(self) -> Limits | None:
        """The router's; None where the file gives none."""
        return self.router.limits

    async def take(self, reader: MultipartReader) -> dict[str, Any]:
        """Dispatch a whole message, or nothing of it; what became of it, for JSON."""
        return {"parts": tell_results(await self.router.dispatch(reader), for_clients)}
