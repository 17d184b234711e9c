"""`mpflow extract FILE -d DIR`: every part that is no multipart, as a file of its own.

Knows: what a part's file is called, and which errors leave the parts after it alone.
Must not know: how a file is staged (the handler `save`), opened or visited (`tree.py`).
"""

from __future__ import annotations

import argparse
import mimetypes
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from mpflow import MultipartError, MultipartReader, Part, PartInfo, load_handler, safe_filename
from mpflow.cli.names import filename_of, location_of
from mpflow.cli.opened import fail, open_input, run_command, say
from mpflow.cli.progress import progress
from mpflow.cli.tree import add_reading_arguments, blamed, explain, open_reader, visit

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "store each part of a multipart body, of a mail or of a saved page as a file"

_EXTENSIONS: Final = {"text/plain": ".txt", "application/octet-stream": ".bin"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_reading_arguments(parser)
    parser.add_argument(
        "-d",
        "--directory",
        metavar="DIR",
        default=".",
        help="where the files go; made if it is missing (default: the current folder)",
    )


def run(options: argparse.Namespace) -> int:
    """Store the parts; the exit code."""
    if not options.directory:
        return fail("extract", "expected a path after -d, or . for the current folder", code=2)
    return run_command("extract", partial(_extract, options))


async def _extract(options: argparse.Namespace) -> int:
    with open_input(options.file) as source, progress(options.file, source.size) as advance:
        source.notify = advance
        try:
            reader = await open_reader(source, options, _Reader)
            files = _Files(_made(options.directory))
            await visit(reader, files)
        except MultipartError as error:
            return fail("extract", explain(error, source))
    return 1 if files.failed else 0


def _made(path: str) -> Path:
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    return directory


class _Part(Part):
    """A part that is stored without any of its codings."""

    @property
    def decode_policy(self) -> Literal["all"]:
        return "all"


class _Reader(MultipartReader):
    part_class = _Part


class _Files:
    """Stores each leaf as soon as it is whole: what comes after it takes nothing back."""

    def __init__(self, directory: Path) -> None:
        self._save: Callable[[Part], AbstractAsyncContextManager[Any]] = load_handler("save")(
            directory, name=name_of, exists="suffix"
        )
        self.failed = False

    def enter(self, part: Part) -> None: ...

    async def leaf(self, part: Part) -> None:
        async with self._save(part) as saved:
            pass  # it gets its name when the block is left
        say(str(saved.path))

    def problem(self, part: Part, error: MultipartError) -> None:
        self.failed = True
        fail("extract", blamed(part, error))

    def leave(self, part: Part) -> None: ...


def name_of(info: PartInfo) -> str:
    """The filename made harmless; else the name, the end of the address, or `part-0.1`, with the
    extension of the type."""
    filename = filename_of(info)
    if filename:
        return safe_filename(filename)
    extension = _EXTENSIONS.get(info.content_type) or mimetypes.guess_extension(info.content_type)
    place = "part-" + ".".join(map(str, info.path))
    label = info.name
    if label is None and (label := location_of(info)) is not None:
        known = mimetypes.guess_type(label)[0]
        if known is not None and (known == info.content_type or extension is None):
            return safe_filename(label, default=place)
    stem = safe_filename(label, default=place) if label else place
    return safe_filename(stem + (extension or ".bin"), default=place)
