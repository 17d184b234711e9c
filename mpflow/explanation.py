"""`Explanation`: which route takes a part, and why each of the others does not.

Knows: routes in order, and what predicates say. Must not know: how routes are registered; bodies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs

from mpflow.errors import excerpt
from mpflow.info import PartInfo
from mpflow.predicates.reasons import why_not
from mpflow.predicates.sniffing import NeedBytes
from mpflow.routes import Route

__all__ = ["Explanation", "Verdict"]

MAX_SHOWN: Final = 200


@attrs.frozen
class Verdict:
    """What became of one route: `reason` says why it does not take the part, None if it does."""

    route: Route[Any]
    reason: str | None

    def __str__(self) -> str:
        mark = "no " if self.reason is not None else "yes"
        return f"{mark} {self.route.name}: {self.reason or repr(self.route.predicate)}"


@attrs.frozen
class Explanation:
    """Which of the routes takes the part, by its headers alone. `str()` gives a line a route.

    None of `route`, `error`, `needs_bytes` and `is_charset`: a dispatch would raise `NoRoute`.
    """

    info: PartInfo
    route: Route[Any] | None
    """The route that takes the part."""
    verdicts: tuple[Verdict, ...] = attrs.field(repr=False)
    """One a route, in the order in which they are asked."""
    error: Exception | None = None
    """What a predicate raised: a dispatch ends with it."""
    needs_bytes: int | None = None
    """How many bytes of the body must be there to decide, where a predicate sniffs."""
    is_charset: bool = False
    """Whether it is a form's `_charset_`, which the flow takes itself, as no route names it."""

    @classmethod
    def of(
        cls, routes: Iterable[Route[Any]], info: PartInfo, *, is_charset_taken: bool = False
    ) -> Explanation:
        """Ask the routes about the part, as a dispatch does."""
        if is_charset_taken and _is_charset(info):
            no = "the flow takes the charset of a form itself, unless a route names it"
            return cls(info, None, tuple(Verdict(r, no) for r in routes), is_charset=True)
        taken: Route[Any] | None = None
        error: Exception | None = None
        needed: int | None = None
        verdicts: list[Verdict] = []
        for route in routes:
            reason: str | None
            if taken is not None:
                reason = f"an earlier route takes it: {taken.name}"
            elif needed is not None:
                reason = "an earlier route is to be decided first"
            elif error is not None:
                reason = "an earlier route ends the flow"
            else:
                try:
                    reason = why_not(route.predicate, info)
                except NeedBytes as need:
                    needed = need.count
                    reason = f"needs the first {needed} bytes of the part (PartInfo.sniffed)"
                except Exception as raised:
                    error = raised
                    reason = f"its predicate raised {_told(raised)}"
                else:
                    taken = route if reason is None else None
            verdicts.append(Verdict(route, reason))
        return cls(info, taken, tuple(verdicts), error, needed)

    def __str__(self) -> str:
        if self.route is not None:
            outcome = f"goes to {self.route.name}"
        elif self.error is not None:
            outcome = f"ends the flow: {_told(self.error)}"
        elif self.needs_bytes is not None:
            outcome = f"is decided by its first {self.needs_bytes} bytes"
        elif self.is_charset:
            outcome = "names the charset of the fields after it (RFC 7578, 4.6)"
        else:
            outcome = "goes nowhere: NoRoute"
        title = f"{self.info.ref} of {excerpt(self.info.content_type)} {outcome}"
        return "\n".join([title, *(f"  {verdict}" for verdict in self.verdicts)])


def _is_charset(info: PartInfo) -> bool:
    return info.name == "_charset_" and info.filename is None and info.disposition == "form-data"


def _told(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:
        return type(error).__name__
    return f"{type(error).__name__}: {excerpt(text, limit=MAX_SHOWN)}"
