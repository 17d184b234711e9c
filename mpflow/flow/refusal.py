"""What a flow knows of its results when it is refused, as parts are missing.

Knows: records, and which of them have answered. Must not know: why a flow ends, or who asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import attrs

from mpflow.drafts import Pending, Refused
from mpflow.errors import DependencyFailed, MissingParts, PartRef
from mpflow.flow.record import Record
from mpflow.results import Handled, Results

__all__ = ["is_of_missing", "refused"]


def is_of_missing(record: Record, error: BaseException) -> bool:
    """Whether a part failed as parts are missing inside of it, or inside of one that it needs."""
    if isinstance(error, DependencyFailed):
        return any(r.lacks and r.error is error.__cause__ for r in record.needed)
    return isinstance(error, MissingParts) and error.known is not None


def refused(
    records: Iterable[Record],
    failures: Iterable[tuple[Record, BaseException]],
    own: MissingParts | None,
    *,
    keys: Collection[str],
    is_whole: bool,
) -> Refused:
    """What handlers answered by now; nothing is started, and nobody is waited for.

    `failures` are those of the handlers: flows inside that are refused too are told by what they
    knew. `own` is the flow's own refusal.
    """
    inside = {r: e.known for r, e in failures if isinstance(e, MissingParts) and e.known}
    handled: list[Handled] = []
    inner: list[tuple[PartRef, Refused]] = []
    for record in records:
        item = record.handled()
        known = inside.get(record)
        if isinstance(known, Refused):
            inner.append((item.ref, known))
            item = attrs.evolve(item, value=known, error=None)
        elif not record.answered:
            item = attrs.evolve(item, value=Pending.PENDING, error=None)
        handled.append(item)
    return Refused(
        Results(handled, keys=keys),
        missing=() if own is None else own.missing,
        waiting=() if own is None else own.waiting,
        is_whole=is_whole,
        inner=inner,
    )
