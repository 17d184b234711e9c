"""What people write: one function for each kind of predicate, and the keywords of a route.

Knows: which arguments make sense, and how to say that one does not.
Must not know: routes and handlers, and how a predicate is evaluated (`kinds.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, Unpack, cast

from mpflow.errors import MalformedBody, RouteError, excerpt
from mpflow.predicates.kinds import (
    And,
    AnyPart,
    ContentType,
    Depth,
    Disposition,
    Filename,
    Header,
    Index,
    Name,
    Not,
    Path,
    Predicate,
    PredicateLike,
    as_predicate,
)
from mpflow.wire import parse_content_type
from mpflow.wire.headers import Policy

__all__ = [
    "MatchOptions",
    "any_part",
    "content_type",
    "depth",
    "disposition",
    "filename",
    "header",
    "index",
    "keywords",
    "name",
    "path",
]

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9a-z]+"  # RFC 9110, 5.6.2, in lower case
_IS_TOKEN = re.compile(_TOKEN)
_STRICT = Policy(strict=True)
_RANGE = re.compile(rf"({_TOKEN})/({_TOKEN})")


class MatchOptions(TypedDict, total=False):
    """The keywords of a route that say which parts it takes, joined by *and*.

    Each means what the function of its name means; None asks nothing. `header` is the name of a
    header that must be there, or a mapping of names to globs (None: any value). `path` is a tuple
    of indexes, each None for any.
    """

    name: str | None
    filename: bool | str | None
    content_type: str | None
    header: str | Mapping[str, str | None] | None
    disposition: str | None
    index: int | None
    depth: int | None
    path: tuple[int | None, ...] | None


def any_part() -> Predicate:
    """Every part: a fallback."""
    return AnyPart()


def name(value: str) -> Predicate:
    """The part's name is exactly `value`."""
    return Name(_text("name", value))


def filename(value: bool | str) -> Predicate:
    """True: the part has a filename, be it empty; False: it has none; a str: a glob it must fit.

    Globs are those of `fnmatch`: `*`, `?`, `[abc]`, `[!abc]`; they fit in any case, as filenames
    differ in it by accident. A browser sends an empty filename where no file was chosen:
    `filename("?*")` leaves it out.
    """
    if isinstance(value, bool):
        return Filename(None) if value else Not(Filename(None))
    pattern = _text("filename", value, expected="True, False or a glob").casefold()
    return Filename(None if pattern == "*" else pattern)


def content_type(value: str) -> Predicate:
    """The part's content type lies in this media range, in any case.

    A range is `type/subtype`, `type/*` or `*/*` (RFC 9110, 12.5.1). Without parameters it takes
    any; with some, `multipart/related; type="application/dicom"`, the part must have them all,
    their values in any case. A part without a content type counts as `text/plain` (RFC 2046, 5.1).
    """
    essence, found, _ = _text("content_type", value).partition(";")
    match = _RANGE.fullmatch(essence.strip().lower())
    major, minor = match.groups() if match else ("*", "")
    if "*" in major + minor and (minor != "*" or "*" in major.removeprefix("*")):
        raise RouteError(
            f"expected a content type such as 'image/png', 'image/*' or '*/*', got {excerpt(value)}"
        )
    params = _params(value) if found else frozenset[tuple[str, str]]()
    if major == "*" and not params:
        return AnyPart()
    return ContentType(None if major == "*" else major, None if minor == "*" else minor, params)


def _params(value: str) -> frozenset[tuple[str, str]]:
    """The parameters of a media range; its weight is for those who negotiate."""
    try:
        params = parse_content_type(value, policy=_STRICT).params
    except MalformedBody as error:
        raise RouteError(
            f"expected a content type such as 'text/plain; charset=utf-8', got {excerpt(value)}: "
            f"{error.message}"
        ) from None
    if "q" in params:
        raise RouteError(
            f"expected a content type such as 'image/png' without a weight, got {excerpt(value)}"
        )
    return frozenset((name, value.casefold()) for name, value in params.items())


def header(name: str, value: str | None = None) -> Predicate:
    """The part has the header `name` (any case); with `value`, one of its values fits that glob.

    The glob is one of `fnmatch` and fits the whole value, case and all.
    """
    field = _text("header", name).lower()
    if not _IS_TOKEN.fullmatch(field):
        raise RouteError(f"expected the name of a header, got {excerpt(name)}")
    pattern = None if value is None or value == "*" else _text("header", value)
    return Header(field, pattern)


def disposition(value: str) -> Predicate:
    """The part's disposition (`form-data`, `attachment`, `inline`, ...) is `value`, in any case."""
    return Disposition(_text("disposition", value).lower())


def index(value: int) -> Predicate:
    """The part is number `value`, from 0, of the multipart that it stands in."""
    return Index(_count("index", value))


def depth(value: int) -> Predicate:
    """The part has `value` parts around it; 0 is a part of the outermost multipart."""
    return Depth(_count("depth", value))


def path(*indexes: int | None) -> Predicate:
    """The part stands here: the index of each part around it, outermost first, and its own.

    None stands for any index: `path(1, None)` is every part of the multipart in part 1.
    """
    if not indexes:
        raise RouteError("expected the indexes of a path, got none")
    return Path(tuple(None if value is None else _count("path", value) for value in indexes))


def keywords(
    predicate: PredicateLike | None = None, /, **options: Unpack[MatchOptions]
) -> Predicate:
    """The keywords of a route and its `predicate`, joined by *and*; every part if none is given.

    The keywords are asked first, `name` before all others, so that a plain callable sees only
    the parts that fit them.
    """
    items = [
        make(value)
        for key, make in _MAKERS.items()
        if (value := options.pop(key, None)) is not None  # type: ignore[misc] # keys are literal
    ]
    if options:
        raise TypeError(f"unexpected keyword {excerpt(next(iter(options)))} of a route")
    if predicate is not None:
        items.append(as_predicate(predicate))
    joined: Predicate | None = None
    for item in items:
        joined = item if joined is None else joined & item
    return AnyPart() if joined is None else joined


def _headers(value: object) -> Predicate:
    if isinstance(value, str):
        return header(value)
    given = excerpt(repr(value))
    if not (isinstance(value, Mapping) and value):
        raise RouteError(f"expected header= as a name or a mapping of names to globs, got {given}")
    globs = cast("Mapping[str, str | None]", value)
    wanted = [header(name, glob) for name, glob in globs.items()]
    return wanted[0] if len(wanted) == 1 else And(tuple(wanted))


def _path(value: object) -> Predicate:
    if not isinstance(value, tuple):
        raise RouteError(f"expected path as a tuple of indexes, got {excerpt(repr(value))}")
    return path(*cast("tuple[int | None, ...]", value))


_MAKERS: dict[str, Callable[[Any], Predicate]] = {
    "name": name,
    "filename": filename,
    "content_type": content_type,
    "header": _headers,
    "disposition": disposition,
    "index": index,
    "depth": depth,
    "path": _path,
}


def _text(what: str, value: object, *, expected: str = "a str") -> str:
    if not isinstance(value, str):
        raise RouteError(f"expected {what} as {expected}, got {excerpt(repr(value))}")
    return value


def _count(what: str, value: object) -> int:
    if type(value) is not int or value < 0:
        raise RouteError(f"expected {what} as an int of at least 0, got {excerpt(repr(value))}")
    return value
