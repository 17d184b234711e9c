"""`Inbox`: what the service does with each part, and how it tells.

Knows: which part goes to which handler, and what its result looks like in JSON.
Must not know: HTTP, or where files go (`sinks.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs

from mpflow import Handled, Limits, MultipartReader, Part, PartInfo, Results, Router, load_handler
from mpflow.cli.sinks import Sink, Store, tell_file
from mpflow.cli.told import text_or_base64

__all__ = ["Inbox"]

JSON_DEPTH: Final = 100
"""How deep a part's JSON may nest: what was taken must fit into the answer, too."""

STORING_TIMEOUT: Final = 3600.0
"""Seconds that a slow disk may take to sync a large file."""


@attrs.frozen
class _Files:
    """Gives what the sink's handler gives, or None for a part with neither a filename nor a byte.

    Browsers send such a part for each file input that was left blank.
    """

    store: Store

    @asynccontextmanager
    async def __call__(self, part: Part) -> AsyncGenerator[Any, None]:
        if not part.filename and not await part.peek(1):
            yield None
        else:
            async with self.store(part) as kept:
                yield kept


class Inbox:
    """Stores the files of each message in `sink`, and reads the rest.

    A multipart without a filename is routed by the same rules; what else has a filename is
    stored; JSON is parsed, text decoded, and anything else read as bytes. `max_bytes` bounds a
    whole message (default: None, the disk alone does).

    A part with a filename is a file even if its type is JSON or text: a file that a user picks
    has the type that its content has, and must be stored as it is. A browser gives a `Blob` the
    filename `blob`, so JSON that a page sends as one is a file, too.
    """

    def __init__(self, sink: Sink, *, max_bytes: int | None = None) -> None:
        self._sink: Final = sink
        self.limits: Final = Limits(
            max_total_bytes=max_bytes,
            max_part_bytes=None,
            max_decoded_bytes=None,
            handler_timeout=STORING_TIMEOUT,
        )
        self._router: Final = Router(limits=self.limits)
        route = self._router.add
        # A multipart with a filename is a file: a saved web page, a mail. Browsers send its type
        # without the boundary that only the file knows.
        route(load_handler("nested")(self._router), content_type="multipart/*", filename=False)
        self._files: Final = route(_Files(sink.store), filename=True)
        route(load_handler("json")(decoder=_loads), _is_json)
        route(load_handler("text")(), content_type="text/*")
        route(load_handler("collect")())

    async def take(self, reader: MultipartReader) -> dict[str, Any]:
        """Read and store a whole message, or nothing of it; what became of it, for JSON."""
        return {"parts": self._tell(await self._router.dispatch(reader))}

    def _tell(self, results: Iterable[Handled]) -> list[dict[str, Any]]:
        return [self._tell_part(handled) for handled in results]

    def _tell_part(self, handled: Handled) -> dict[str, Any]:
        info, value = handled.part, handled.value
        told: dict[str, Any] = {
            "name": info.name,
            "filename": info.filename,
            "content_type": info.content_type,
            "size": info.size,
        }
        told = {key: item for key, item in told.items() if item is not None}
        if handled.route is self._files:
            told |= {"value": ""} if value is None else tell_file(self._sink, value)
        elif isinstance(value, Results):
            told["parts"] = self._tell(value)
        else:
            told["value"] = text_or_base64(value) if isinstance(value, bytes) else value
        return told


def _is_json(info: PartInfo) -> bool:
    return info.content_type == "application/json" or info.content_type.endswith("+json")


def _loads(data: bytes) -> Any:
    """JSON as RFC 8259 has it: no NaN, no number too large for a float, not too deep."""
    document = json.loads(data)
    level: list[Any] = [document]
    for _ in range(JSON_DEPTH):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()  # pyright: ignore[reportUnknownArgumentType] # any JSON
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, float) and not math.isfinite(item):
                raise ValueError(f"{item} is no JSON number")
        if not inner:
            return document
        level = inner
    raise ValueError(f"it nests deeper than {JSON_DEPTH} levels")
