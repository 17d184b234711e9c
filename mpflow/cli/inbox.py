"""`Inbox`: what the service does with each part, and how it tells.

Knows: which part goes to which handler, and what its result looks like in JSON.
Must not know: HTTP.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import attrs

from mpflow import Handled, Limits, MultipartReader, Part, PartInfo, Results, Router, load_handler
from mpflow.cli.told import text_or_base64

__all__ = ["Inbox"]

JSON_DEPTH: Final = 100
"""How deep a part's JSON may nest: what was taken must fit into the answer, too."""

STORING_TIMEOUT: Final = 3600.0
"""Seconds that a slow disk may take to sync a large file."""

_SaveHandler = Callable[[Part], AbstractAsyncContextManager["_Saved"]]


class _Saved(Protocol):
    """What the handler `save` gives, and this needs of it."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def digests(self) -> Mapping[str, str]: ...


@attrs.frozen
class _Files:
    """Gives what `save` gives, or None for a part with neither a filename nor a byte.

    Browsers send such a part for each file input that was left blank.
    """

    save: _SaveHandler

    @asynccontextmanager
    async def __call__(self, part: Part) -> AsyncGenerator[_Saved | None, None]:
        if not part.filename and not await part.peek(1):
            yield None
        else:
            async with self.save(part) as saved:
                yield saved


class Inbox:
    """Stores the files of each message in `directory`, which must exist, and reads the rest.

    A multipart without a filename is routed by the same rules; what else has a filename is
    stored; JSON is parsed, text decoded, and anything else read as bytes. `max_bytes` bounds a
    whole message (default: None, the disk alone does).

    A part with a filename is a file even if its type is JSON or text: a file that a user picks
    has the type that its content has, and must be stored as it is. A browser gives a `Blob` the
    filename `blob`, so JSON that a page sends as one is a file, too.
    """

    def __init__(self, directory: Path, *, max_bytes: int | None = None) -> None:
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
        # The digest is taken by the thread that writes, while the bytes are in its cache.
        save = load_handler("save")(
            directory,
            name=_safe_name,
            exists="suffix",
            digests=("sha256",),
        )
        self._files: Final = route(_Files(save), filename=True)
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
            told |= {"value": ""} if value is None else _tell_file(value)
        elif isinstance(value, Results):
            told["parts"] = self._tell(value)
        else:
            told["value"] = text_or_base64(value) if isinstance(value, bytes) else value
        return told


def _safe_name(info: PartInfo) -> str:
    return info.safe_filename


def _tell_file(saved: _Saved) -> dict[str, Any]:
    return {"saved_as": saved.name, "size": saved.size, "sha256": saved.digests["sha256"]}


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
