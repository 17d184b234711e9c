"""`Ending`: how a flow is left, so that nobody misses what became of it.

Knows: what comes while all is closed, and whether it is raised or a note.
Must not know: what is closed, how a flow was decided, or which failure wins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from mpflow.flow.answers import unwrap
from mpflow.flow.notes import add_note, shown
from mpflow.flow.patience import Patience

__all__ = ["Ending"]


@attrs.define(eq=False)
class Ending:
    """The last steps of one flow: each is taken, whatever the one before it did."""

    patience: Patience
    committed: str | None = None
    """What was committed, noted on what the caller gets in place of the results."""
    failure: Exception | None = None
    """What something failed with that was closed."""

    async def attempt(self, close: Callable[[], Awaitable[object]]) -> None:
        """Close something; what it raises is kept for `end`."""
        try:
            await close()
        except GeneratorExit:
            raise  # nothing can be awaited any more
        except Exception as error:
            if self.failure is None:
                self.failure = error
        except BaseException as error:
            self.patience.keep(unwrap(error))

    def reason(self, raised: BaseException | None) -> BaseException | None:
        """What the caller gets; `raised` where something is raised already."""
        known = raised, self.patience.interruption, self.failure
        return next((error for error in known if error is not None), None)

    def end(self, raised: BaseException | None) -> None:
        """Raise what came, if anything did. A failure to close masks nothing: it is a note then."""
        failure, self.failure = self.failure, None
        if failure is not None:
            reason = self.reason(raised)
            if reason is None:
                self.patience.keep(failure)
            else:
                add_note(reason, f"the flow could not be closed: {shown(failure)}")
        self.patience.end(self.committed)
