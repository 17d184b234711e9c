"""`Kept`: a part that came before what it needs, while its body is spooled.

Knows: the part's record, and where its bytes go. Must not know: the reader, or when the handler is
called.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import attrs

from mpflow.errors import BrokenSource
from mpflow.flow.notes import add_note
from mpflow.flow.record import Record
from mpflow.spool import Keeping

__all__ = ["Kept"]


@attrs.define(eq=False)
class Kept:
    """The open part, of which all that comes goes to the flow's temporary file."""

    record: Record
    keeping: Keeping

    async def add(self, data: bytes) -> None:
        """Spool what came of it, unless it has failed, or will: then it is drained."""
        if not self._is_lost:
            with self._named():
                await self.keeping.add(data)

    async def end(self, on_unreadable: Callable[[BrokenSource], None]) -> None:
        """It is whole: what its handler receives is read from the file.

        `on_unreadable` is called with what such a read fails with.
        """
        if self._is_lost:
            return
        record, watch = self.record, self.record.crew.watch
        with self._named():
            # What is read from the file is progress, as what comes through a channel is.
            body = await self.keeping.end(on_read=watch.move, on_error=on_unreadable)
        if record.part is None:
            return  # its need failed meanwhile
        record.part.moved(body, record.size)
        record.info = record.part.info
        record.whole_at = watch.now()
        if record.ready:
            record.crew.ready(record)

    @property
    def _is_lost(self) -> bool:
        wants = self.record.wants
        assert wants is not None
        return self.record.settled or wants.doomed

    @contextmanager
    def _named(self) -> Generator[None]:
        """What the disk refuses names the part that was to be kept."""
        try:
            yield
        except OSError as error:
            add_note(error, f"while {self.record.info.ref} was kept for {self.record.route.name}")
            raise
