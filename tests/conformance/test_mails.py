"""`mpflow inspect` on real mails: the trees that the standard library sees, whole and cut.

Knows: the list of the reviewed, `reviewed_mails.toml`, each with its reason.
Must not know: where the mails come from.

`MPFLOW_SUITES` is the folder into which the collections were unpacked; `nox -s conformance` does
that.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from mpflow.cli import main
from tests.conformance.mails import COLLECTIONS, Mail, leaves, mails_of, top_delimiters

pytestmark = pytest.mark.conformance

MAILS = mails_of(Path(os.environ["MPFLOW_SUITES"]))
MULTIPART = [mail for mail in MAILS if mail.parts is not None]
REVIEWED: dict[str, str] = tomllib.loads(
    Path(__file__).with_name("reviewed_mails.toml").read_text("utf-8")
)

Inspect: TypeAlias = Callable[[bytes], tuple[int, Any, str]]


@pytest.fixture
def inspect(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Inspect:
    """Runs the command: its exit code, its document, and what it said on stderr."""

    def run(data: bytes) -> tuple[int, Any, str]:
        file = tmp_path / "mail"
        file.write_bytes(data)
        code = main(["inspect", "--json", str(file)])
        out, err = capfd.readouterr()
        return code, json.loads(out), err

    return run


def test_every_collection_is_there() -> None:
    found = {name: sum(mail.id.startswith(f"{name}-") for mail in MAILS) for name in COLLECTIONS}
    assert found == {
        "django-mailbox": 21,
        "lamson": 4,
        "mail-parser": 23,
        "mailman": 13,
        "salmon": 3,
        "talon": 13,
    }
    assert len({mail.id for mail in MAILS}) == len(MAILS)


@pytest.mark.parametrize("mail", MULTIPART, ids=lambda mail: mail.id)
def test_the_tree(mail: Mail, inspect: Inspect) -> None:
    code, told, err = inspect(mail.data)
    found = list(leaves(told["parts"]))
    assert mail.parts is not None
    misses = [(a, b) for a, b in zip_longest(mail.parts, found) if a != b]
    if mail.id in REVIEWED:
        assert code or misses, "it passes, and has no place in reviewed_mails.toml any more"
        assert code in (0, 1)
        # What went wrong is said, in a line each.
        assert len(err.splitlines()) == len(told["problems"]) + ("error" in told)
    else:
        assert (code, misses) == (0, []), err


@pytest.mark.parametrize(
    "mail", [mail for mail in MAILS if mail.parts is None], ids=lambda mail: mail.id
)
def test_no_multipart(mail: Mail, inspect: Inspect) -> None:
    code, told, err = inspect(mail.data)
    assert (code, told["parts"]) == (1, [])
    assert "expected" in told["error"]["message"]
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "mail", [mail for mail in MULTIPART if mail.id not in REVIEWED], ids=lambda mail: mail.id
)
def test_a_mail_that_is_cut(mail: Mail, inspect: Inspect) -> None:
    _, whole, _ = inspect(mail.data)
    all_leaves = [leaf for leaf in leaves(whole["parts"]) if leaf.sha256 is not None]
    *delimiters, end = top_delimiters(mail)
    start = whole["body_start"]
    places = {start // 2, start, end - 1, *delimiters}
    places |= {start + (end - start) * part // 5 for part in range(1, 5)}
    for place in sorted(places):
        code, told, err = inspect(mail.data[:place])
        assert code == 1
        assert 0 <= told["error"]["offset"] <= place
        assert "at byte" in err.splitlines()[-1]
        # A part is whole once the delimiter behind it is: part n by the delimiter n + 1.
        count = sum(delimiter <= place for delimiter in delimiters[1:])
        assert told["parts"][:count] == whole["parts"][:count]
        found = [leaf for leaf in leaves(told["parts"]) if leaf.sha256 is not None]
        assert found == all_leaves[: len(found)]


def test_what_is_reviewed_has_its_reason() -> None:
    there = {mail.id for mail in MULTIPART}
    assert {id for id in REVIEWED if not id.startswith("cpython")} <= there
    assert all(len(reason.split()) > 5 for reason in REVIEWED.values())
