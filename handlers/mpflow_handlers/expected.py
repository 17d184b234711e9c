"""Which digests a part is expected to have, and who tells.

Knows: headers, mappings and callables that tell digests.
Must not know: how a body is hashed, or what a mismatch means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, Final, TypeAlias, cast

from mpflow import InvalidContent, PartInfo, RouteError, accepted_needs
from mpflow_handlers.digestfields import FIELDS, field_digests

__all__ = ["Expected", "Teller", "Told", "expected_of", "nothing_told", "tell"]

Told: TypeAlias = str | bytes | Mapping[str, str | bytes] | None
"""What a callable may give: a digest, digests by algorithm, or None."""

# Twice, since mypy infers nothing of a lambda for the second one.
Teller: TypeAlias = Callable[[PartInfo], Told] | Callable[Concatenate[PartInfo, ...], Told]
"""A callable that is asked for each part."""

Expected: TypeAlias = str | tuple[tuple[str, str], ...] | Teller | None
"""The name of a header in lower case, algorithms with their digests, or a callable."""

_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")


def expected_of(value: object, algorithms: tuple[str, ...]) -> Expected:
    """Who tells the digests, checked: `RouteError` for what can never tell one."""
    if value is None:
        return None
    if callable(value):
        return cast("Teller", value)
    if isinstance(value, str):
        return _field(value, algorithms)
    if not isinstance(value, Mapping):
        raise RouteError(f"expected a header's name, a mapping or a callable, got {value!r:.60}")
    digests = _digests(cast("Mapping[object, object]", value), algorithms)
    if not digests:
        raise RouteError("expected a digest at least, got an empty mapping")
    return tuple(digests.items())


def _field(name: str, algorithms: tuple[str, ...]) -> str:
    field = name.lower()
    if field not in FIELDS:
        known = "Content-MD5, Content-Digest or Repr-Digest"
        raise RouteError(f"expected the header {known}, or a mapping, got {name!r:.60}")
    able = {"md5"} if field == "content-md5" else {"sha256", "sha512", "md5", "sha1"}
    if not able & set(algorithms):
        wanted = " or ".join(sorted(able))
        raise RouteError(f"expected {wanted}, which {name} tells, got {', '.join(algorithms)}")
    return field


def tell(
    expected: Expected, algorithms: tuple[str, ...], info: PartInfo, needs: Mapping[str, Any]
) -> Mapping[str, str]:
    """The digests that the part has to have, in hexadecimal; none where none are told."""
    if expected is None:
        return {}
    if isinstance(expected, str):
        if expected == "repr-digest" and "Content-Range" in info.headers:
            return {}  # of the whole representation, of which this is a part
        told = field_digests(info, expected)
        return {name: digest.hex() for name, digest in told.items() if name in algorithms}
    if callable(expected):
        return _called(expected(info, **accepted_needs(expected, needs)), algorithms, info)
    return dict(expected)


def _called(value: object, algorithms: tuple[str, ...], info: PartInfo) -> Mapping[str, str]:
    if value is None:
        return {}
    if isinstance(value, str | bytes):
        if len(algorithms) != 1:
            several = f"there are {len(algorithms)} algorithms"
            text = f"expected a mapping of algorithm to digest, since {several}, got one"
            raise InvalidContent(text, part=info.ref)
        value = {algorithms[0]: value}
    # It may be what a client says: others than ours are nothing wrong, a digest that is none is.
    if not isinstance(value, Mapping):
        text = f"expected a digest, a mapping or None, got {value!r:.60}"
        raise InvalidContent(text, part=info.ref)
    told = cast("Mapping[object, object]", value)
    try:
        return _digests({name: told[name] for name in algorithms if name in told}, algorithms)
    except RouteError as error:
        raise InvalidContent(error.message, part=info.ref) from None


def nothing_told(expected: Expected, algorithms: tuple[str, ...], info: PartInfo) -> InvalidContent:
    """The refusal of a part for which no digest is told."""
    names = " or ".join(algorithms)
    if isinstance(expected, str):
        text = f"expected a header {expected!a} with a digest by {names} of this body, got none"
    else:
        text = f"expected to be told a digest by {names} of this part, and none is known"
    return InvalidContent(text, part=info.ref)


def _digests(value: Mapping[object, object], algorithms: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, digest in value.items():
        if name not in algorithms:
            known = ", ".join(algorithms)
            raise RouteError(f"expected a digest by one of {known}, got one by {name!r:.60}")
        text = digest.hex() if isinstance(digest, bytes) else digest
        if not isinstance(text, str) or not _HEX.fullmatch(text.lower()):
            raise RouteError(f"expected a digest in hexadecimal or bytes, got {digest!r:.60}")
        found[str(name)] = text.lower()
    return found
