"""The error tree: what can go wrong, how it is said, and which HTTP status fits.

Knows: the message, the part, the offset and the status of every refusal.
Must not know: anything else of mpflow; this file imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

__all__ = [
    "BrokenSource",
    "ClientDisconnected",
    "CommitFailed",
    "ConfigError",
    "DependencyFailed",
    "EmptyBody",
    "FlowAborted",
    "HandlerCancelled",
    "HandlerTimeout",
    "InvalidBoundary",
    "InvalidContent",
    "LimitExceeded",
    "MalformedBody",
    "MissingParts",
    "MultipartError",
    "NoResult",
    "NoRoute",
    "NotMultipart",
    "PartRef",
    "Rejected",
    "ResultsMismatch",
    "RolledBack",
    "RouteError",
    "ServiceFailed",
    "Stalled",
    "SurplusPart",
    "TruncatedBody",
    "UnmetNeed",
    "UnsupportedCoding",
    "WireError",
    "WriteError",
    "excerpt",
]

_EXCERPT = 40
_LISTED = 10


def excerpt(data: bytes | str, *, limit: int = _EXCERPT) -> str:
    """A bounded, escaped piece of what came, safe to show in one line of a log."""
    if isinstance(data, bytes):
        return repr(data[:limit])[1:] + ("..." if len(data) > limit else "")
    return ascii(data[:limit]) + ("..." if len(data) > limit else "")


def _listed(items: Sequence[str], between: str) -> str:
    """The first of them, and how many there are more."""
    more = len(items) - _LISTED
    told = [*items[:_LISTED], f"and {more} more"] if more > 0 else items
    return between.join(told)


def _place(path: Sequence[int]) -> str:
    return ".".join(str(index) for index in path)


@attrs.frozen
class PartRef:
    """Names a part in an error: its place in the tree, and what the client called it.

    `path` holds the index of the part and of each part around it, outermost first, from 0.
    """

    path: tuple[int, ...]
    name: str | None = None
    filename: str | None = None

    def __str__(self) -> str:
        place = f"part {_place(self.path)}"
        if self.name is not None:
            place += f" {excerpt(self.name)}"
        if self.filename is not None:
            place += f" (file {excerpt(self.filename)})"
        return place


class MultipartError(Exception):
    """The root of what mpflow raises.

    `message` says what was expected and what came; `part` names the part (None outside of one);
    `offset` counts bytes from the start of the body of one level, from 0; `level` says of which,
    by the path of the part that holds it: `()` for the message itself, None where nobody knows.
    `status` is the HTTP status that fits; a 4xx blames the client, a 5xx blames this side.
    """

    status: int = 400
    level: tuple[int, ...] | None = None

    def __init__(
        self,
        message: str,
        *,
        part: PartRef | None = None,
        offset: int | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.part = part
        self.offset = offset
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        where: list[str] = []
        if self.part is not None:
            where.append(f"in {self.part}")
        if self.offset is not None:
            body = f" of the body of part {_place(self.level)}" if self.level else ""
            where.append(f"at byte {self.offset}{body}")
        return f"{self.message} ({', '.join(where)})" if where else self.message


# -- the body ---------------------------------------------------------------------------------


class WireError(MultipartError):
    """The body itself is at fault, or cannot be read on. Reading has ended; status 400."""


class MalformedBody(WireError):
    """The bytes break RFC 2046, or are ambiguous and not tolerated; status 400."""


class TruncatedBody(WireError):
    """The body ended before its close delimiter; status 400."""


class EmptyBody(TruncatedBody):
    """The body had no byte at all; status 400."""


class InvalidBoundary(WireError):
    """The boundary parameter is missing, too long, or cannot be one; status 400."""


class NotMultipart(WireError):
    """The content type is absent or not `multipart/*`; status 415."""

    status = 415


class ClientDisconnected(WireError):
    """The client went away before the body was whole; status 400."""


class BrokenSource(WireError):
    """The source was read on after a read of it was cancelled or failed; status 500.

    So is what was kept of a part on disk, where that cannot be read again.
    """

    status = 500


class LimitExceeded(WireError):
    """A limit was passed: `limit` is its name in `Limits`, `value` what it was set to.

    Status 413; 408 for `idle_timeout` and `min_rate`.
    """

    status = 413

    def __init__(
        self,
        limit: str,
        value: float | None,
        *,
        message: str | None = None,
        part: PartRef | None = None,
        offset: int | None = None,
        status: int | None = None,
    ) -> None:
        text = message or f"expected at most {limit} = {value}, and more came"
        super().__init__(text, part=part, offset=offset, status=status)
        self.args: tuple[Any, ...] = (limit, value)
        self.limit = limit
        self.value = value


# -- the content of a part --------------------------------------------------------------------


class InvalidContent(MultipartError, ValueError):
    """A part's body is not what it was read as (JSON, text, a form); status 422.

    What the decoder raised is the `__cause__`.
    """

    status = 422


class UnsupportedCoding(MultipartError):
    """The part has a content coding or transfer encoding that cannot be undone; status 415."""

    status = 415


class WriteError(MultipartError, ValueError):
    """What is to be written would break the body for its readers; status 500."""

    status = 500


# -- routing ----------------------------------------------------------------------------------


class RouteError(MultipartError, ValueError):
    """A route, a handler or a flow is used in a way that cannot work; status 500."""

    status = 500


class ConfigError(RouteError):
    """A configuration that no router can be made of; status 500.

    `problems` are all of its faults, a line each, in the order of the file, with their places.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.args: tuple[Any, ...] = (tuple(problems),)
        self.problems: tuple[str, ...] = tuple(problems)


