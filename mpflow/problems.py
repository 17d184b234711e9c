"""`Problem`: an error as the answer to an HTTP request.

Knows: RFC 9457, and what of an error a client may hear. Must not know: frameworks, or how an
answer is sent.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, cast

import attrs

from mpflow.errors import (
    CommitFailed,
    LimitExceeded,
    MissingParts,
    MultipartError,
    PartRef,
    Rejected,
    ResultsMismatch,
)

__all__ = ["Problem", "clean_headers", "sole_error"]

_GENERIC: Final = "the upload failed on the side of the service"

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

# RFC 9110 has other words for them than some versions of Python.
_PHRASES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}

# They follow from the document itself.
_OWN_HEADERS: Final = frozenset({"content-type", "content-encoding"})

# RFC 9110, 7.6.1: of one connection, and so the server's; HTTP/2 and WSGI have no place for them.
_SERVERS_HEADERS: Final = frozenset({
    "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# RFC 9110, 5.5: who gets CR, LF or NUL in a value must refuse it, or replace each with a space.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_LISTED: Final = 10


def sole_error(error: BaseException) -> BaseException:
    """The error in groups that hold no other: a task group puts even a single one into a group."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return sole_error(group.exceptions[0]) if len(group.exceptions) == 1 else group


def clean_headers(headers: Mapping[str, object]) -> dict[str, str]:
    """Headers as an answer can have them, whoever wrote what is in them.

    Left out are names that are none, and those that only a server can set. What no value may
    hold becomes a space, what Latin-1 lacks a question mark.
    """
    return {
        name: _CONTROLS.sub(" ", str(value)).strip().encode("latin-1", "replace").decode("latin-1")
        for name, value in headers.items()
        if _TOKEN.fullmatch(name) and name.lower() not in _SERVERS_HEADERS
    }


def _headers_beside(headers: Mapping[str, object]) -> dict[str, str]:
    return {k: v for k, v in clean_headers(headers).items() if k.lower() not in _OWN_HEADERS}


@attrs.frozen
class Problem:
    """What the answer to a failed upload says: problem details (RFC 9457).

    `status` is the HTTP status, `detail` a line for people, `headers` go into the answer beside
    Content-Type and Content-Length. `members` are those for programs: `error`, the name of the
    class of a `MultipartError`; `part` with its `path`, `name` and `filename`; `offset` in bytes;
    `limit`; `missing`, `surplus` and `unfit`, as far as the error has them. Headers that would
    break the answer are left out or made harmless.
    """

    content_type = "application/problem+json"

    status: int
    detail: str
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=_headers_beside)
    members: Mapping[str, Any] = attrs.field(factory=dict[str, Any])

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        """What a client may hear of an error.

        A `MultipartError` has its own status, `OSError` for a full disk is a 507, and all else a
        500. Of what is this side's fault (5xx) the text is not told, since it may name paths and
        addresses; that of `Rejected` and `CommitFailed` is meant to be. A group with one error in
        it counts as that error.
        """
        error = sole_error(error)
        members = _members(error) if isinstance(error, MultipartError) else {}
        # A full disk shows when a part is written, or when it is committed.
        cause = error.__cause__ if isinstance(error, CommitFailed) else error
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return cls(507, "the upload was not stored: no room is left for it", members=members)
        if not isinstance(error, MultipartError):
            return cls(500, _GENERIC)
        headers = error.headers if isinstance(error, Rejected) else {}
        return cls(_status(error), _detail(error), headers, members)

    @property
    def title(self) -> str:
        """The status in words. `type` is absent, which means no more than the status."""
        try:
            return _PHRASES.get(self.status) or HTTPStatus(self.status).phrase
        except ValueError:
            return "Error"

    def document(self) -> dict[str, Any]:
        """The JSON object: `title`, `status`, `detail`, then `members`."""
        own = {"title": self.title, "status": self.status, "detail": self.detail}
        return {**own, **{k: v for k, v in self.members.items() if k not in own}}

    def body(self) -> bytes:
        """The document in UTF-8."""
        document = self.document()
        try:
            text = json.dumps(document, indent=2, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            # A header's bytes that are no UTF-8 are lone surrogates, which JSON can only escape.
            text = json.dumps(document, indent=2).encode()
        return text + b"\n"


def _status(error: MultipartError) -> int:
    # Anything may be given to `Rejected`; no other status lets an answer explain a failure.
    return error.status if 300 <= error.status <= 599 and error.status != 304 else 500


def _detail(error: MultipartError) -> str:
    if isinstance(error, ResultsMismatch) and error.status < 500:
        # Its own text names classes of the program, and what its handlers raised.
        told = [f"{where}: expected a part, got none" for where in error.missing]
        told += [*error.surplus, *(f"{where}: the part does not fit" for where in error.unfit)]
        told += error.waiting
        more = len(told) - _LISTED
        return "; ".join([*told[:_LISTED], f"and {more} more"] if more > 0 else told) or _GENERIC
    if error.status < 500 or isinstance(error, Rejected | CommitFailed):
        return str(error)
    return _GENERIC


def _members(error: MultipartError) -> dict[str, Any]:
    told: dict[str, Any] = {"error": _class_name(type(error))}
    if error.part is not None:
        told["part"] = _place(error.part)
    if error.offset is not None:
        told["offset"] = error.offset
    if isinstance(error, LimitExceeded):
        told["limit"] = error.limit
    if error.status < 500:
        if isinstance(error, MissingParts | ResultsMismatch) and error.missing:
            told["missing"] = list(error.missing)
        if isinstance(error, ResultsMismatch) and error.surplus:
            told["surplus"] = list(error.surplus)
        if isinstance(error, ResultsMismatch) and error.unfit:
            told["unfit"] = list(error.unfit)
    return told


def _class_name(kind: type[MultipartError]) -> str:
    """The name of the class, or of the one of mpflow's that a program's own is made of."""
    known: Iterable[type] = (k for k in kind.__mro__ if k.__module__ == MultipartError.__module__)
    return next(iter(known)).__name__


def _place(part: PartRef) -> dict[str, Any]:
    place: dict[str, Any] = {"path": list(part.path)}
    if part.name is not None:
        place["name"] = part.name
    if part.filename is not None:
        place["filename"] = part.filename
    return place
