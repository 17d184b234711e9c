"""Why a predicate does not fit a part, in words.

Knows: the kinds of predicates, and what of a part each looks at. Must not know: routes.
"""

from __future__ import annotations

from typing import Final

from mpflow.errors import excerpt
from mpflow.info import PartInfo
from mpflow.predicates.kinds import (
    And,
    ContentType,
    Custom,
    Depth,
    Disposition,
    Filename,
    Header,
    Index,
    Name,
    Not,
    Or,
    Path,
    Predicate,
)
from mpflow.predicates.sniffing import Sniff

__all__ = ["why_not"]

MAX_VALUES: Final = 3
"""How many values of one header are shown."""


def why_not(predicate: Predicate, info: PartInfo) -> str | None:
    """None if the part fits, else what of the predicate does not.

    Everything is asked as a dispatch asks it: in the same order, once, and only as far as it
    matters. What a predicate raises goes through. What clients sent is bounded and escaped.
    """
    match predicate:
        case And():
            reasons = (why_not(item, info) for item in predicate.items)
            return next((reason for reason in reasons if reason is not None), None)
        case Or():
            return _why_none_of(predicate, info)
        case Not():
            return None if why_not(predicate.item, info) is not None else _fits(predicate.item)
        case Custom():
            answer = predicate.test(info)
            return None if answer else f"{predicate!r} gave {_shown(answer)}"
        case Sniff():
            if predicate(info):
                return None
            return f"{predicate!r} says no to {excerpt((info.sniffed or b'')[: predicate.count])}"
        case _:
            return None if predicate(info) else _simple(predicate, info)


def _why_none_of(predicate: Or, info: PartInfo) -> str | None:
    reasons: list[str] = []
    for item in predicate.items:
        reason = why_not(item, info)
        if reason is None:
            return None
        if reason not in reasons:
            reasons.append(reason)
    return ", and ".join(reasons)


def _simple(predicate: Predicate, info: PartInfo) -> str:
    """Why one of the simple kinds does not fit."""
    match predicate:
        case Name(value):
            return _differs("name", info.name, excerpt(value))
        case Filename(pattern):
            return _unfit("filename", [] if info.filename is None else [info.filename], pattern)
        case Header(field, pattern):
            return _unfit(f"header {field}", info.headers.getall(field, []), pattern)
        case ContentType():
            major, _, minor = info.content_type.partition("/")
            came = ContentType(major, minor, _params(predicate, info))
            return _differs("content type", str(came), excerpt(str(predicate), limit=200))
        case Disposition(value):
            return _differs("disposition", info.disposition, excerpt(value))
        case Index(value):
            return f"index is {info.index}, not {value}"
        case Depth(value):
            return f"depth is {info.depth}, not {value}"
        case Path(indexes):
            return f"path is {info.path}, not {_places(indexes)}"
        case _:
            return f"{_shown(predicate)} says no"


def _params(predicate: ContentType, info: PartInfo) -> frozenset[tuple[str, str]]:
    """Those of the part's parameters that are asked about."""
    came = info.content_type_params
    return frozenset((name, came[name]) for name, _ in predicate.params if name in came)


def _places(indexes: tuple[int | None, ...]) -> str:
    shown = ", ".join("any" if index is None else str(index) for index in indexes)
    return f"({shown}{',' if len(indexes) == 1 else ''})"


def _differs(what: str, came: str | None, wanted: str) -> str:
    if came is None:
        return f"there is no {what}, and {wanted} is asked for"
    return f"{what} is {excerpt(came)}, not {wanted}"


def _unfit(what: str, came: list[str], pattern: str | None) -> str:
    if not came:
        return f"there is no {what}"
    shown = ", ".join(map(excerpt, came[:MAX_VALUES]))
    more = f" and {len(came) - MAX_VALUES} more" if len(came) > MAX_VALUES else ""
    return f"{what} is {shown}{more}, which does not fit {excerpt(pattern or '*')}"


def _fits(item: Predicate) -> str:
    if isinstance(item, Filename) and item.pattern is None:
        return "there is a filename"
    if isinstance(item, Header) and item.pattern is None:
        return f"there is a header {item.field}"
    return f"it fits {item!r}"


def _shown(value: object) -> str:
    """Somebody's own value, in one bounded line, whatever its `repr` does."""
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 and text.isprintable() else excerpt(text, limit=80)
