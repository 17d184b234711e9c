"""`Limits`, one frozen value with a finite default on every axis, and what counts against it.

Knows: the axes, their defaults and sizes, and the counts that nested levels share.
Must not know: who reads, or what a part means.
"""

from __future__ import annotations

import re
from typing import Any, Generic, Protocol, TypeVar

import attrs

from mpflow.errors import LimitExceeded, PartRef
from mpflow.wire.headers import Head

__all__ = ["Ahead", "Budget", "Limits", "parse_size"]

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _UNITS[f"{_letter}b"] = 1000**_power
    _UNITS[f"{_letter}ib"] = 1024**_power
_SIZE = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,6}))?[ ]?([A-Za-z]{0,3})")


def parse_size(value: int | str | None) -> int | None:
    """A size in bytes: an int, or a string such as `"2 GiB"`, `"64KiB"`, `"1.5 MB"`, or None.

    Units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024), in any
    case. Anything else raises `ValueError`; a bool or a float raises `TypeError`.
    """
    if value is None:
        return None
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        factor = _UNITS.get(match[3].lower()) if match else None
        if match is None or factor is None:
            raise ValueError(f"expected a size such as 65536 or '2 GiB', got {value!r}")
        whole, fraction = int(match[1]), match[2]
        size = whole * factor
        if fraction:
            size += int(fraction) * factor // 10 ** len(fraction)
        return size
    if type(value) is not int:
        raise TypeError(f"expected a size as int, str or None, got {value!r}")
    if value < 0:
        raise ValueError(f"expected a size of at least 0, got {value}")
    return value


