"""The page that says who was tried with whom has the shape of a run in which all went well.

Knows: the rules of the matrix, tests/clients/matrix. Must not know: how it is run, which takes
clients and minutes: tests/clients/test_matrix.py.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.clients.matrix.hard import ENTRIES, Entry
from tests.clients.matrix.judge import refused, whole
from tests.clients.matrix.known import (
    CLIENTS,
    FRAMEWORKS,
    NAMES_OF_SERVERS,
    SERVICES,
    Answer,
    Outcome,
    Outcomes,
)
from tests.clients.matrix.page import outcome_tables, page
from tests.clients.matrix.rules import HINDERED, LEFT_OUT, arriving, sendable

PAGE = Path(__file__).parents[1] / "docs/reference/compatibility.md"


def by_rules() -> Outcomes:
    """What a run gives where all is as it must be."""
    pairs = [(server, framework) for server, them in SERVICES.items() for framework in them]
    return {
        client: {
            pair: Outcome(
                is_right=True,
                parts=tuple(arriving(client, it) for it in sendable(client, ENTRIES)),
            )
            for pair in pairs
        }
        for client in CLIENTS
    }


def test_the_page_holds_every_client_server_and_framework() -> None:
    text = PAGE.read_text("utf-8")
    assert outcome_tables(by_rules()) in text
    versions = dict(re.findall(r"^\| ([^|]+) \| (\d[^ |]*) \|$", text, re.MULTILINE))
    programs = " ".join(versions).lower().replace("-", "_")
    taking_part = {*SERVICES, *FRAMEWORKS, *CLIENTS} - {"asgi"}
    assert [it for it in taking_part if re.split("[,-]", it)[0].lower() not in programs] == []
    system = text[text.index("\n| system | ") :].strip().split(" | ")[1]
    assert text == page(by_rules(), {**versions, "system": system.removesuffix(" |")})


def test_who_takes_part_is_named() -> None:
    assert set(SERVICES) == set(NAMES_OF_SERVERS)
    assert {framework for them in SERVICES.values() for framework in them} == set(FRAMEWORKS)
    assert {client for client, _ in HINDERED} | set(LEFT_OUT) < set(CLIENTS)


def test_a_run_in_which_something_fails_says_so() -> None:
    outcomes = {client: dict(found) for client, found in by_rules().items()}
    outcomes["Go"]["granian", "falcon"] = Outcome(is_right=False)
    assert outcome_tables(outcomes).count("**no**") == 1


def told(*entries: Entry) -> str:
    """What a service tells of a client that changes no name."""
    return json.dumps({
        "parts": [
            {
                "name": it.name,
                "filename": it.filename,
                "size": len(it.data),
                "sha256": hashlib.sha256(it.data).hexdigest(),
            }
            for it in entries
        ]
    })  # fmt: skip


SENT = [Entry("a", None, b"1"), Entry("b", "x.txt", b"2")]


@pytest.mark.parametrize(
    "came",
    [
        [SENT[0]],
        [*SENT, SENT[1]],
        [SENT[1], SENT[0]],
        [SENT[0], Entry("b", None, b"2")],
        [SENT[0], Entry("b", "x.txt", b"3")],
        [Entry("A", None, b"1"), SENT[1]],
    ],
)
def test_what_is_not_as_it_was_sent_is_wrong(came: list[Entry]) -> None:
    assert whole("requests", SENT, Answer(200, told(*SENT))).is_right
    assert not whole("requests", SENT, Answer(200, told(*came))).is_right
    assert not whole("requests", SENT, Answer(400, told(*SENT))).is_right


def test_only_the_refusal_of_a_dropped_body_is_the_right_one() -> None:
    assert refused(Answer(400, '{"error": "EmptyBody"}')).is_right
    assert not refused(Answer(400, "Invalid HTTP request received.")).is_right
    assert not refused(Answer(0, "EmptyBody")).is_right
    assert not refused(Answer(200, told(*SENT))).is_right
