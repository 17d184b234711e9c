"""`Patience`: waits to the end, also through what knows no shields.

Knows: asyncio's own `task.cancel()`, and KeyboardInterrupt. Must not know: what is waited for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import attrs

from mpflow.flow.answers import is_fatal
from mpflow.flow.notes import add_note, shown

__all__ = ["Patience"]


@attrs.define(eq=False)
class Patience:
    """What a commit or a rollback is waited for with.

    A cancel scope of anyio stays outside a shield; the `cancel()` of an asyncio task does not,
    nor does a KeyboardInterrupt on trio. Handlers that were left undecided by it would wait for
    ever. So it is kept, and raised once all is decided.
    """

    interruption: BaseException | None = None
    """What came, of what ends the program before a cancellation; who asks raises it."""
    _rank: tuple[int, ...] = ()

    @property
    def is_fatal(self) -> bool:
        """Whether what interrupted ends the program: KeyboardInterrupt, SystemExit and the like."""
        return self.interruption is not None and is_fatal(self.interruption)

    def keep(self, error: BaseException, rank: tuple[int, ...] = ()) -> None:
        """Keep what interrupts, until it can be raised; `rank` is that of the part it came from.

        Of several that end the program it is that of the first part, as of other failures, or one
        that came from none. Of cancellations it is the first that came.
        """
        fatal = is_fatal(error)
        if self.interruption is None or (fatal and not (self.is_fatal and self._rank <= rank)):
            self.interruption, self._rank = error, rank

    async def outlast(self, wait: Callable[[], Awaitable[object]]) -> None:
        """Await `wait()`, shielded, until it returns; it is called again if it is interrupted."""
        while True:
            try:
                with anyio.CancelScope(shield=True):
                    await wait()
            except (KeyboardInterrupt, anyio.get_cancelled_exc_class()) as error:
                self.keep(error)
            else:
                return

    def end(self, note: str | None = None) -> None:
        """Raise what interrupted the wait, if anything did."""
        error, self.interruption = self.interruption, None
        if error is not None:
            if note is not None:
                add_note(error, note)
            raise error

    def give_way(self, error: BaseException) -> None:
        """`error` is raised, and nobody may miss it: what interrupted becomes a note on it."""
        other, self.interruption = self.interruption, None
        if other is not None and other is not error:
            add_note(error, f"meanwhile came {shown(other)}")
