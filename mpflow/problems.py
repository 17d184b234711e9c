"""`Problem`: an error as the answer to an HTTP request.

Knows: RFC 9457, and what of an error a client may hear. Must not know: frameworks, or how an
answer is sent.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

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

__all__ = ["Problem"]

_GENERIC: Final = "the upload failed on the side of the service"

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

# RFC 9110 has other words for them than some versions of Python.
_PHRASES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}

# They follow from the document itself.
_OWN_HEADERS: Final = frozenset({"content-type", "content-length", "transfer-encoding"})


@attrs.frozen
class Problem:
    """What the answer to a failed upload says: problem details (RFC 9457).

    `status` is the HTTP status, `detail` a line for people, `headers` go into the answer beside
    Content-Type and Content-Length. `members` are those for programs: `error`, the name of the
    class of a `MultipartError`; `part` with its `path`, `name` and `filename`; `offset` in bytes;
    `limit`; `missing` and `surplus`, as far as the error has them.
    """

    content_type = "application/problem+json"

    status: int
    detail: str
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    members: Mapping[str, Any] = attrs.field(factory=dict[str, Any])

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        """What a client may hear of an error.

        A `MultipartError` has its own status, `OSError` for a full disk is a 507, and all else a
        500. Of what is this side's fault (5xx) the text is not told, since it may name paths and
        addresses; that of `Rejected` and `CommitFailed` is meant to be.
        """
        # A full disk shows when a part is written, or when it is committed.
        cause = error.__cause__ if isinstance(error, CommitFailed) else error
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return cls(507, "the upload was not stored: no room is left for it")
        if not isinstance(error, MultipartError):
            return cls(500, _GENERIC)
        headers: Mapping[str, str] = {}
        if isinstance(error, Rejected):
            headers = {k: v for k, v in error.headers.items() if k.lower() not in _OWN_HEADERS}
        return cls(error.status, _detail(error), headers, _members(error))

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


def _detail(error: MultipartError) -> str:
    if isinstance(error, ResultsMismatch) and error.status < 500:
        # Its own text names a class of the program.
        told = [f"{where}: expected a part, got none" for where in error.missing]
        return "; ".join([*told, *error.surplus, *error.waiting]) or _GENERIC
    if error.status < 500 or isinstance(error, Rejected | CommitFailed):
        return str(error)
    return _GENERIC


def _members(error: MultipartError) -> dict[str, Any]:
    told: dict[str, Any] = {"error": type(error).__name__}
    if error.part is not None:
        told["part"] = _place(error.part)
    if error.offset is not None:
        told["offset"] = error.offset
    if isinstance(error, LimitExceeded):
        told["limit"] = error.limit
    if isinstance(error, MissingParts | ResultsMismatch) and error.missing:
        told["missing"] = list(error.missing)
    if isinstance(error, ResultsMismatch) and error.surplus:
        told["surplus"] = list(error.surplus)
    return told


def _place(part: PartRef) -> dict[str, Any]:
    place: dict[str, Any] = {"path": list(part.path)}
    if part.name is not None:
        place["name"] = part.name
    if part.filename is not None:
        place["filename"] = part.filename
    return place
