"""`mpflow handlers`: which handlers are installed, and with what each is made.

Knows: what is told of a handler, as text and as JSON.
Must not know: where handlers are looked for.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections import Counter
from functools import partial
from typing import Any, Final

from mpflow import InstalledHandler, Option, RouteError, installed_handlers, options_of
from mpflow.cli.opened import fail, run_command, say

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "list the handlers that are installed, with their options"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """List them; the exit code is 1 where one cannot be used."""
    return run_command("handlers", partial(_list, as_json=options.json))


async def _list(*, as_json: bool) -> int:
    found = installed_handlers()
    counts = Counter(one.name for one in found)
    told = [_tell(one, is_double=counts[one.name] > 1) for one in found]
    if as_json:
        say(json.dumps({"handlers": told}, indent=2))
    for one in told:
        if not as_json:
            _print(one)
        if "error" in one:
            fail("handlers", one["error"])
    return 1 if any("error" in one for one in told) else 0


def _tell(one: InstalledHandler, *, is_double: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": one.name,
        "distribution": one.distribution,
        "version": one.version,
        "object": one.value,
    }
    if is_double:
        origin = f"{one.distribution} ({one.value})"
        told["error"] = f"the handler {one.name!r} is installed more than once: here by {origin}"
        return told
    try:
        factory = one.load()
    except RouteError as error:
        told["error"] = error.message
        return told
    doc = inspect.getdoc(factory)
    told["doc"] = doc.split("\n")[0] if doc else ""
    options = options_of(factory)
    if options is not None:
        told["options"] = [_tell_option(option) for option in options.known]
        told["takes_others"] = options.takes_others
    return told


def _tell_option(option: Option) -> dict[str, Any]:
    return {
        "name": option.name,
        "type": option.type,
        "default": option.default,
        "required": option.is_required,
        "many": option.is_many,
    }


def _print(one: dict[str, Any]) -> None:
    say(f"{one['name']} ({one['distribution']} {one['version']})")
    if one.get("doc"):
        say(f"    {one['doc']}")
    for option in one.get("options", ()):
        line = f"    - {option['name']}"
        if option["type"]:
            line += f": {option['type']}"
        if option["many"]:
            line += ", an array of any number"
        elif option["required"]:
            line += ", needed"
        else:
            line += f" = {option['default']}"
        say(line)
    if one.get("takes_others"):
        say("    - and any other")
