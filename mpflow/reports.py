"""What a flow tells its observer: values, one for each thing that happens.

Knows: what is said of a flow and of its parts. Must not know: who listens, or why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs

from mpflow.errors import PartRef
from mpflow.info import PartInfo
from mpflow.routes import Route

__all__ = [
    "FlowFinished",
    "FlowRef",
    "FlowStarted",
    "Observer",
    "Outcome",
    "PartCancelled",
    "PartCommitted",
    "PartFailed",
    "PartFinished",
    "PartProgress",
    "PartReport",
    "PartRolledBack",
    "PartStarted",
    "PartWaited",
    "Report",
]

Outcome: TypeAlias = Literal["committed", "rolled back", "commit failed"]
"""How a flow ends. A flow whose last commit fails has committed what came before."""


@attrs.frozen
class FlowRef:
    """Names one flow in its reports: a number of its own in this process, and where it reads.

    `path` holds the indexes of the parts around it, outermost first: `()` for an outermost flow.
    `root` is the number of the outermost flow around it, its own for an outermost one.
    """

    number: int
    root: int
    path: tuple[int, ...]
    content_type: str


@attrs.frozen(kw_only=True)
class Report:
    """Something that happened in `flow`, `at` seconds of the event loop's clock."""

    flow: FlowRef
    at: float


@attrs.frozen(kw_only=True)
class FlowStarted(Report):
    """A flow was entered: no byte has been read."""


@attrs.frozen(kw_only=True)
class FlowFinished(Report):
    """A flow has ended: `parts` came, of `size` bytes in all; `error` is why it failed, or None."""

    outcome: Outcome
    error: BaseException | None
    parts: int
    size: int


@attrs.frozen(kw_only=True)
class PartReport(Report):
    """Something that happened to a part, which `route` took."""

    part: PartInfo
    route: Route[Any]


@attrs.frozen(kw_only=True)
class PartStarted(PartReport):
    """The handler is called."""


@attrs.frozen(kw_only=True)
class PartProgress(PartReport):
    """Bytes of a part came that does not fit into one piece: `size` so far.

    It may come before `PartStarted`: a part is read while its handler waits for a slot.
    """

    size: int


@attrs.frozen(kw_only=True)
class PartWaited(PartReport):
    """Somebody has waited for `seconds`, and goes on.

    `why` is `"need"` (the part for the results of the parts `on`), `"slot"` (the part for one of
    `max_handlers`) or `"handler"` (the wire for the part's handler to read on).
    """

    why: Literal["need", "slot", "handler"]
    on: tuple[PartRef, ...]
    seconds: float


@attrs.frozen(kw_only=True)
class PartFinished(PartReport):
    """The handler has answered after `seconds`, with `value`; nothing is committed yet.

    Where a route has `max_bytes` and collects failures, this or `PartFailed` comes once the part
    is whole, or never will be: before that it may turn out to be too large.
    """

    value: Any
    seconds: float


@attrs.frozen(kw_only=True)
class PartFailed(PartReport):
    """The handler has failed after `seconds`. `is_collected` tells that the flow goes on."""

    error: BaseException
    is_collected: bool
    seconds: float


@attrs.frozen(kw_only=True)
class PartCancelled(PartReport):
    """The handler was cancelled, or never called, because the flow ended."""


@attrs.frozen(kw_only=True)
class PartCommitted(PartReport):
    """The second phase of the handler has ended well."""


@attrs.frozen(kw_only=True)
class PartRolledBack(PartReport):
    """The handler has undone its work; `error` is what went wrong in that, or None.

    Not told of a part that has failed already, being too large: `PartFailed` is the last word.
    """

    error: BaseException | None


Observer: TypeAlias = Callable[[Report], None]
"""Gets every report, on the event loop, in the order of what happens. It must not block. What it
raises is logged under `mpflow`, and the flow goes on."""
