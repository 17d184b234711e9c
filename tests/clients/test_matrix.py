"""Each client uploads hard names and hard bytes to each server and each framework."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.matrix.known import CLIENTS, SERVICES, Outcomes
from tests.clients.matrix.page import outcome_tables
from tests.clients.matrix.run import run
from tests.clients.matrix.senders import SENDERS
from tests.clients.matrix.versions import versions

pytestmark = pytest.mark.clients

PAGE = Path(__file__).parents[2] / "docs/reference/compatibility.md"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return run(tmp_path_factory.mktemp("matrix"))


@pytest.mark.parametrize("client", CLIENTS)
def test_what_a_client_sends_arrives_everywhere(client: str, outcomes: Outcomes) -> None:
    assert len(outcomes[client]) == sum(map(len, SERVICES.values()))
    assert {pair: it.told for pair, it in outcomes[client].items() if not it.is_right} == {}


def test_the_page_says_what_came(outcomes: Outcomes) -> None:
    text = PAGE.read_text("utf-8")
    assert outcome_tables(outcomes) in text
    for program in versions():
        assert f"\n| {program} | " in text


def test_no_client_is_left_out() -> None:
    assert tuple(SENDERS) == CLIENTS
