"""The command `mpflow`: `main`, and which sub-commands there are.

Knows: how a command line becomes a call of a sub-command, and the exit codes.
Must not know: what a sub-command does; each is a module with `add_arguments` and `run`.

Exit codes: 0 done, 1 it went wrong, 2 the command line or the installation is at fault.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final, Protocol

from mpflow.cli import dispatch, extract, handlers, inspect, pack, serve, uploads
from mpflow.cli.opened import have_stderr
from mpflow.cli.waitedwrites import have_waiting_output

__all__ = ["main"]


class Command(Protocol):
    """What a module that is a sub-command has."""

    @property
    def HELP(self) -> str:  # a module's constant
        """What it does, in one line."""
        ...

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None: ...

    def run(self, options: argparse.Namespace, /) -> int: ...


COMMANDS: Final[dict[str, Command]] = {
    "inspect": inspect,
    "extract": extract,
    "pack": pack,
    "dispatch": dispatch,
    "serve": serve,
    "handlers": handlers,
    "uploads": uploads,
}
"""The sub-commands by name. Their modules import what is heavy only when they run."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: that of the process) and return the exit code."""
    have_stderr()
    have_waiting_output()
    parser = _parser()
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has said what there is to say
        return stop.code if isinstance(stop.code, int) else 2
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        return COMMANDS[options.command].run(options)
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT: what a shell expects of a command that Ctrl-C ended


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mpflow", description="Read, route and write multipart streams."
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {version('multipart-flow')}"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        text = command.HELP
        command.add_arguments(commands.add_parser(name, help=text, description=text))
    return parser
