"""`mpflow dispatch FILE -c ROUTES`: a body or a mail through the routes of a file.

Knows: what is told of the results, as text and as JSON.
Must not know: how a file is opened (`tree.py`), or how a value is told (`told.py`).
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import Any, Final

from mpflow import CommitFailed, MultipartError, MultipartReader, Results, Router
from mpflow.cli.opened import Input, fail, open_input, run_command, say
from mpflow.cli.progress import progress
from mpflow.cli.routed import add_config_argument, load_router
from mpflow.cli.told import tell_cause, tell_results
from mpflow.cli.tree import (
    LIMITS,
    add_reading_arguments,
    explain,
    multipart_type,
    open_reader,
    shown,
)

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "send each part of a body or a mail to the handlers that a file of routes names"

WIDTH: Final = 80
"""How much of a value stands in a line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_reading_arguments(parser)
    parser.add_argument(
        "--content-type",
        metavar="TYPE",
        dest="type",
        type=multipart_type,
        default=argparse.SUPPRESS,  # or it would undo what --type said
        help="the same as --type",
    )
    add_config_argument(parser, required=True)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Dispatch all of the file, or nothing; the exit code."""
    router = load_router("dispatch", options.config)
    if router is None:
        return 2
    return run_command("dispatch", partial(_dispatch, options, router))


async def _dispatch(options: argparse.Namespace, router: Router) -> int:
    with open_input(options.file) as source, progress(options.file, source.size) as advance:
        source.notify = advance
        try:
            # A file may be as large as it is, unless the routes bound it.
            limits = LIMITS if router.limits is None else router.limits
            reader = await open_reader(source, options, MultipartReader, limits=limits)
            results = await router.dispatch(reader)
        except Exception as error:  # a handler's own exception comes out as it is
            return fail("dispatch", _explain(error, source))
    told = tell_results(results)
    if options.json:
        # Escaped: a header's bytes that are no UTF-8 are lone surrogates, which no file can hold.
        say(json.dumps({"parts": told}, indent=2))
    else:
        for part in told:
            _print(part)
    return 1 if _has_failed(results) else 0


def _explain(error: Exception, source: Input) -> str:
    if isinstance(error, CommitFailed):
        return " ".join(tell_cause(error).split("\n"))
    if isinstance(error, MultipartError):
        return explain(error, source)
    line = f"{type(error).__name__}: {error}"
    notes: list[str] = getattr(error, "__notes__", [])  # the first names the part
    return " ".join(f"{line} ({notes[0]})".split("\n")) if notes else line


def _print(part: dict[str, Any]) -> None:
    place = ".".join(map(str, part["path"]))
    line = "  " * (len(part["path"]) - 1) + f"{place} {part['content_type']}"
    for label in ("name", "filename"):
        if label in part:
            line += f" {label}={shown(part[label])}"
    if "size" in part:
        line += f" {part['size']} bytes"
    if "key" in part:
        line += f" -> {shown(part['key'])}"
    if "error" in part:
        line += f" failed: {shown(part['error'])[1:-1]}"
    elif "value" in part:
        value = json.dumps(part["value"], ensure_ascii=False)
        line += ": " + shown(value if len(value) <= WIDTH else f"{value[:WIDTH]}...")[1:-1].replace(
            '\\"', '"'
        )
    say(line)
    for inner in part.get("parts", ()):
        _print(inner)


def _has_failed(results: Results) -> bool:
    return any(
        handled.error is not None
        or (isinstance(handled.value, Results) and _has_failed(handled.value))
        for handled in results
    )
