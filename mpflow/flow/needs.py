"""`NeedsOfFlow`: which parts of one level wait for which others.

Knows: what came under which key, what is given, who waits.
Must not know: how handlers are called, or where a part waits meanwhile.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from mpflow.errors import DependencyFailed, MultipartError, SurplusPart, UnmetNeed, excerpt
from mpflow.flow.record import Record, Wants

__all__ = ["NeedsOfFlow", "commit_order"]


@attrs.define(eq=False)
class NeedsOfFlow:
    """Meets the needs of a level's parts, from what is given and from other parts' results.

    `wanted` holds the keys of parts that others need. `on_ready` is called for a part whose needs
    are all met, `on_failed` for one with a need that failed once all of them have settled, both
    once a part at most.
    """

    wanted: frozenset[str]
    given: Mapping[str, object]
    on_ready: Callable[[Record], None]
    on_failed: Callable[[Record, Exception], None]
    _seen: dict[str, Record] = attrs.field(factory=dict[str, Record])
    _waiting: dict[str, list[Record]] = attrs.field(factory=dict[str, list[Record]])
    _failed: set[str] = attrs.field(factory=set[str])  # keys of parts that failed, for good
    # Keys for which nothing more has to come: what is so once, stays so.
    _clear: set[str] = attrs.field(factory=set[str])
    _settled: deque[Record] = attrs.field(factory=deque[Record])

    def arrived(self, record: Record) -> None:
        """A part has come: what it needs is looked up, or waited for.

        Afterwards `record.wants` holds what it waits for, and `record.spooled` is True if it came
        out of order. Raises `UnmetNeed` where its route refuses that, and `SurplusPart` for the
        second part of a key that others need.
        """
        route = record.route
        if route.key in self.wanted:
            first = self._seen.get(route.key)
            if first is not None:
                raise SurplusPart(
                    f"expected one part of key {excerpt(route.key)}, as others need it, and "
                    f"{first.info.ref} came already",
                    part=record.info.ref,
                )
        if route.needs:
            self._ask(record)
        if route.key in self.wanted:
            # Not before: no part meets its own need.
            self._seen[route.key] = record
            for waiting in self._waiting.get(route.key, ()):
                assert waiting.wants is not None
                waiting.wants.awaits[route.key] = record
                waiting.wants.needed = (*waiting.wants.needed, record)

    def _ask(self, record: Record) -> None:
        route = record.route
        asked = {name: key for name, key in route.needs.items() if key not in self.given}
        wants = record.wants = Wants(
            {name: self.given[key] for name, key in route.needs.items() if name not in asked}
        )
        for key in asked.values():
            chain = self._chain(key)
            if chain is not None:
                # Before it waits for any: one that is refused waits for nothing.
                if route.order == "reject":
                    raise _out_of_order(record, chain)
                wants.spooled = True
        needed: dict[Record, None] = {}
        for name, key in asked.items():
            other = self._seen.get(key)
            if other is not None:
                needed[other] = None
            if other is not None and other.answered and other.error is None:
                wants.values[name] = other.value
            elif key not in wants.awaits:
                wants.awaits[key] = other
                self._waiting.setdefault(key, []).append(record)
        wants.needed = tuple(needed)
        wants.doomed = not self._failed.isdisjoint(wants.awaits)

    def failed_need(self, record: Record) -> DependencyFailed | None:
        """What a part fails with that needs one which has failed, once all of those have settled.

        Of several that failed it is the first, in the order of `needs`. Not the first in time: that
        would be chance, and a matter of how the body is cut.
        """
        wants = record.wants
        if wants is None or not self._failed.issuperset(wants.awaits):
            return None
        wants.last = max((other.rank[0] for other in wants.needed), default=-1)
        failed = next(iter(wants.awaits.values()), None)
        return None if failed is None else _dependency_failed(record, failed)

    def _chain(self, key: str) -> tuple[str, ...] | None:
        """The keys from `key` to one that has not been seen, or to one before it on the way; None
        if there is no such: then nothing more has to come before the result of `key`.

        A part that failed, as a need of it did, still waits for its needs here: what is in order is
        a matter of the wire, never of how soon a handler fails.
        """
        # Not one call a key: there may be more of them than Python's stack holds.
        path: dict[str, None] = {}
        todo = [iter((key,))]
        while todo:
            further = next(todo[-1], None)
            if further is None:
                todo.pop()
                if path:
                    self._clear.add(path.popitem()[0])
                continue
            record = self._seen.get(further)
            if record is None or further in path:
                return (*path, further)
            if further not in self._clear:
                path[further] = None
                todo.append(iter(_awaits(record)))
        return None

    def settled(self, record: Record) -> None:
        """A part that others may need has its answer, or has failed."""
        self._settled.append(record)
        if len(self._settled) == 1:
            while self._settled:  # what fails with it is settled in turn
                self._tell(self._settled[0])
                self._settled.popleft()

    def _tell(self, record: Record) -> None:
        """Tell those who wait for a part what became of it."""
        key = record.route.key
        if key is None or self._seen.get(key) is not record:
            return
        if not (record.answered or record.lacks):
            return  # of a part that ends without an answer, nobody learns but the flow, which ends
        if record.error is not None:
            self._failed.add(key)
        for waiting in self._waiting.pop(key, ()):
            wants = waiting.wants
            if wants is None or not wants.held_back:
                continue  # it failed already, or was refused when it came
            if record.error is not None:
                wants.doomed = True
            else:
                del wants.awaits[key]
                for parameter, needed in waiting.route.needs.items():
                    if needed == key:
                        wants.values[parameter] = record.value
            failure = self.failed_need(waiting)
            if failure is not None:
                self.on_failed(waiting, failure)
            elif waiting.ready:
                self.on_ready(waiting)

    def unmet(self) -> tuple[list[str], list[str]]:
        """At the body's end: the keys that never came, and what waits for them, as sentences.

        Raises `UnmetNeed` where all parts came and wait for each other.
        """
        missing: dict[str, None] = {}
        waiting: list[str] = []
        circle: UnmetNeed | None = None
        # Those that have failed meanwhile, too: what a part needs has to come.
        for record in _in_wire_order(self._waiting.values()):
            for key in _awaits(record):
                chain = self._chain(key)
                if chain is None:
                    continue
                if chain[-1] not in self._seen:
                    missing[excerpt(chain[-1])] = None
                    waiting.append(f"{record.info.ref} needs {_linked(chain)}")
                elif circle is None:
                    circle = UnmetNeed(
                        f"the body is whole, and parts wait for each other: it needs "
                        f"{_linked(chain)}",
                        part=record.info.ref,
                    )
        if circle is not None and not missing:
            raise circle
        return list(missing), waiting


def _in_wire_order(waiting: Iterable[list[Record]]) -> list[Record]:
    records = {record: None for some in waiting for record in some}
    return sorted(records, key=lambda record: record.info.index)


def _awaits(record: Record) -> tuple[str, ...]:
    return () if record.wants is None else tuple(record.wants.awaits)


def _linked(chain: Sequence[str]) -> str:
    return ", which needs ".join(map(excerpt, chain))


def _out_of_order(record: Record, chain: tuple[str, ...]) -> UnmetNeed:
    text = f"expected {excerpt(chain[0])} before it, as {record.route.name} needs it"
    if len(chain) > 1:
        text += f": that one waits for {_linked(chain[1:])}"
    return UnmetNeed(f"{text}, and it has not come (order='spool' would wait for it)",
                     part=record.info.ref)  # fmt: skip


def _dependency_failed(record: Record, needed: Record) -> DependencyFailed:
    cause = needed.error
    error = DependencyFailed(
        f"{record.route.name} needs the result of {needed.info.ref}, which failed",
        part=record.info.ref,
        status=cause.status if isinstance(cause, MultipartError) else None,
    )
    error.__cause__ = cause
    return error


def commit_order(records: Sequence[Record]) -> list[Record]:
    """Needed parts first, then the order of the wire."""
    if not any(record.wants is not None and record.spooled for record in records):
        return list(records)  # who came in order came after what it needs
    place = {record: i for i, record in enumerate(records)}
    left = {record: {r for r in record.needed if r in place} for record in records}
    dependents: dict[Record, list[Record]] = {}
    for record, needed in left.items():
        for other in needed:
            dependents.setdefault(other, []).append(record)
    ready = [place[record] for record, needed in left.items() if not needed]
    heapq.heapify(ready)
    ordered: list[Record] = []
    while ready:
        record = records[heapq.heappop(ready)]
        ordered.append(record)
        for dependent in dependents.get(record, ()):
            left[dependent].discard(record)
            if not left[dependent]:
                heapq.heappush(ready, place[dependent])
    ordered += [record for record in records if left[record]]  # a circle: none of them answered
    return ordered
