"""`ClamAV`: a part that clamd has found clean, or an error.

Knows: clamd's command INSTREAM. Must not know: what else becomes of the part.

The protocol (clamd's manual page, "COMMANDS"): `zINSTREAM` and a NUL, then chunks, each after its
length in four bytes, big-endian; a length of zero is the end. The answer ends with a NUL.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final

import anyio
import attrs
from anyio.abc import ByteStream

from mpflow import Limits, Part, PartRef, Rejected, RouteError, ServiceFailed
from mpflow.errors import excerpt

__all__ = ["ClamAV", "NotScanned", "Scanned", "VirusFound"]

_CHUNK: Final = 64 * 1024
"""Bytes of a part that are sent at once."""

_MAX_ANSWER: Final = 4096
_EXCEEDED: Final = "Heuristics.Limits.Exceeded"
"""What the signatures begin with that mean a file too large, or too deep, for clamd."""


class VirusFound(Rejected):
    """clamd has found a virus: `signature` is its name; status 422."""

    def __init__(self, signature: str, part: PartRef) -> None:
        super().__init__(422, f"expected no virus, and clamd has found {excerpt(signature)}")
        self.args: tuple[Any, ...] = (signature, part)
        self.signature = signature
        self.part = part


class NotScanned(ServiceFailed):
    """clamd has not looked at the whole part; status 503, or 413 where the part is too large."""

    status = 503


@attrs.frozen
class Scanned:
    """A part without a virus that clamd knows, and how many bytes of it clamd has seen."""

    size: int


def _size(size: int | str | None) -> int | None:
    try:
        return Limits(max_part_bytes=size).max_part_bytes
    except (TypeError, ValueError) as error:
        raise RouteError(f"max_bytes of ClamAV: {error}") from None


@attrs.frozen(kw_only=True)
class ClamAV:
    """Has clamd look for viruses in the part while it arrives; gives `Scanned`.

    clamd listens on a `socket` (the path of its LocalSocket), or at a `host` and `port`. A virus
    raises `VirusFound`, status 422. Anything but a clear answer raises `NotScanned`: status 413
    where the part has more than `max_bytes` or than clamd's StreamMaxLength; 503 where clamd is
    not there, goes away, fails, or does not take a chunk or answer within `timeout` seconds.

    What clamd gets is the part without its transfer encoding and content codings, whatever the
    route's `decode` says; `UnsupportedCoding` is raised for one that cannot be undone. Nothing is
    gathered: a chunk is read when clamd has taken the one before. In a `Tee` beside the handlers
    that store the part, a failure leaves nothing of what they, and those of other parts, did.
    """

    socket: str | None = None
    host: str | None = None
    port: int = 3310
    max_bytes: int | None = attrs.field(default=None, converter=_size)
    timeout: float = 60.0

    def __attrs_post_init__(self) -> None:
        if (self.socket is None) == (self.host is None):
            raise RouteError("expected socket= or host= of clamd, and one of them")
        if not 0 < self.port < 65536:
            raise RouteError(f"expected a port from 1 to 65535, got {self.port}")
        if not self.timeout > 0:
            raise RouteError(f"expected timeout as seconds above 0, got {self.timeout}")

    async def __call__(self, part: Part) -> Scanned:
        failure: Exception | None = None
        # Beside the sending: what clamd says as it closes would be lost with the next byte that is
        # sent, unless somebody waits for it.
        async with _Session(self, part.info.ref) as session, anyio.create_task_group() as tasks:
            tasks.start_soon(session.listen)
            try:
                await self._send(part, session)
            except Exception as error:  # bare, not in a group
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            try:
                raise failure
            finally:
                del failure
        return Scanned(session.size)

    async def _send(self, part: Part, session: _Session) -> None:
        async for chunk in part.decoded():
            for start in range(0, len(chunk), _CHUNK):
                await session.send(chunk[start : start + _CHUNK])
        await session.end()

    async def connect(self) -> ByteStream:
        """A connection to clamd."""
        if self.socket is not None:
            return await anyio.connect_unix(self.socket)
        assert self.host is not None
        return await anyio.connect_tcp(self.host, self.port)

    @property
    def address(self) -> str:
        """Where clamd is, for messages."""
        return self.socket if self.socket is not None else f"{self.host}:{self.port}"


class _Session:
    """One part on its way to clamd. Every step has `timeout` seconds."""

    def __init__(self, clamav: ClamAV, part: PartRef) -> None:
        self._clamav = clamav
        self._part = part
        self._stream: ByteStream | None = None
        self._said = b""
        self._heard = anyio.Event()  # the answer is whole, or there will be none
        self.size = 0

    async def __aenter__(self) -> _Session:
        try:
            with anyio.fail_after(self._clamav.timeout):
                self._stream = await self._clamav.connect()
                await self._stream.send(b"zINSTREAM\0")
        except BaseException as error:
            await self._close()
            if isinstance(error, OSError | anyio.BrokenResourceError):  # a timeout is an OSError
                raise self._failed("cannot be reached", error) from error
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    async def send(self, chunk: bytes) -> None:
        """Send some of the part."""
        assert self._stream is not None
        self.size += len(chunk)
        most = self._clamav.max_bytes
        if most is not None and self.size > most:
            raise NotScanned(
                f"expected a part of at most {most} bytes to look for viruses in, and more came",
                part=self._part,
                status=413,
            )
        cause = await self._send(len(chunk).to_bytes(4, "big") + chunk)
        if cause is not None or self._heard.is_set():
            # clamd says why before it closes, past StreamMaxLength for one.
            self._judge(await self._answer(), cause)

    async def end(self) -> None:
        """Send the end of the part, and wait for the answer; returns if the part is clean."""
        cause = await self._send(bytes(4))
        answer = await self._answer()
        if cause is not None or answer != "stream: OK":
            self._judge(answer, cause)

    async def _send(self, data: bytes) -> Exception | None:
        """Send it, unless clamd has said enough; why it could not be sent."""
        assert self._stream is not None
        if self._heard.is_set():
            return None
        try:
            with anyio.fail_after(self._clamav.timeout):
                await self._stream.send(data)
        except TimeoutError as error:
            raise self._failed("takes nothing more", error) from error
        except anyio.BrokenResourceError as error:
            return error
        return None

    async def listen(self) -> None:
        """Keep what clamd says, until its answer is whole or it closes."""
        assert self._stream is not None
        try:
            while b"\0" not in self._said and len(self._said) < _MAX_ANSWER:
                self._said += await self._stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
        self._heard.set()

    async def _answer(self) -> str:
        """What clamd says, without the NUL; empty where it has closed without a word."""
        try:
            with anyio.fail_after(self._clamav.timeout):
                await self._heard.wait()
        except TimeoutError as error:
            raise self._failed("does not answer", error) from error
        answer, ended, _ = self._said.partition(b"\0")
        if not ended and len(answer) < _MAX_ANSWER:
            return ""  # an answer that was cut is none
        return answer.decode("utf-8", "replace").strip()

    def _judge(self, answer: str, cause: Exception | None) -> None:
        """Raise what an answer means that is not a clear yes."""
        found = answer.removeprefix("stream: ")
        if found != answer and found.endswith(" FOUND"):
            signature = found.removesuffix(" FOUND")
            if not signature.startswith(_EXCEEDED):
                raise VirusFound(signature, self._part) from cause
            answer = f"{answer}: size limit exceeded"
        if "size limit exceeded" in answer:
            raise NotScanned(
                f"expected a part that clamd takes, and it is too large for it: {excerpt(answer)}",
                part=self._part,
                status=413,
            ) from cause
        if not answer:
            said = f"closed the connection after {self.size} bytes (has it a StreamMaxLength?)"
            raise self._failed(said, cause) from cause
        raise self._failed(f"answers {excerpt(answer, limit=200)}", cause) from cause

    def _failed(self, what: str, cause: BaseException | None) -> NotScanned:
        reason = f" ({type(cause).__name__})" if cause is not None else ""
        text = f"expected clamd at {self._clamav.address} to look at the part, and it {what}"
        return NotScanned(text + reason, part=self._part)

    async def _close(self) -> None:
        if self._stream is not None:
            await anyio.aclose_forcefully(self._stream)
