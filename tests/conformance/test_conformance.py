"""Every case of the suites, however it is cut, but for those that are reviewed.

Knows: the list of the reviewed, `reviewed.toml`, each with its reason.
Must not know: how a suite keeps its cases.

A valid body must give the parts that the suite names. An invalid one must be refused when strict;
otherwise it may also be accepted with a deviation that says what is wrong: never in silence.
`MPFLOW_SUITES` is the folder into which the suites were unpacked; `nox -s conformance` does that.
"""

from __future__ import annotations

import hashlib
import os
import random
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from mpflow import MultipartError
from mpflow.wire import (
    Decoder,
    Decoding,
    Head,
    Limits,
    codings_of,
    parse_content_type,
    parse_head,
)
from mpflow.wire.headers import Policy
from tests.conformance.cases import ANY, Case, Expected, cases_of
from tests.wire.observe import Outcome, bytewise, cut, observe

pytestmark = pytest.mark.conformance

CASES = cases_of(Path(os.environ["MPFLOW_SUITES"]))
REVIEWED: dict[str, str] = tomllib.loads(
    Path(__file__).with_name("reviewed.toml").read_text("utf-8")
)
MOST_REVIEWED = 0.07


def decode(case: Case, chunks: list[bytes], *, strict: bool = False) -> Outcome:
    """What comes of a case; raises for a content type that is refused."""
    policy = Policy(strict=strict, tolerate=case.tolerate)
    boundary = parse_content_type(case.content_type, policy=policy).boundary
    assert boundary is not None
    decoder = Decoder(boundary, strict=strict, tolerate=case.tolerate, subtype="form-data")
    return observe(decoder, chunks)


def parts_of(case: Case, outcome: Outcome) -> list[Expected]:
    """The parts, as the suites write them."""
    found: list[Expected] = []
    for part in outcome.parts:
        head = parse_head(part.raw, form=True, policy=Policy(tolerate=case.tolerate))
        digest = hashlib.sha256(undone(part.data, head)).hexdigest()
        kind = head.headers.get("Content-Type")
        found.append(Expected(head.name, head.filename, kind, digest))
    return found


def undone(data: bytes, head: Head) -> bytes:
    """A body without its transfer encoding."""
    limits = Limits()
    decoding = Decoding(
        codings_of(head.headers, content=False),
        max_bytes=limits.max_decoded_bytes,
        max_ratio=limits.max_decoded_ratio,
    )
    decoding.receive_data(data)
    pieces: list[bytes] = []
    while not decoding.is_done:
        if decoding.needs_data:
            decoding.receive_eof()
        pieces.append(decoding.next_data())
    return b"".join(pieces)


def miss(case: Case) -> str | None:
    """What is not as the suite says; None where all is."""
    try:
        outcome = decode(case, [case.body])
    except MultipartError as error:
        return None if case.parts is None else f"refused: {error}"
    if case.parts is None:
        if outcome.error is None and not outcome.deviations:
            return "accepted in silence"
        if decode(case, [case.body], strict=True).error is None:
            return "accepted when strict"
        return None
    if outcome.error is not None:
        return f"refused: {outcome.error[-1]}"
    parts = parts_of(case, outcome)
    if len(parts) != len(case.parts):
        return f"expected {len(case.parts)} parts, got {len(parts)}"
    found = [
        attrs.evolve(part, content_type=ANY) if expected.content_type == ANY else part
        for part, expected in zip(parts, case.parts, strict=True)
    ]
    return None if found == case.parts else f"expected {case.parts}, got {found}"


def chunkings(data: bytes) -> Iterator[list[bytes]]:
    """Byte by byte, in chunks of 2, 3 and 7, and in random cuts."""
    yield bytewise(data)
    for size in (2, 3, 7):
        yield cut(data, size)
    chance = random.Random(len(data))
    for _ in range(20):
        places = sorted(chance.choices(range(len(data) + 1), k=chance.randint(1, 9)))
        yield [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def test_every_suite_is_there() -> None:
    suites = Counter(case.id.partition("-")[0] for case in CASES)
    assert suites == {"forms": 58, "http": 33, "browsers": 5}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case(case: Case) -> None:
    found = miss(case)
    if case.id in REVIEWED:
        assert found is not None, "it passes, and has no place in reviewed.toml any more"
    else:
        assert found is None, found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_however_it_is_cut(case: Case) -> None:
    try:
        whole = decode(case, [case.body])
    except MultipartError:
        assert case.parts is None or case.id in REVIEWED  # its content type is refused
        return
    for chunks in chunkings(case.body):
        assert decode(case, chunks) == whole


def test_what_is_reviewed_is_little_and_has_its_reason() -> None:
    assert REVIEWED.keys() <= {case.id for case in CASES}
    assert len(REVIEWED) <= MOST_REVIEWED * len(CASES)
    assert all(len(reason.split()) > 5 for reason in REVIEWED.values())
