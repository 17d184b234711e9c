"""`Pump`: from the reader's events to the crew, part by part.

Knows: events, routes, limits of a part, what must not be missing, where an open part's bytes go.
Must not know: who dispatches, how tasks are run, or how a commit goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs
from anyio import sleep_forever
from anyio.lowlevel import checkpoint

from mpflow.errors import BrokenSource, LimitExceeded, MissingParts, MultipartError, RouteError
from mpflow.flow.admission import Admission
from mpflow.flow.answers import is_of_source
from mpflow.flow.channel import CHANNEL_SIZE, MAX_AHEAD, Channel
from mpflow.flow.hooks import ask_hooks
from mpflow.flow.kept import Kept
from mpflow.flow.needs import NeedsOfFlow
from mpflow.flow.record import Record, record_around
from mpflow.flow.refusal import is_of_missing
from mpflow.flow.sniffed import Sniffed
from mpflow.flow.transaction import Transaction
from mpflow.info import PartInfo
from mpflow.level import MAX_CHARSET
from mpflow.part import Part
from mpflow.predicates.sniffing import NeedBytes
from mpflow.reader import MultipartReader
from mpflow.reports import Observer
from mpflow.router import RouteTable
from mpflow.routes import Route
from mpflow.shapes import Shape
from mpflow.wire import BodyEnd, Limits, NeedData, PartBegin, PartData, WholePart
from mpflow.wire.headers import Head

__all__ = ["Pump"]

_LARGE = CHANNEL_SIZE // 2
"""Two pieces of more than these bytes do not go into one block of a channel."""


class Pump(Transaction):
    """Reads the parts of one level and gives each to the handler of its route."""

    _nests = True

    def __init__(
        self,
        table: RouteTable,
        reader: MultipartReader,
        *,
        given: Mapping[str, object],
        shape: Shape | None,
        epilogue: Literal["read", "ignore"],
    ) -> None:
        if epilogue not in ("read", "ignore"):
            raise RouteError(f"expected epilogue='read' or 'ignore', got {epilogue!r:.40}")
        super().__init__(slots=table.max_handlers, parent=record_around(reader.holder))
        self._table = table
        self._reader = reader
        self._read_epilogue = epilogue == "read"
        self._admission = Admission(table, shape)
        self._given = given
        self._wanted = table.wanted(given)
        self._needs: NeedsOfFlow | None = None
        self._sniffed: Sniffed | None = None
        self._open: Record | None = None
        self._lane: Record | None = None  # the same, if its bytes are passed on and no more
        self._untold: Record | None = None  # the open part, settled, of which others learn later
        self._kept: Kept | None = None  # the open part, if it is spooled
        self._naming: tuple[PartInfo, bytearray] | None = None  # a `_charset_` field under way
        self._takes_charset = table.takes_charset
        self._asks_all = self._asks_all or shape is not None
        self._reads = False  # else the reader is whole, or somebody else's
        self._waited = False  # for a handler, since the source was read
        self._passed = 0  # bytes put into a channel since the source was read
        self._shared = 0  # reads of the source since others had a turn
        self._is_whole = False  # all parts came
        self._refusal: MissingParts | None = None  # as parts are missing

    # -- what the transaction asks ------------------------------------------------------------

    def _limits(self) -> Limits:
        self._reader.limit(self._table.limits)
        return self._reader.budget.limits

    def _idle_error(self) -> BaseException:
        error = self._reader.idle_error()
        if self._here is not None:
            error.part = self._here.ref
        return error

    @property
    def _here(self) -> PartInfo | None:
        """The part that is open."""
        if self._sniffed is not None:
            return self._sniffed.part.info
        return None if self._open is None else self._open.info

    @property
    def _position(self) -> int:
        return self._reader.taken if self._open is None else self._open.info.index

    async def _pump(self) -> None:
        self._watch.at_most(*(route.timeout for route in self._table.routes))
        try:
            await ask_hooks(self._table.hooks, self._reader.headers)
            await self._reader.claim()
            self._reads = True
            self._widen()
            if any(route.needs for route in self._table.routes):
                self._needs = NeedsOfFlow(
                    self._wanted,
                    self._given,
                    on_ready=self._crew.ready,
                    on_failed=self._crew.fail,
                )
                self._crew.on_settled = self._on_settled
            try:
                await self._read_parts()
            except Exception:
                await self._let_take(self._open)
                raise
        except MultipartError as error:
            if error.part is None and self._here is not None:
                error.part = self._here.ref
            raise
        finally:
            if self._reporter is not None:
                self._reporter.closed()
        self._check_missing()
        if self._verdict.failures:
            self._start_abort()  # they were put off
        if self._read_epilogue or self._reader.must_end:
            while not self._reader.at_eof:
                await self._fill()
                self._reader.poll()
        if self._crew.unanswered:
            self._watch_time()

    def _check_missing(self) -> None:
        """All that did not come, together: required parts, and what other parts wait for."""
        self._is_whole = True
        missing, waiting = self._admission.missing(), list[str]()
        if self._needs is not None:
            unmet, waiting = self._needs.unmet()
            missing += [label for label in unmet if label not in missing]
        if missing:
            self._refusal = MissingParts(missing, waiting)
            raise self._refusal

    def _puts_off(self, record: Record, error: BaseException) -> bool:
        """What is missing inside a part is told at the end of the body, with all else that is.

        Only `into=` asks for it. Those who need the part fail with it, and are put off, too.
        """
        record.lacks = self._asks_all and is_of_missing(record, error)
        return record.lacks and not self._is_whole

    # -- the pump -----------------------------------------------------------------------------

    async def _read_parts(self) -> None:
        reader, crew = self._reader, self._crew
        while True:
            event = reader.poll()
            if type(event) is WholePart:
                if len(event.data) <= CHANNEL_SIZE:
                    self._on_whole(event.head, event.data)
                    if self._open is not None:  # it comes as if in pieces
                        await self._on_data(event.data)
                        await self._on_end()
                else:
                    self._on_begin(event.head)
                    await self._on_data(event.data)
                    await self._on_end()
                if crew.full:
                    await self._wait_for_room()
            elif type(event) is NeedData:
                await self._fill()
            elif type(event) is PartData:
                await self._on_data(event.data)
            elif type(event) is PartBegin:
                self._on_begin(event.head)
            elif type(event) is BodyEnd:
                return
            else:
                await self._on_end()
                if crew.full:
                    await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        self._watch_time()
        crew, blocked = self._crew, self._watch.blocked
        blocked[crew, None] = self._watch.now()
        try:
            await crew.room()
        finally:
            blocked.pop((crew, None), None)  # unless it stalled

    async def _fill(self) -> None:
        """Read the source, and on while all that comes is data of the open part.

        Before each read everybody else gets a turn, but not behind a large piece. More of its size
        will fill the channel, and wait: so there is one turn for as many as that takes. Whatever
        comes in their place, the turn comes before the read after it.

        A chunk of a large part passes here alone: no event is polled, and no call is made that can
        be spared, for each is a hundredth of what the chunk costs.
        """
        reader, watch, timed = self._reader, self._watch, self._parent is None
        while True:
            if self._waited:
                self._waited, self._shared = False, 0
            elif _LARGE < self._passed <= CHANNEL_SIZE and self._shared < self._ahead:
                self._shared += 1
            else:
                await checkpoint()
                self._shared = 0
            self._passed = 0
            if not self._aborting:
                if timed:
                    if self._watching is None:
                        self._watch_time()
                    watch.reading_since = watch.now()
                try:
                    await reader.fetch()
                except BaseException as error:
                    if not self._aborting or not is_of_source(error):
                        raise
                finally:
                    if timed:
                        watch.reading_since = None
            if self._aborting:
                # A handler has failed: until it is decided which, nothing more is begun, and what
                # the source does says nothing.
                await sleep_forever()
            data = reader.take_data()
            if data is None:
                return
            record = self._lane
            if record is None:
                await self._on_data(data)
                continue
            # What `_on_data` does of such a part.
            assert record.channel is not None
            record.size += len(data)
            if record.channel.put(data):
                self._passed += len(data)
            else:
                await self._wait_for(record)
                self._waited = True

    @property
    def _ahead(self) -> int:
        """Large pieces that fill the channel of the open part, beside one."""
        record = self._open
        return 1 if record is None or record.channel is None else record.channel.ahead

    def _widen(self) -> None:
        """A route may allow its parts more than `max_part_bytes`: then the flow has to count."""
        own = [r.max_bytes for r in self._table.routes if r.max_bytes is not None]
        if own:
            self._reader.allow_part_bytes(max(own))

    # -- parts --------------------------------------------------------------------------------

    def _on_whole(self, head: Head, data: bytes) -> None:
        part = self._reader.make_part(head, None, data)
        if self._takes_charset and self._reader.is_charset(part.info):
            self._reader.set_charset(part.info, data)
            return
        try:
            route = self._admission.route(part.info)
        except NeedBytes:
            sniffed = attrs.evolve(part.info, sniffed=data, sniffed_whole=True)
            route = self._admission.route(sniffed)
        if (route.max_bytes is not None or self._reader.part_bytes_allowed) and (
            self._admission.too_large(route, part.info, len(data), self._most())
        ):
            # Its handler is called with what fits, as if more of it came later.
            channel, info = Channel(self._watch), attrs.evolve(part.info, size=None)
            part = self._reader.part_class(info, channel, level=self._reader)
            self._open_part(part, route, channel)
            return
        record = self._record(part, route, None)
        if record.wants is not None and record.spooled:
            self._open_record(record)
            return
        record.size = len(data)
        record.whole_at = 0.0
        if record.wants is None and self._reporter is None:
            self._crew.submit(record)  # what most are
        else:
            self._submit(record)

    def _submit(self, record: Record) -> None:
        if self._reporter is not None:
            self._reporter.came(record)
        if record.wants is not None:
            assert self._needs is not None
            failure = self._needs.failed_need(record)
            if failure is not None:
                self._crew.refuse(record, failure)
                return
        self._crew.submit(record)

    def _on_begin(self, head: Head) -> None:
        channel = Channel(self._watch, most=MAX_AHEAD)
        part = self._reader.make_part(head, channel)
        if self._takes_charset and self._reader.is_charset(part.info):
            self._naming = part.info, bytearray()
            return
        try:
            route = self._admission.route(part.info)
        except NeedBytes as need:
            self._sniffed = Sniffed(part, channel, need.count)
        else:
            self._open_part(part, route, channel)

    def _open_part(self, part: Part, route: Route[Any], channel: Channel) -> None:
        self._open_record(self._record(part, route, channel))

    def _open_record(self, record: Record) -> None:
        self._open = record
        if self._reporter is not None and record.may_be_taken_back:
            self._reporter.opened(record)
        self._watch_time()
        self._submit(record)
        if record.spooled:
            record.channel = None
            self._kept = Kept(record, self._crew.spool.begin(record.info.ref))
        elif (
            self._reporter is None
            and record.route.max_bytes is None
            and not self._reader.part_bytes_allowed
        ):
            self._lane = record

    async def _on_data(self, data: bytes) -> None:
        if self._naming is not None:
            # One byte too many is enough to refuse it.
            name = self._naming[1]
            name += data[: MAX_CHARSET + 1 - len(name)]
        elif self._sniffed is not None:
            if self._sniffed.add(data):
                await self._sniff(self._sniffed, whole=False)
        else:
            await self._send(data)

    async def _sniff(self, sniffed: Sniffed, *, whole: bool) -> None:
        found = sniffed.route(self._admission, whole=whole)
        if found is None:
            return
        self._sniffed = None
        route, data = found
        self._open_part(sniffed.part, route, sniffed.channel)
        if data:
            await self._send(data)

    async def _send(self, data: bytes) -> None:
        record = self._open
        assert record is not None
        record.size += len(data)
        if record.over is None:
            error = self._admission.too_large(record.route, record.info, record.size, self._most())
            if error is not None:
                await self._on_too_large(record, data, error)
        if self._reporter is not None:
            self._reporter.progress(record)
        if self._kept is not None:
            await self._kept.add(data)
            return
        await self._put(record, data)

    async def _put(self, record: Record, data: bytes) -> None:
        assert record.channel is not None
        if not record.channel.put(data):
            await self._wait_for(record)
            self._waited = True
        else:
            self._passed += len(data)

    async def _let_take(self, record: Record | None) -> None:
        """Wait until no more than a piece of an open part waits, before it ends or the flow fails.

        What waits may be what its handler fails over, and that would come before the flow's error.
        """
        if record is None or record.channel is None or self._aborting:
            return
        if record.channel.is_behind:
            await self._wait_for(record)
            self._waited = True

    async def _on_end(self) -> None:
        if self._naming is not None:
            info, name = self._naming
            self._naming = None
            self._reader.set_charset(info, bytes(name))
            return
        if self._sniffed is not None:
            await self._sniff(self._sniffed, whole=True)
        self._lane = None  # not before: the part may have been opened just now
        record = self._open
        assert record is not None
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept.end(self._on_unreadable)
            self._open = None
            self._tell()
            return
        assert record.channel is not None
        if record.channel.is_behind:
            # Of all parts that wait to be taken only the open one may hold more than a piece.
            await self._let_take(record)
            if self._aborting:
                await sleep_forever()  # nothing more is begun
        record.whole_at = self._watch.now()
        self._open = None
        self._tell()
        record.channel.end()
        self._crew.whole(record)

    def _observer(self) -> tuple[Observer | None, tuple[int, ...], str]:
        return self._table.observer, self._reader.budget.path, self._reader.content_type

    def _on_unreadable(self, error: BrokenSource) -> None:
        """What was kept cannot be read again: the flow ends, whatever the handler makes of it."""
        if self._state == "running":
            self._condemn(error)

    # -- records -------------------------------------------------------------------------------

    def _record(self, part: Part, route: Route[Any], channel: Channel | None) -> Record:
        """The record of a part that a route takes: it exists before its handler is called."""
        info = part.info
        key = self._table.key_of(route, info)
        record = Record(self._crew, info, route, key, part, channel, two_phase=route.two_phase)
        part.hold(record)
        if self._needs is not None:
            self._needs.arrived(record)
        self._records.append(record)
        return record

    def _most(self) -> int | None:
        """Bytes of a part whose route says nothing."""
        return self._reader.budget.limits.max_part_bytes

    async def _on_too_large(self, record: Record, data: bytes, error: LimitExceeded) -> None:
        """End the flow for a part that is too large, or fail the part where its route collects.

        First its handler gets what fits, however the body is cut: it may fail over that.
        """
        assert error.value is not None
        fits = len(data) - record.size + int(error.value)
        if fits > 0 and record.channel is not None:
            await self._put(record, data[:fits])
        if error.limit != "max_bytes" or record.route.on_error != "collect":
            raise error
        record.over = error
        if record.settled:
            record.take_back(error)
        elif record.channel is not None:
            record.channel.fail(error)
        else:
            self._crew.fail(record, error)

    def _on_settled(self, record: Record) -> None:
        """Those who need a part are told, but not before it is certain that it is not too large."""
        if record is self._open and record.may_be_taken_back:
            self._untold = record
            return
        assert self._needs is not None
        self._needs.settled(record)

    def _let_go(self) -> None:
        super()._let_go()
        self._sniffed = self._kept = None
        if self._reads and self._state == "rolled back":
            # The failure's traceback leads here, and to where it is kept.
            self._reader.give_up()

    def _tell(self) -> None:
        if self._reporter is not None:
            self._reporter.closed()
        record, self._untold = self._untold, None
        if record is not None and self._needs is not None:
            self._needs.settled(record)
