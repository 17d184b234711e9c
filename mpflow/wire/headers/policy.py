"""What is done about bytes that break the rules: refused, or accepted and recorded.

Knows: the codes of every deviation and tolerance, and which of them a caller accepts.
Must not know: how a deviation is found, or what a header means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from mpflow.errors import MalformedBody, excerpt

__all__ = [
    "DEVIATIONS", "LENIENT", "TOLERANCES", "Deviation", "Findings", "Policy", "policy_of",
]  # fmt: skip

DEVIATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bad-extended-value": "An extended value cannot be decoded; the plain one counts.",
        "blank-fold": "A folded line holds nothing but white space; it adds nothing to the value.",
        "boundary-characters": "The boundary holds characters that RFC 2046, 5.1.1 does not allow.",
        "comment": "A comment in parentheses follows a value (RFC 2045, 5.1); it is left out.",
        "continuation-gap": "A number is missing among continuations (RFC 2231, 3); "
        "what comes after the gap is left out.",
        "empty-parameter": "Two semicolons follow each other, or one stands at the end.",
        "empty-value": "Nothing follows the equals sign of a parameter; its value is empty.",
        "encoded-word": "A name or filename holds an encoded word (RFC 2047); it is left as it is.",
        "extended-parameter": "An extended parameter (RFC 2231, RFC 8187) stands in form-data, "
        "where RFC 7578, 4.2 forbids it, or continuations stand beside a plain parameter.",
        "form-data-without-name": "A part of a form has no name (RFC 7578, 4.2 demands one).",
        "junk-after-value": "Something else follows a value, up to the semicolon; it is left out.",
        "malformed-content-type": "A part's content type is not `type/subtype`; "
        "the default counts (RFC 2045, 5.2).",
        "malformed-parameter": "The name of a parameter is not a token; the parameter is left out.",
        "no-blank-line": "A part ends within its headers; its body is empty.",
        "non-utf8-header": "A header is not UTF-8; its bytes are kept by surrogateescape.",
        "not-form-data": "A part of a form has no disposition, or another one than form-data.",
        "parameter-without-value": "A parameter has no equals sign; it is left out.",
        "quoted-extended-value": "An extended value stands in quotes (RFC 8187 allows none).",
        "repeated-parameter": "A parameter comes twice, and decides nothing; the first counts.",
        "space-around-equals": "White space stands beside the equals sign of a parameter.",
        "stray-backslash": "A backslash stands before a character that needs none; it is kept in a "
        "name or filename, as browsers mean it, and left out elsewhere (RFC 2045, 5.1).",
        "unquoted-value": "A value holds characters that need quotes (RFC 2045, 5.1).",
        "windows-path": "A filename is a whole Windows path, as old browsers send; "
        "it is kept whole.",
    }
)
"""Malformed, harmless and common: accepted and recorded; refused when strict."""

TOLERANCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bare-cr-lf": "A CR or LF stands alone in a header. Tolerated: an LF ends the line, "
        "a CR becomes a space (RFC 9112, 2.2).",
        "bare-lf": "The lines of delimiters and headers end with a bare LF. Tolerated: an LF ends "
        "them where it ends the first delimiter's; bodies are left as they are.",
        "control-character": "A control character stands in a header. Tolerated: it is kept.",
        "dashed-boundary": "The delimiters lack the two dashes before the boundary. "
        "Tolerated: the boundary is taken to hold them already.",
        "duplicate-header": "Content-Disposition, Content-Type or Content-Transfer-Encoding comes "
        "twice. Tolerated: the first counts.",
        "duplicate-parameter": "name, filename, boundary or charset comes twice. "
        "Tolerated: the first counts.",
        "extended-boundary": "The boundary is an extended parameter (RFC 2231). "
        "Tolerated: it counts where no plain one is there.",
        "misplaced-quote": "A quote stands outside of a quoted value. "
        "Tolerated: it is an ordinary character.",
        "missing-first-delimiter": "The body begins with the headers of the first part, without "
        "a delimiter before them. Tolerated: they are taken for such.",
        "nul": "A NUL stands in a header. Tolerated: it is kept.",
        "related-type": "The root of a multipart/related has another content type than its `type` "
        "parameter says (RFC 2387, 3.1). Tolerated: that of the root counts.",
        "space-before-colon": "White space stands between a header's name and the colon. "
        "Tolerated: it is left out.",
        "unclosed-quote": "A quoted value does not end. Tolerated: it ends with the header.",
        "unquoted-space": "A value without quotes holds white space. "
        "Tolerated: it goes on to the semicolon.",
    }
)
"""Ambiguous, two parsers read it in two ways: refused unless `tolerate` names it, then recorded."""


@attrs.frozen
class Deviation:
    """Something that breaks the rules, was accepted, and is recorded.

    `code` is a key of `DEVIATIONS` or `TOLERANCES`; `detail` one short line that says what came.
    `part` is the path of the part that deviates: the one whose headers do, or the one that holds
    the level that does, None for the message itself. `offset` counts bytes from 0, None where
    nobody knows; `level` says of what: of the body of the part that holds that level, by its path,
    and `()` is the body of the message. None stands for headers that come before that body; those
    of a mail are counted from the start of the file. So what deviates in the headers of part 1 has
    `part=(1,), level=()`, and what does in the level that this part holds `part=(1,), level=(1,)`.
    """

    code: str
    detail: str
    part: tuple[int, ...] | None = None
    offset: int | None = None
    level: tuple[int, ...] | None = ()


def _tolerances(names: Iterable[str]) -> frozenset[str]:
    chosen = frozenset((names,) if isinstance(names, str) else names)
    unknown = chosen - TOLERANCES.keys()
    if unknown:
        raise ValueError(
            f"expected tolerate to name some of {', '.join(sorted(TOLERANCES))}; "
            f"got {', '.join(sorted(map(repr, unknown)))}"
        )
    return chosen


@attrs.frozen
class Policy:
    """What a caller accepts.

    `strict` (False) refuses every deviation; `tolerate` (empty) names the ambiguities that are
    accepted, also when strict. An unknown name raises `ValueError`.
    """

    strict: bool = False
    tolerate: frozenset[str] = attrs.field(default=frozenset(), converter=_tolerances)

    def note(
        self,
        code: str,
        detail: str,
        found: list[Deviation],
        *,
        part: tuple[int, ...] | None = None,
        offset: int | None = None,
    ) -> None:
        """Add a deviation to `found`, or raise `MalformedBody` where it is not accepted."""
        if code in TOLERANCES:
            if code not in self.tolerate:
                raise MalformedBody(
                    f"{detail}: that is ambiguous, and refused unless tolerate names {code!r}",
                    offset=offset,
                )
        elif self.strict:
            raise MalformedBody(f"{detail}: strict refuses {code!r}", offset=offset)
        found.append(Deviation(code, detail, part, offset))


LENIENT: Final = Policy()
"""Deviations are accepted and recorded, ambiguities are refused."""


def policy_of(*, strict: bool, tolerate: Iterable[str]) -> Policy:
    """`Policy(strict, tolerate)`, or `LENIENT` where it is the same: each level asks for one."""
    if not strict and isinstance(tolerate, frozenset) and not tolerate:
        return LENIENT
    return Policy(strict=strict, tolerate=tolerate)


@attrs.define(eq=False)
class Findings:
    """What is found in one header or header block: each code once, at its first place.

    Once, because a header of nothing but semicolons must not become a list as long as itself.
    `offset` is where the line that is being read begins; None where nobody knows.
    """

    policy: Policy
    offset: int | None = None
    found: list[Deviation] = attrs.field(factory=list[Deviation])

    def note(self, code: str, detail: str, got: str | bytes | None = None) -> None:
        """Record a deviation at the present offset, or raise `MalformedBody`.

        `got` is what came, of any length; it is quoted after `detail`.
        """
        if any(known.code == code for known in self.found):
            return
        if got is not None:
            detail = f"{detail}, got {excerpt(got)}"
        self.policy.note(code, detail, self.found, offset=self.offset)

    def refuse(self, message: str) -> MalformedBody:
        """The error to raise at the present offset for what nobody may accept."""
        return MalformedBody(message, offset=self.offset)