class NoRoute(MultipartError):
    """No route takes the part; status 422."""

    status = 422


class SurplusPart(MultipartError):
    """More parts came than a route's `max_count`, a need or an `into` takes; status 422."""

    status = 422


class MissingParts(MultipartError):
    """The body is whole and required parts did not come; `missing` names them; status 422.

    `waiting` says which parts wait for them in vain, and over which others.
    """

    status = 422
    known: Any = None
    """What a nested flow knew of its results, for the `into=` of a flow around."""

    def __init__(self, missing: Sequence[str], waiting: Sequence[str] = ()) -> None:
        text = f"the body is whole, and these required parts did not come: {_listed(missing, ', ')}"
        super().__init__(f"{text}; {_listed(waiting, '; ')}" if waiting else text)
        self.args: tuple[Any, ...] = (tuple(missing), tuple(waiting))
        self.missing: tuple[str, ...] = tuple(missing)
        self.waiting: tuple[str, ...] = tuple(waiting)


class UnmetNeed(MultipartError):
    """A part came before one that its handler needs (`order="reject"`), or needs go in a circle.

    Status 422. The message names both parts, or the whole chain.
    """

    status = 422


class NoResult(MultipartError, KeyError):
    """`Results` hold none, or several, where one was asked for; status 500."""

    status = 500

    def __str__(self) -> str:
        return MultipartError.__str__(self)  # a KeyError's is the repr of its key


class ResultsMismatch(MultipartError, TypeError):
    """Results do not fit the class that they are put into (`into=`).

    `missing`, `surplus`, `wrong` and `failed` say what and where, each a tuple of strings;
    `waiting` says which parts wait in vain for missing ones, `unfit` names the places of what is
    wrong or failed, and no more: a client may hear it. Status 422 where the client has to send
    something else; 500 where a handler has failed by this side's fault, or where nothing is the
    matter but that values have the wrong type.
    """

    status = 422

    def __init__(
        self,
        into: str,
        *,
        missing: Sequence[str] = (),
        surplus: Sequence[str] = (),
        wrong: Sequence[str] = (),
        failed: Sequence[str] = (),
        waiting: Sequence[str] = (),
        unfit: Sequence[str] = (),
        status: int | None = None,
    ) -> None:
        told = [f"{where}: expected a part, got none" for where in missing]
        if status is None and (failed or (wrong and not (missing or surplus))):
            status = 500
        super().__init__(
            f"the results do not fit {into}: "
            f"{_listed([*told, *surplus, *wrong, *failed, *waiting], '; ')}",
            status=status,
        )
        self.missing: tuple[str, ...] = tuple(missing)
        self.surplus: tuple[str, ...] = tuple(surplus)
        self.wrong: tuple[str, ...] = tuple(wrong)
        self.failed: tuple[str, ...] = tuple(failed)
        self.waiting: tuple[str, ...] = tuple(waiting)
        self.unfit: tuple[str, ...] = tuple(unfit)


class Rejected(MultipartError):
    """A verdict: refuse the message with this status, at once.

    Raise it in a predicate or a handler. `reason` is shown to the client, `headers` go into the
    answer.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason, status=status)
        self.args: tuple[Any, ...] = (status, reason, headers)
        self.reason = reason
        self.headers: dict[str, str] = dict(headers or {})


# -- the flow ---------------------------------------------------------------------------------


class HandlerTimeout(MultipartError, TimeoutError):
    """A handler did not answer in its time (`timeout=`, `handler_timeout`); status 503."""

    status = 503


class HandlerCancelled(MultipartError):
    """A handler ended with a cancellation that nobody asked for; status 500.

    On asyncio, a future that the handler awaited was cancelled. The cancellation is the
    `__cause__`.
    """

    status = 500


class DependencyFailed(MultipartError):
    """A part that this one's handler needs has failed (`on_error="collect"`); status 422.

    The failure is the `__cause__`; where that is a `MultipartError`, the status is its own.
    """

    status = 422


class ServiceFailed(MultipartError):
    """Another service that a handler works with has refused or failed; status 502.

    An object store, say, or one that a part is forwarded to. What its client raised is the
    `__cause__`.
    """

    status = 502


class Stalled(MultipartError):
    """The flow waited for a handler while nothing moved; status 503. Names who waits for whom."""

    status = 503


class FlowAborted(MultipartError):
    """`flow.abort()` was called: the reason that rolled back handlers get; status 500."""

    status = 500


class CommitFailed(MultipartError):
    """A commit failed. `committed` stand, `failed` is the one, `rolled_back` were undone.

    Each holds `Handled` values, in the order of their commits. The failure is the `__cause__`.
    Status 500.
    """

    status = 500

    def __init__(self, committed: Sequence[Any], failed: Any, rolled_back: Sequence[Any]) -> None:
        super().__init__(
            f"a commit failed: {len(committed)} parts were committed before it, "
            f"{len(rolled_back)} were rolled back after it",
            part=getattr(failed, "ref", None),
        )
        self.args: tuple[Any, ...] = (tuple(committed), failed, tuple(rolled_back))
        self.committed: tuple[Any, ...] = tuple(committed)
        self.failed: Any = failed
        self.rolled_back: tuple[Any, ...] = tuple(rolled_back)


class RolledBack(Exception):
    """Raised at the `yield` of a two-phase handler: undo the work. The reason is `__cause__`."""