def _seconds(value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected seconds as a number or None, got {value!r}")
    if not value > 0:
        raise ValueError(f"expected more than 0 seconds, got {value}")
    return float(value)


def _ratio(value: float | None) -> float | None:
    if value is not None and not value >= 1:
        raise ValueError(f"expected a ratio of at least 1, got {value}")
    return value


KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@attrs.frozen(kw_only=True)
class Limits:
    """How much a message may be and cost. Each field is one axis; None switches it off.

    Sizes are bytes, as an int or a string such as `"2 GiB"`; times are seconds. Counts and sizes
    are summed over all nesting levels, as the bytes come, whatever any Content-Length says; bytes
    that are drained count too. Of two limits that are *given*, one may not make the other
    unreachable: that raises `ValueError`. A default gives way in silence.
    """

    # `attrs.field` is written out: behind a function of ours type checkers see no converter, and
    # refuse "2 GiB".
    max_parts: int | None = attrs.field(default=1000, converter=parse_size)
    """Parts in the message, over all levels."""
    max_headers: int | None = attrs.field(default=32, converter=parse_size)
    """Header fields of one part."""
    max_header_line: int | None = attrs.field(default=4 * KIB, converter=parse_size)
    """Bytes of one line of a header block, or of one delimiter line with its padding."""
    max_header_bytes: int | None = attrs.field(default=8 * KIB, converter=parse_size)
    """Bytes of the header block of one part."""
    max_total_header_bytes: int | None = attrs.field(default=256 * KIB, converter=parse_size)
    """Bytes of all header blocks, over all levels."""
    max_boundary: int | None = attrs.field(default=70, converter=parse_size)
    """Characters of a boundary (RFC 2046, 5.1.1)."""
    max_preamble: int | None = attrs.field(default=8 * KIB, converter=parse_size)
    """Bytes before the first delimiter, a level."""
    max_epilogue: int | None = attrs.field(default=8 * KIB, converter=parse_size)
    """Bytes after the close delimiter, a level.

    A flow counts all of them, and so does a reader of a response with a content coding: they read
    the source to its end. Any other reader that is iterated by hand counts none, not even those in
    hand, since it reads no further than the close delimiter.
    """
    max_part_bytes: int | None = attrs.field(default=256 * MIB, converter=parse_size)
    """Bytes of the body of one part, as they are on the wire."""
    max_total_bytes: int | None = attrs.field(default=GIB, converter=parse_size)
    """Bytes of the whole message up to its close delimiter."""
    max_memory: int | None = attrs.field(default=MIB, converter=parse_size)
    """Bytes that one part may gather in memory (`read`, `text`, `json`, `form`, `readline`)."""
    max_total_memory: int | None = attrs.field(default=16 * MIB, converter=parse_size)
    """Bytes that all parts together may gather in memory."""
    max_spool_bytes: int | None = attrs.field(default=256 * MIB, converter=parse_size)
    """Bytes that one flow may spool to disk."""
    max_depth: int | None = attrs.field(default=4, converter=parse_size)
    """Levels of multiparts: 1 allows none inside the outermost.

    None leaves it to Python's own stack, which holds some hundred levels that are read one through
    the other: past them `LimitExceeded` is raised for this limit, too.
    """
    max_decoded_bytes: int | None = attrs.field(default=256 * MIB, converter=parse_size)
    """Bytes that one part may become when its codings are undone."""
    max_decoded_ratio: float | None = attrs.field(default=100.0, converter=_ratio)
    """How many times its size a part may grow when decoded, once past 1 MiB of output."""
    min_rate: int | None = attrs.field(default=0, converter=parse_size)
    """Bytes that the source must give a second, averaged over each 10 s of waiting for it."""
    idle_timeout: float | None = attrs.field(default=30.0, converter=_seconds)
    """Seconds to wait for the next bytes of the source."""
    stall_timeout: float | None = attrs.field(default=60.0, converter=_seconds)
    """Seconds that a flow may wait for a handler while nothing moves."""
    handler_timeout: float | None = attrs.field(default=300.0, converter=_seconds)
    """Seconds from the moment a handler has its whole body to its answer."""

    def __attrs_post_init__(self) -> None:
        self._check_reachable()

    @classmethod
    def stream(cls, **changes: Any) -> Limits:
        """Limits for a stream without end: no count of parts and no totals; `changes` on top."""
        return cls(
            **{
                "max_parts": None,
                "max_total_bytes": None,
                "max_total_header_bytes": None,
                "max_total_memory": None,
                **changes,
            }
        )

    def tighten(self, other: Limits) -> Limits:
        """The tighter of each field of the two. None is no limit."""
        tighter: dict[str, Any] = {}
        for name, mine in attrs.asdict(self).items():
            given = [v for v in (mine, getattr(other, name)) if v is not None]
            pick = max if name == "min_rate" else min
            tighter[name] = pick(given, default=None)
        return _unchecked(tighter)

    def _check_reachable(self) -> None:
        for small, large in _ORDERED:
            low, high = getattr(self, small), getattr(self, large)
            given = low != _DEFAULTS[small] and high != _DEFAULTS[large] if _DEFAULTS else False
            if given and low is not None and high is not None and low > high:
                raise ValueError(
                    f"{small} = {low} can never be reached below {large} = {high}: "
                    f"lower {small}, or raise {large}"
                )


_ORDERED = (
    ("max_header_line", "max_header_bytes"),
    ("max_header_bytes", "max_total_header_bytes"),
    ("max_total_header_bytes", "max_total_bytes"),
    ("max_part_bytes", "max_total_bytes"),
    ("max_memory", "max_total_memory"),
    ("max_memory", "max_decoded_bytes"),
)
_DEFAULTS: dict[str, Any] = {}
_DEFAULTS.update(attrs.asdict(Limits()))


def _unchecked(values: dict[str, Any]) -> Limits:
    """Limits made of two that were each checked: one may undercut the other's fields."""
    limits = object.__new__(Limits)
    for name, value in values.items():
        object.__setattr__(limits, name, value)
    return limits


class _Headed(Protocol):
    @property
    def head(self) -> Head: ...


_P = TypeVar("_P", bound=_Headed)


class Ahead(Generic[_P]):
    """Parts that a level has counted before somebody has had them, the last one first."""

    # Not attrs: each level makes one, and a typed factory takes five times as long as a list.
    __slots__ = ("parts", "returned")

    def __init__(self) -> None:
        self.parts: list[_P] = []
        self.returned: list[_P] = []
        """Those that do not count any more: to be decoded, and counted, when it is their turn."""


@attrs.define(eq=False)
class _Counts:
    """What all levels of one message have used up together."""

    parts: int = 0
    header_bytes: int = 0
    memory: int = 0
    own_memory: int = 0
    """Gathered by those who named a limit of their own above the total."""
    ahead: Ahead[Any] | None = None
    """What is counted ahead, by the one level that may have done so."""

    def settle(self) -> None:
        """Somebody counts next: what another one has counted ahead does not count yet."""
        ahead = self.ahead
        if ahead is not None and ahead.parts:
            count, header_bytes = len(ahead.parts), sum(len(it.head.raw) for it in ahead.parts)
            # No call of Python's below: where the stack ends, nothing may be lost.
            ahead.returned = ahead.parts[:]
            ahead.parts.clear()
            self.parts -= count
            self.header_bytes -= header_bytes
        self.ahead = None


@attrs.define(eq=False)
class Budget:
    """A level's place in the message: the limits, the counts that all levels share, the path.

    `path` holds the indexes of the parts around this level, outermost first; it is empty for the
    outermost. `given` is False where the limits are but the default. `total` is how many bytes this
    level may have: `max_total_bytes` for the outermost; None for a level inside, whose bytes
    the outermost has counted already, until the level gets limits of its own.
    """

    limits: Limits = attrs.field(factory=Limits)
    path: tuple[int, ...] = ()
    counts: _Counts = attrs.field(factory=_Counts)
    given: bool = True
    total: int | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.total = None if self.path else self.limits.max_total_bytes

    def nested(self, path: tuple[int, ...], *, part: PartRef | None = None) -> Budget:
        """The budget of the multipart inside the part at `path`; past `max_depth` it raises."""
        depth = self.limits.max_depth
        if depth is not None and len(path) + 1 > depth:
            raise LimitExceeded("max_depth", depth, part=part)
        return Budget(self.limits, path, self.counts)

    def tighten(self, limits: Limits) -> None:
        """Take `limits` for this level too: the tighter of each field. A default gives way."""
        self.limits = self.limits.tighten(limits) if self.given else limits
        self.given = True
        self.total = self.limits.max_total_bytes

    def take_memory(self, size: int, *, allow: int | None = 0) -> None:
        """Count `size` more bytes that a part gathers.

        `allow` is what the caller said one part may gather (None: any size). Above the total it
        counts apart, so that one large part that was asked for is not held against small ones.
        """
        limit, counts = self.limits.max_total_memory, self.counts
        if limit is None or allow is None:
            return
        if allow > limit:
            counts.own_memory += size
            used, limit = counts.own_memory, allow
        else:
            counts.memory += size
            used = counts.memory
        if used > limit:
            raise LimitExceeded("max_total_memory", limit)
