"""The events that decoder and encoder share.

Knows: what one event holds. Must not know: how events are found or written.
"""

from __future__ import annotations

import enum
from typing import Final, Literal, TypeAlias

import attrs

from mpflow.wire.headers import Head

__all__ = [
    "NEED_DATA",
    "BodyEnd",
    "Event",
    "NeedData",
    "PartBegin",
    "PartData",
    "PartEnd",
    "WholePart",
]


class NeedData(enum.Enum):
    """The type of `NEED_DATA`."""

    NEED_DATA = "NEED_DATA"


NEED_DATA: Final[Literal[NeedData.NEED_DATA]] = NeedData.NEED_DATA
"""`next_event` found no whole event: call `receive_data` or `receive_eof` first."""


@attrs.frozen
class PartBegin:
    """A part begins. `head` is its header block, `offset` the byte at which its body begins."""

    head: Head
    offset: int = attrs.field(default=0, eq=False)


# Not frozen, though nobody changes it: that would cost a small chunk, or a tiny part, a tenth.
@attrs.define(unsafe_hash=True)
class PartData:
    """A piece of the body of the part that is open: at least one byte."""

    data: bytes


@attrs.frozen
class PartEnd:
    """The part that was open is whole."""


@attrs.define(unsafe_hash=True)  # as above
class WholePart:
    """A part that was whole in hand: `PartBegin`, `PartData` and `PartEnd` in one event."""

    head: Head
    data: bytes
    offset: int = attrs.field(default=0, eq=False)


@attrs.frozen
class BodyEnd:
    """The close delimiter came. Nothing after it is read as parts (RFC 2046, 5.1.1)."""


Event: TypeAlias = PartBegin | PartData | PartEnd | WholePart | BodyEnd
