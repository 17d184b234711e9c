"""`Sniffed`: a part whose first bytes a predicate asks for, while they come.

Knows: the part, and what came of it. Must not know: what becomes of it once it has a route.
"""

from __future__ import annotations

from typing import Any

import attrs

from mpflow.flow.admission import Admission
from mpflow.flow.channel import Channel
from mpflow.part import Part
from mpflow.pieces import Pieces
from mpflow.predicates.sniffing import MAX_SNIFF, NeedBytes
from mpflow.routes import Route

__all__ = ["Sniffed"]


@attrs.define(eq=False)
class Sniffed:
    """A part that has no route yet: none of its handlers is called."""

    part: Part
    channel: Channel
    count: int
    """Bytes that are asked for."""
    pieces: Pieces = attrs.field(factory=Pieces)

    def add(self, data: bytes) -> bool:
        """Add what came; True if it is time to ask the routes again."""
        self.pieces.add(data)
        return self.pieces.size >= self.count

    def route(self, admission: Admission, *, whole: bool) -> tuple[Route[Any], bytes] | None:
        """Ask the routes again: the one that takes it, and all that came; None for more bytes."""
        data = self.pieces.take()
        info = attrs.evolve(self.part.info, sniffed=data[:MAX_SNIFF], sniffed_whole=whole)
        try:
            return admission.route(info), data
        except NeedBytes as need:
            self.count = need.count
            self.pieces.add(data)
            return None
