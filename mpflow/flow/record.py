"""`Record`: what a flow keeps of one part, from its headers to its commit or rollback.

Knows: the part, its route, its handler's answer and what was decided.
Must not know: how tasks are run, or what other parts do.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from mpflow.decoding import DecodePolicy
from mpflow.errors import HandlerTimeout, LimitExceeded, MultipartError
from mpflow.flow.channel import Channel
from mpflow.flow.notes import add_note
from mpflow.info import PartInfo
from mpflow.part import Part
from mpflow.results import Handled
from mpflow.routes import Route

if TYPE_CHECKING:
    from mpflow.flow.crew import Crew

__all__ = ["Decision", "Record", "Wants", "record_around"]


class Decision(enum.Enum):
    """What becomes of a handler that waits at its `yield`."""

    COMMIT = "commit"
    ROLLBACK = "rollback"


@attrs.define(eq=False)
class Wants:
    """What a part needs of others. Apart from its record: most parts have none."""

    values: dict[str, Any]
    """What the handler is called with beside the part, by parameter."""
    spooled: bool = False
    """Whether it came out of order: its body is kept in the flow's temporary file."""
    awaits: dict[str, Record | None] = attrs.field(factory=dict[str, Any])
    """The keys whose values are not there yet, each with its part, if that has come."""
    needed: tuple[Record, ...] = ()
    """The parts whose results it needs, of those that have come."""
    held_back: bool = False
    """Whether the crew holds it back until it is ready."""
    doomed: bool = False
    """Whether one of those has failed: it will, once all of them have settled."""
    last: int = -1
    """The index of the last part that it had to wait for, once that is certain."""


