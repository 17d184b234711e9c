"""`Frames`: the frames of a `multipart/x-mixed-replace`, each as soon as it is whole.

Knows: when a frame is whole, and which frame a slow consumer gets.
Must not know: sources, the wire, what a frame shows.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
import attrs
from anyio.abc import TaskGroup

from mpflow.errors import LimitExceeded
from mpflow.info import PartInfo
from mpflow.part import Part
from mpflow.wire.limits import parse_size

if TYPE_CHECKING:
    from mpflow.reader import MultipartReader

__all__ = ["Frame", "Frames"]


@attrs.frozen
class Frame:
    """One frame: its headers (`info`) and its body (`data`). `info.index` counts from 0."""

    info: PartInfo = attrs.field(repr=False)
    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")


class Frames:
    """What `MultipartReader.frames` gives: an async context manager, and an iterator in it.

    A task reads on while the consumer works. With `latest` the consumer gets the newest frame
    that is whole, and `dropped` counts those that it never saw; else it gets each, and the sender
    waits. At most three frames are held: the one that comes, the one that waits, and the one that
    was given out.

    Raises what is wrong with the body once the frames before it were given out, and
    `LimitExceeded` for a frame of more than `max_bytes`.
    """

    def __init__(self, reader: MultipartReader, *, latest: bool, max_bytes: int | str) -> None:
        self.dropped: int = 0
        """Frames that came whole and were replaced by a newer one before they were asked for."""
        self.mismatched: int = 0
        """Frames that had another size than their Content-Length said."""
        self._reader = reader
        self._latest = latest
        self._most = parse_size(max_bytes)
        self._frame: Frame | None = None
        self._ended = False
        self._error: Exception | None = None
        self._changed = anyio.Event()
        self._group: TaskGroup | None = None
        self._credible = True

    async def __aenter__(self) -> Self:
        if self._group is not None:
            raise RuntimeError("frames can be entered once")
        self._reader.allow_endless()
        group = self._group = anyio.create_task_group()
        await group.__aenter__()
        group.start_soon(self._pump)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        group = self._group
        assert group is not None
        group.cancel_scope.cancel()
        self._ended, self._frame = True, None
        # The pump fails in silence, and what the block raised goes on as it is: in no group.
        await group.__aexit__(None, None, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        if self._group is None:
            raise RuntimeError("expected frames to be entered: `async with reader.frames()`")
        while self._frame is None:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            await self._changed.wait()
        frame, self._frame = self._frame, None
        self._change()
        return frame

    # -- the task that reads ------------------------------------------------------------------

    async def _pump(self) -> None:
        try:
            while (part := await self._reader.next_part()) is not None:
                await self._read(part)
        except Exception as error:
            self._error = error
        self._ended = True
        self._change()

    async def _read(self, part: Part) -> None:
        """Give a frame out at its Content-Length, or where its delimiter comes.

        The delimiter of a frame comes with the next frame only: who waited for it would be one
        frame late. A delimiter that comes before the announced size ends the frame all the same,
        and a sender whose sizes were wrong once is not believed again.
        """
        size = _length(part) if self._credible else None
        pieces: list[bytes] = []
        held, given = 0, False
        while True:
            try:
                data = await part.receive()
            except anyio.EndOfStream:
                break
            held += len(data)
            if given:
                continue  # what stands after the announced size; the frame is out
            if self._most is not None and held > self._most:
                text = f"expected frames of at most {self._most} bytes, and a larger one came"
                raise LimitExceeded("max_bytes", self._most, message=text, part=part.info.ref)
            pieces.append(data)
            if held == size:
                await self._give(part, b"".join(pieces))
                pieces, given = [], True
        if not given:
            await self._give(part, b"".join(pieces))
        if size is not None and held != size:
            self.mismatched += 1
            self._credible = False

    async def _give(self, part: Part, data: bytes) -> None:
        while self._frame is not None and not self._latest:
            await self._changed.wait()
        self.dropped += self._frame is not None
        self._frame = Frame(attrs.evolve(part.info, size=len(data)), data)
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _length(part: Part) -> int | None:
    text = part.headers.get("Content-Length", "").strip()
    # A frame has less than 10**19 bytes; int() refuses thousands of digits.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
