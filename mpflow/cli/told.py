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
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from numbers import Number
from typing import Any, Final, cast

import attrs

from mpflow import CommitFailed, Handled, Problem, Results
from mpflow.errors import excerpt

__all__ = ["for_clients", "tell", "tell_cause", "tell_part", "tell_results", "text_or_base64"]

MAX_DEPTH: Final = 100
"""How deep values nest in what is told."""

MAX_OBJECTS: Final = 3
"""How many objects may stand in one another: two that hold each other would have no end."""

_PLAIN: Final = (str, bytes, int, float, Number, datetime.date, datetime.time, datetime.timedelta,
                 uuid.UUID, enum.Enum, type(None))  # fmt: skip
"""What says no more of itself than what it is."""


def for_clients(error: BaseException) -> str:
    """What a client may hear of a failure: what is of this side may name addresses and paths."""
    return Problem.of(error).detail


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
        told["value"] = tell(handled.value, say)
    return told


def tell(value: object, say: Callable[[BaseException], str] = _plain) -> Any:
    """A value as JSON has it. An object is told by its public fields and properties.

    `say` has words for each failure in it. Where these are `for_clients`, an object that has
    none is told by its class's name: what its `repr` holds, nobody knows.
    """
    return _Telling(say).tell(value)


@attrs.frozen
class _Telling:
    """How values are told; `depth` and `objects` count what stands around one."""

    say: Callable[[BaseException], str]

    def tell(self, value: object, depth: int = 0, objects: int = 0) -> Any:
        if isinstance(value, enum.Enum):
            return self.tell(value.value, depth + 1, objects)
        if value is None or isinstance(value, bool | str | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, bytes | bytearray):
            return text_or_base64(bytes(value))
        if isinstance(value, BaseException):
            return {"error": self.say(value)}
        if depth >= MAX_DEPTH:
            return self._show(value)
        if isinstance(value, Results):
            return tell_results(value, self.say)
        return self._tell_many(value, depth, objects)

    def _tell_many(self, value: object, depth: int, objects: int) -> Any:
        """What holds other values, or is one of the standard library's."""
        if isinstance(value, Mapping):
            table = cast("Mapping[object, object]", value)
            return {self._key(key): self.tell(it, depth + 1, objects) for key, it in table.items()}
        if isinstance(value, list | tuple | set | frozenset | deque):
            many = cast("Iterable[object]", value)
            return [self.tell(item, depth + 1, objects) for item in many]
        if isinstance(value, os.PathLike):
            return os.fsdecode(cast("os.PathLike[str]", value))
        if isinstance(value, datetime.date | datetime.time):
            return value.isoformat()
        return self._tell_object(value, depth, objects)

    def _tell_object(self, value: object, depth: int, objects: int) -> Any:
        names = _public(value) if objects < MAX_OBJECTS else ()
        found: dict[str, Any] = {}
        for name in names:
            try:
                item = getattr(value, name)
            except Exception:  # a property may know nothing any more, once the flow has ended
                continue
            if not callable(item):
                found[name] = self.tell(item, depth + 1, objects + 1)
        return found or self._show(value)

    def _key(self, key: object) -> str:
        if isinstance(key, BaseException):
            return self.say(key)
        return str(key) if self.say is _plain or isinstance(key, _PLAIN) else type(key).__name__

    def _show(self, value: object) -> str:
        """What is left: its `repr`, which may tell anything."""
        if self.say is not _plain and not isinstance(value, _PLAIN):
            return type(value).__name__
        try:
            return excerpt(repr(value), limit=80)[1:-1]
        except Exception:  # somebody's own repr
            return type(value).__name__


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
