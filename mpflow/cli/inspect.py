"""`mpflow inspect FILE`: the tree of a multipart, with what is odd about it.

Knows: what is told of each part, as text and as JSON.
Must not know: how a file is opened or visited (`tree.py`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from functools import partial
from typing import Any, Final

import attrs

from mpflow import Deviation, MultipartError, MultipartReader, Part
from mpflow.cli.names import filename_of
from mpflow.cli.opened import fail, open_input, run_command, say
from mpflow.cli.progress import progress
from mpflow.cli.tree import add_reading_arguments, blamed, explain, open_reader, shown, visit

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "show the tree of a multipart body, of a mail or of a saved page"

_LABELS: Final = {
    "name": "name",
    "filename": "filename",
    "id": "content_id",
    "location": "content_location",
}
_PLAIN: Final = frozenset({"", "identity", "7bit", "8bit", "binary"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_reading_arguments(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document, with the sha256 of each body"
    )


def run(options: argparse.Namespace) -> int:
    """Read all of the file; the exit code."""
    return run_command("inspect", partial(_inspect, options))


async def _inspect(options: argparse.Namespace) -> int:
    with open_input(options.file) as source, progress(options.file, source.size) as advance:
        source.notify = advance
        report = _Report(as_json=options.json)
        reader: _Reader | None = None
        error: MultipartError | None = None
        try:
            reader = await open_reader(source, options, _Reader)
            report.begin(reader, source.body_start)
            await visit(reader, report)
        except MultipartError as caught:
            error = caught
        line = None if error is None else explain(error, source)
        report.end(reader, error)
    if line is not None:
        fail("inspect", line)
    return 1 if error is not None or report.problems else 0


class _Part(Part):
    """A part that counts and hashes what is read of it, as it was on the wire."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.read_bytes = 0
        self.sha256 = hashlib.sha256()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = await super().receive(max_bytes)
        self.read_bytes += len(data)
        self.sha256.update(data)
        return data


class _Reader(MultipartReader):
    part_class = _Part


@attrs.define(eq=False)
class _Report:
    """Prints the tree while it is visited, or gathers it for JSON."""

    as_json: bool
    problems: list[str] = attrs.field(factory=list[str], init=False)
    _top: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)
    _levels: list[list[dict[str, Any]]] = attrs.field(
        factory=lambda: [[]], init=False
    )  # of the open multiparts, outermost first

    def begin(self, reader: MultipartReader, body_start: int) -> None:
        self._top["content_type"] = reader.content_type
        self._top["boundary"] = reader.content_type_params["boundary"]
        if body_start:
            self._top["body_start"] = body_start
        self._print(f"{reader.content_type} boundary={shown(self._top['boundary'])}")

    def enter(self, part: Part) -> None:
        node = _node(part)
        inside: list[dict[str, Any]] = []
        node["parts"] = inside
        self._levels[-1].append(node)
        self._levels.append(inside)
        self._print(_line(part, node))

    async def leaf(self, part: Part) -> None:
        node = _node(part)
        try:
            await _measure(part, node)
        except MultipartError as error:
            await part.drain()  # raises where it is the level around that is broken
            self.problem(part, error)
            node["problem"] = str(error)
        node |= _body(part)
        self._levels[-1].append(node)
        self._print(_line(part, node))

    def problem(self, part: Part, error: MultipartError) -> None:
        self.problems.append(blamed(part, error))
        fail("inspect", self.problems[-1])

    def leave(self, part: Part) -> None:
        self._levels.pop()
        self._levels[-1][-1].update(_body(part))

    def end(self, reader: MultipartReader | None, error: MultipartError | None) -> None:
        deviations = [] if reader is None else reader.deviations
        if not self.as_json:
            if deviations:
                self._print("deviations:")
            for deviation in deviations:
                self._print("  " + _deviation_line(deviation))
            return
        self._top["parts"] = self._levels[0]
        self._top["deviations"] = [_present(attrs.asdict(it)) for it in deviations]
        self._top["problems"] = self.problems  # of parts that the rest of the file outlived
        if error is not None:
            self._top["error"] = _present({"message": str(error), "offset": error.offset})
        # Escaped: a header's bytes that are no UTF-8 are lone surrogates, which no file can hold.
        say(json.dumps(self._top, indent=2))

    def _print(self, line: str) -> None:
        if not self.as_json:
            say(line)


async def _measure(part: Part, node: dict[str, Any]) -> None:
    """Read a part, decoded where it is coded."""
    stream = part.decoded()
    if stream is not part:
        size, digest = 0, hashlib.sha256()
        async for chunk in stream:
            size += len(chunk)
            digest.update(chunk)
        node["decoded_size"], node["decoded_sha256"] = size, digest.hexdigest()
    await part.drain()


def _node(part: Part) -> dict[str, Any]:
    codings = [*part.headers.getall("Content-Encoding", ())]
    codings += part.headers.getall("Content-Transfer-Encoding", ())
    names = [name.strip().lower() for value in codings for name in value.split(",")]
    node = {
        "path": list(part.path),
        "content_type": part.content_type,
        "name": part.name,
        "filename": filename_of(part.info),
        "content_id": part.headers.get("Content-ID"),
        "content_location": part.headers.get("Content-Location"),
        "codings": [name for name in names if name not in _PLAIN] or None,
    }
    return _present(node)


def _body(part: Part) -> dict[str, Any]:
    assert isinstance(part, _Part)
    return {"size": part.read_bytes, "sha256": part.sha256.hexdigest()}


def _present(node: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if value is not None}


def _line(part: Part, node: dict[str, Any]) -> str:
    line = "  " * len(part.path) + _place(part.path) + " " + part.content_type
    for label, key in _LABELS.items():
        if key in node:
            line += f" {label}={shown(node[key])}"
    if "size" in node:
        line += f" {node['size']} bytes"
    if "codings" in node:
        line += " " + ",".join(shown(name)[1:-1] for name in node["codings"])
    if "decoded_size" in node:
        line += f" -> {node['decoded_size']} bytes"
    return line


def _deviation_line(deviation: Deviation) -> str:
    line = deviation.code
    if deviation.part is not None:
        line += f" in part {_place(deviation.part)}"
    if deviation.offset is not None:
        line += f" at byte {deviation.offset} of {_level(deviation.level)}"
    return f"{line}: {deviation.detail}"


def _level(path: tuple[int, ...] | None) -> str:
    """What the bytes are counted of."""
    if path is None:
        return "the header"
    return f"the body of part {_place(path)}" if path else "the body"


def _place(path: tuple[int, ...]) -> str:
    return ".".join(map(str, path))
