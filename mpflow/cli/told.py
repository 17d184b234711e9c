"""Results of any router, as JSON: what `mpflow dispatch` prints and `mpflow serve -c` answers.

Knows: what of a value somebody else's handler gave can be told. Must not know: HTTP, files.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import enum
import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

import attrs

from mpflow import CommitFailed, Handled, MultipartError, Rejected, Results
from mpflow.errors import excerpt

__all__ = ["for_clients", "tell", "tell_cause", "tell_part", "tell_results", "text_or_base64"]

MAX_DEPTH: Final = 100
"""How deep values nest in what is told."""

MAX_OBJECTS: Final = 3
"""How many objects may stand in one another: two that hold each other would have no end."""


GENERIC: Final = "the upload failed on the side of the service"


def for_clients(error: BaseException) -> str:
    """What a client may hear of a failure: what is of this side may name addresses and paths."""
    is_meant = isinstance(error, Rejected | CommitFailed)  # these say what is written for clients
    if isinstance(error, MultipartError) and (is_meant or error.status < 500):
        return str(error)
    return GENERIC


def tell_cause(error: BaseException) -> str:
    """A failure for those who run this: that of a commit with what made it fail."""
    cause = error.__cause__ if isinstance(error, CommitFailed) else None
    return str(error) if cause is None else f"{error}: {type(cause).__name__}: {tell_cause(cause)}"


def _plain(error: BaseException) -> str:
    return str(error) or type(error).__name__


def tell_results(
    results: Iterable[Handled], say: Callable[[BaseException], str] = _plain
) -> list[dict[str, Any]]:
    """Each part and what became of it, in wire order. `say` has words for each that failed."""
    return [tell_part(handled, say) for handled in results]


def tell_part(handled: Handled, say: Callable[[BaseException], str] = _plain) -> dict[str, Any]:
    """One part; keys that say nothing are left out."""
    info = handled.part
    told: dict[str, Any] = {
        "path": list(info.path),
        "key": handled.key,
        "name": info.name,
        "filename": info.filename,
        "content_type": info.content_type,
        "size": info.size,
    }
    told = {key: value for key, value in told.items() if value is not None}
    if handled.error is not None:
        told["error"] = say(handled.error)
    elif isinstance(handled.value, Results):
        told["parts"] = tell_results(handled.value, say)
    else:
        told["value"] = tell(handled.value)
    return told


def tell(value: object, depth: int = 0, objects: int = 0) -> Any:
    """A value as JSON has it. An object is told by its public fields and properties."""
    if isinstance(value, enum.Enum):
        return tell(value.value, depth + 1, objects)
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray):
        return text_or_base64(bytes(value))
    if depth >= MAX_DEPTH:
        return _shown(value)
    if isinstance(value, Results):
        return tell_results(value)
    return _tell_many(value, depth, objects)


def _tell_many(value: object, depth: int, objects: int) -> Any:
    """What holds other values, or is one of the standard library's."""
    if isinstance(value, Mapping):
        table = cast("Mapping[object, object]", value)
        return {str(key): tell(item, depth + 1, objects) for key, item in table.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [tell(item, depth + 1, objects) for item in cast("Iterable[object]", value)]
    if isinstance(value, os.PathLike):
        return os.fsdecode(cast("os.PathLike[str]", value))
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, BaseException):
        return {"error": str(value) or type(value).__name__}
    return _tell_object(value, depth, objects)


def _tell_object(value: object, depth: int, objects: int) -> Any:
    names = _public(value) if objects < MAX_OBJECTS else ()
    found: dict[str, Any] = {}
    for name in names:
        try:
            item = getattr(value, name)
        except Exception:  # a property may know nothing any more, once the flow has ended
            continue
        if not callable(item):
            found[name] = tell(item, depth + 1, objects + 1)
    return found or _shown(value)


def text_or_base64(data: bytes) -> str | dict[str, str]:
    """Bytes as text where they are UTF-8, else `{"base64": ...}`."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _public(value: object) -> tuple[str, ...]:
    """The names of its fields and properties that have no underscore, in order."""
    kind = type(value)
    names: list[str] = []
    if attrs.has(kind):
        names += [field.name for field in attrs.fields(kind)]
    elif dataclasses.is_dataclass(kind):
        names += [field.name for field in dataclasses.fields(kind)]
    for owner in reversed(kind.__mro__):
        names += [name for name, item in vars(owner).items() if isinstance(item, property)]
    return tuple(dict.fromkeys(name for name in names if not name.startswith("_")))


def _shown(value: object) -> str:
    try:
        return excerpt(repr(value), limit=80)[1:-1]
    except Exception:  # somebody's own repr
        return type(value).__name__
