"""What several parameters mean together: RFC 2231 continuations and charsets, RFC 8187 values.

Knows: which of `filename`, `filename*` and `filename*0` counts, and how each is decoded.
Must not know: where a parameter begins or ends in the header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from mpflow.errors import excerpt
from mpflow.wire.headers.params import CONTROL, Parameter
from mpflow.wire.headers.policy import Findings

__all__ = ["join_parameters"]

_DECISIVE = frozenset({"name", "filename", "boundary", "charset"})
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|[^\x00-\x7f]")
_PERCENT = re.compile(rb"%(..)", re.DOTALL)

# A list, and no codecs.lookup() of what a client wrote: Python also has codecs that are no
# charsets, that run in quadratic time (idna, punycode), or that hide what they hold (utf-7).
_CHARSETS = frozenset(
    {"utf-8", "us-ascii", "shift_jis", "euc-jp", "iso-2022-jp", "euc-kr", "gb2312", "gbk"}
    | {"gb18030", "big5", "koi8-r", "koi8-u"}
    | {f"iso-8859-{number}" for number in range(1, 17) if number != 12}
    | {f"windows-{number}" for number in range(1250, 1259)}
)


@attrs.define(eq=False)
class _Group:
    """All parameters of one name: the first of each form."""

    plain: Parameter | None = None
    whole: Parameter | None = None
    sections: dict[int, Parameter] = attrs.field(factory=dict[int, Parameter])


class _BadValueError(Exception):
    """An extended value cannot be decoded; says why."""


def join_parameters(
    parameters: Iterable[Parameter], notes: Findings, *, form: bool = False
) -> dict[str, str]:
    """The value of each parameter, by its lower-case name, in the order of first mention.

    In a form the plain parameter counts before the extended one, elsewhere the extended one
    (RFC 6266, 4.3). Raises `MalformedBody` for an extended value that cannot be decoded, and has
    no plain one beside it.
    """
    groups: dict[str, _Group] = {}
    for parameter in parameters:
        _file(groups.setdefault(parameter.key, _Group()), parameter, notes)
    values: dict[str, str] = {}
    for key, group in groups.items():
        value = _choose(key, group, notes, form=form)
        if value is not None:
            values[key] = value
    return values


def _file(group: _Group, parameter: Parameter, notes: Findings) -> None:
    if parameter.section is not None:
        if group.sections.setdefault(parameter.section, parameter) is not parameter:
            _twice(parameter.key, notes)
    elif parameter.extended:
        if group.whole is not None:
            _twice(parameter.key, notes)
        group.whole = group.whole or parameter
    else:
        if group.plain is not None:
            _twice(parameter.key, notes)
        group.plain = group.plain or parameter


def _twice(key: str, notes: Findings) -> None:
    code = "duplicate-parameter" if key in _DECISIVE else "repeated-parameter"
    notes.note(code, "expected each parameter once", key)


def _choose(key: str, group: _Group, notes: Findings, *, form: bool) -> str | None:
    plain = None if group.plain is None else group.plain.value
    if group.whole is None and not group.sections:
        return plain
    if group.whole is not None and group.sections:
        _twice(key, notes)
    if key == "boundary":
        notes.note("extended-boundary", "expected a plain boundary, got an extended one")
    # RFC 7578, 4.2: "the 'filename*' parameter ... MUST NOT be used".
    if form or (plain is not None and group.whole is None):
        notes.note("extended-parameter", f"expected a plain {excerpt(key)}, got an extended one")
    if plain is not None and (form or key == "boundary"):
        return plain
    try:
        value = _decode_whole(group.whole, notes) if group.whole else _decode_sections(group, notes)
    except _BadValueError as why:
        if plain is None:
            raise notes.refuse(f"expected an extended {excerpt(key)}, got {why}") from None
        notes.note("bad-extended-value", f"expected an extended {excerpt(key)}, got {why}")
        return plain
    return plain if value is None else value


def _decode_whole(parameter: Parameter, notes: Findings) -> str:
    charset, value = _open(parameter, notes)
    return _check(_decode(_percent(value), charset), notes)


def _decode_sections(group: _Group, notes: Findings) -> str | None:
    """Join the continuations in the order of their numbers, up to the first gap.

    Neighbours that are extended are joined as bytes: a character may be split between them.
    None where there is no section 0.
    """
    sections = group.sections
    count = 0
    while count in sections:
        count += 1
    if count < len(sections):
        notes.note("continuation-gap", f"expected a section *{count}, got a later one")
    if count == 0:
        return None
    charset = "utf-8"
    pieces: list[str] = []
    run: list[bytes] = []
    for number in range(count):
        parameter = sections[number]
        if not parameter.extended:
            pieces += (_decode(b"".join(run), charset), parameter.value)
            run.clear()
        elif number == 0:
            charset, value = _open(parameter, notes)
            run.append(_percent(value))
        else:
            run.append(_percent(parameter.value))
    pieces.append(_decode(b"".join(run), charset))
    return _check("".join(pieces), notes)


def _open(parameter: Parameter, notes: Findings) -> tuple[str, str]:
    """The charset and the rest of `charset'language'value`; no charset means UTF-8."""
    if parameter.quoted:
        notes.note("quoted-extended-value", "expected no quotes", parameter.value)
    charset, first, rest = parameter.value.partition("'")
    _, second, value = rest.partition("'")
    if not first or not second:
        raise _BadValueError(f"{excerpt(parameter.value)} without charset'language'")
    charset = charset.lower()
    if charset and charset not in _CHARSETS:
        raise _BadValueError(f"the charset {excerpt(charset)}")
    return charset or "utf-8", value


def _percent(value: str) -> bytes:
    bad = _BAD_PERCENT.search(value)
    if bad is not None:
        raise _BadValueError(
            f"{excerpt(value[bad.start() : bad.start() + 41])} among percent-encoded bytes"
        )
    return _PERCENT.sub(lambda match: bytes.fromhex(match[1].decode()), value.encode("ascii"))


def _decode(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset)
    except UnicodeDecodeError:
        raise _BadValueError(f"{excerpt(data)}, which is not {charset}") from None


def _check(value: str, notes: Findings) -> str:
    """Refuse controls that percent-encoding would smuggle past the check of the header itself."""
    control = CONTROL.search(value)
    if control is not None:
        got = excerpt(value[control.start() : control.start() + 41])
        detail = f"expected no control character, got {got}"
        if "\0" in value:
            notes.note("nul", detail)
        if CONTROL.search(value.replace("\0", "")):
            notes.note("control-character", detail)
    return value
