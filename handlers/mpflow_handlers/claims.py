"""Who of several parts gets one name: of those that are told at once, the first in the message.

Knows: names that handlers of this process are on their way to.
Must not know: what a name is of, or whether it is taken already.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager
from typing import Final

import attrs
from anyio.lowlevel import checkpoint

__all__ = ["claimed"]


@attrs.define(eq=False)
class _Claim:
    """A name that is wanted: who has it, and the parts of which that is not known yet."""

    owned: bool = attrs.field(default=False, init=False)
    asking: list[tuple[int, ...]] = attrs.field(factory=list[tuple[int, ...]], init=False)


_lock: Final = threading.Lock()
_claims: Final[dict[Hashable, _Claim]] = {}


@asynccontextmanager
async def claimed(name: Hashable | None, place: tuple[int, ...]) -> AsyncGenerator[bool]:
    """Have the name as long as this is open; False if it is another part's.

    `place` is that of the part among all of its message, and of the handler among those of a `Tee`
    (`Part.place`). Handlers that begin in the same pass of the event loop begin in any order, on
    trio by chance: the name goes to the first place.
    None is no name, and free for everybody.
    """
    if name is None:
        yield True
        return
    with _lock:
        claim = _claims.setdefault(name, _Claim())
        claim.asking.append(place)
    owns = False
    try:
        try:
            await checkpoint()  # now each handler of that pass has asked
        finally:
            with _lock:
                owns = not claim.owned and place == min(claim.asking)
                claim.owned = claim.owned or owns
                claim.asking.remove(place)
        yield owns
    finally:
        with _lock:
            if owns:
                claim.owned = False
            if not claim.owned and not claim.asking and _claims.get(name) is claim:
                del _claims[name]