@attrs.define(eq=False)
class Record:
    """One part of a flow. It exists before the part's handler is called."""

    crew: Crew
    info: PartInfo
    route: Route[Any]
    key: str | None
    part: Part | None
    """None once the handler has answered: what a body held is not kept."""
    channel: Channel | None = None
    size: int = 0
    """Bytes of the body that came, drained ones too."""
    two_phase: bool | None = None
    """None until it is known: the handler's answer tells."""

    branch: int | None = None
    """Which of several handlers of one part it is for, from 0; None of a part of a message."""
    wants: Wants | None = None
    """What it needs of other parts; None if it needs nothing."""

    # The handler.
    scope: anyio.CancelScope | None = None
    called_at: float = 0.0
    whole_at: float | None = None
    """When the handler had its whole body, None before."""
    inner_flows: int = 0
    stirs: int = 0
    """Counts what happens in flows inside the part: a sign that its handler may soon fail."""
    failing: int = 0
    """How many flows inside the part fail, or roll back, right now: the part may fail with them."""
    failing_since: float = 0.0
    fails_until: float = -math.inf
    """Until when it may fail with one that is over."""
    knows_other: bool = False
    """Whether one that is over had failed with something else than what its part was told."""
    doubts: tuple[Callable[[], BaseException | None], ...] = ()
    """Of flows inside that have failed and are open: what their ends will raise."""
    expired: HandlerTimeout | None = None
    over: LimitExceeded | None = None
    """Set when the part passed its route's `max_bytes` and the route collects failures."""
    holds_slot: bool = False
    shortages: int = 0
    """How often its crew had lacked a slot when the record got one."""
    descriptors: int = 0
    """Files that the handler keeps open until the commit."""

    # Its answer.
    settled: bool = False
    """True once the handler has answered, failed or was cancelled: its part is closed."""
    answered: bool = False
    lacks: bool = False
    """Whether it failed as parts are missing inside of it, and all that is missing is asked for."""
    value: Any = None
    error: BaseException | None = None
    """Why it failed; of a collected failure, what its `Handled` shows."""

    # The second phase.
    parked: anyio.Event | None = None
    """Set when it is decided; not None from the answer of a two-phase handler on."""
    decision: Decision | None = None
    reason: BaseException | None = None
    finished: anyio.Event | None = None
    """Set when a two-phase handler has ended."""
    outcome: BaseException | None = None
    """What went wrong from the answer of a two-phase handler on."""

    counted: int = 0
    """Bytes of it that count against what the flow may hold for handlers that wait."""

    @property
    def held(self) -> int:
        """Bytes of the body that the part itself holds: all of a part that came whole."""
        if self.channel is not None or (self.wants is not None and self.wants.spooled):
            return 0
        return self.size

    @property
    def spooled(self) -> bool:
        """Whether it came before what it needs, and is kept on disk."""
        return self.wants is not None and self.wants.spooled

    @property
    def held_back(self) -> bool:
        """Whether the crew holds it back until it is ready."""
        return self.wants is not None and self.wants.held_back

    @property
    def needed(self) -> tuple[Record, ...]:
        """The parts whose results it needs, of those that have come."""
        return () if self.wants is None else self.wants.needed

    @property
    def rank(self) -> tuple[int, ...]:
        """Which failure comes first: that of the earliest part, as it could be known."""
        index = self.info.index
        last = index if self.wants is None else max(index, self.wants.last)
        return last, 0, self.branch or 0, index

    @property
    def needs_more(self) -> bool:
        """Whether a part that it needs has not come."""
        return self.wants is not None and None in self.wants.awaits.values()

    @property
    def ready(self) -> bool:
        """Whether its handler can be called: all needs have values, and a spooled body is kept."""
        wants = self.wants
        return wants is None or not (wants.awaits or (wants.spooled and self.whole_at is None))

    def call(self) -> Any:
        """Call the handler with the part, and with what it needs."""
        assert self.part is not None
        if self.wants is None:
            return self.route.handler(self.part)
        return self.route.handler(self.part, **self.wants.values)

    def let_go(self) -> None:
        """The part is over for its handler: close it, and keep nothing of it."""
        part, self.part = self.part, None
        if self.wants is not None:
            self.wants.values = {}
        if part is not None:
            part.close()
            part.holder = None
        if self.channel is not None:
            self.channel.close()

    @property
    def waits_for_decision(self) -> bool:
        """True for a two-phase handler that has answered and has not ended."""
        return self.parked is not None and self.finished is not None and not self.finished.is_set()

    def handled(self) -> Handled:
        """The record as its result."""
        info = self.info
        if info.size is None:
            info = attrs.evolve(info, size=self.size)
        return Handled(info, self.key, self.route, self.value, self.error)

    def deadline(self, handler_timeout: float | None) -> float:
        """When the handler must have answered, on the flow's clock.

        A rollback inside its part is none of its time, and has a limit of its own.
        """
        when = float("inf")
        if self.failing:
            return when
        if self.route.timeout is not None:
            when = self.called_at + self.route.timeout
        if handler_timeout is not None and self.whole_at is not None and not self.inner_flows:
            when = min(when, max(self.whole_at, self.called_at) + handler_timeout)
        return when

    def begin_failing(self, now: float) -> None:
        """A flow inside the part fails, or rolls back."""
        if not self.failing:
            self.failing_since = now
        self.failing += 1

    def end_failing(self, now: float, until: float) -> None:
        """That flow is over: the part fails until then, or goes on."""
        self.failing -= 1
        self.fails_until = until
        if not self.failing:
            self.called_at += now - self.failing_since
            if self.whole_at is not None:
                self.whole_at = now
            self.alive()

    def failure_inside(self) -> BaseException | None:
        """What a flow inside, which is open, will fail with."""
        return next((error for ask in self.doubts if (error := ask()) is not None), None)

    def expire(self, error: HandlerTimeout) -> None:
        """The time is over: cancel the handler, if it has not answered."""
        if not self.answered and self.expired is None:
            self.expired = error
            if self.scope is not None:  # else its task is about to start, and looks itself
                self.scope.cancel()

    @property
    def may_be_taken_back(self) -> bool:
        """Whether its failure may come after its handler's end: nobody is told of that before."""
        return self.route.max_bytes is not None and self.route.on_error == "collect"

    def take_back(self, error: LimitExceeded) -> None:
        """It was answered, or collected, and turns out to be too large: that is its failure.

        It would be, had more of it come at once. A handler in two phases is rolled back where the
        others commit.
        """
        if self.error is not error:
            error.__cause__ = self.error
            self.error, self.value = error, None
            self.note(error)

    def note(self, error: BaseException) -> None:
        """Name the part on its handler's own exception."""
        if not isinstance(error, MultipartError) or error.part is None:
            add_note(error, f"in {self.info.ref}, handled by {self.route.name}")

    # -- what the part asks of its flow -------------------------------------------------------

    @property
    def decode(self) -> DecodePolicy:
        """What handlers that store the part undo of it."""
        return self.route.decode

    @property
    def place(self) -> tuple[int, ...]:
        """Where it stands: the index or the branch of each record around it, and its own."""
        record: Record = self
        numbers: list[int] = []
        while True:
            index, branch = record.info.index, record.branch
            numbers.append(index if branch is None else branch)
            around = record.crew.within
            if around is None:
                path = record.info.path
                return (*(path[:-1] if branch is None else path), *reversed(numbers))
            record = around

    def alive(self) -> None:
        """The handler is at work."""
        self.crew.watch.move()

    @property
    def told(self) -> BaseException | None:
        """What its handler was given in place of the end of the body."""
        return None if self.channel is None else self.channel.told

    def fails_by_itself(self) -> None:
        """What failed had not heard that the part will never be whole."""
        if self.channel is not None:
            self.channel.told = None

    def hold_descriptor(self) -> bool:
        """Whether the handler may keep one more file open until the commit."""
        held = not self.settled and self.crew.watch.take_descriptor()
        self.descriptors += held
        return held

    def give_descriptors(self) -> None:
        """The handler has ended: what it kept open is closed."""
        while self.descriptors:
            self.descriptors -= 1
            self.crew.watch.give_descriptor()


def record_around(part: Part | None) -> Record | None:
    """The record of the flow that `part` is of, at whatever depth of levels read by hand."""
    while part is not None:
        if isinstance(part.holder, Record):
            return part.holder
        part = part.level.holder
    return None
