"""The benchmarks can be run, and a report made of what they tell; what they tell is not judged."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.benchmarks import bodies, report
from tests.benchmarks.__main__ import main, verdict
from tests.benchmarks.bodies import Body
from tests.benchmarks.goals import GOALS, Goal, judge, slow
from tests.benchmarks.peers import ours
from tests.benchmarks.profiles import MOST, profile
from tests.benchmarks.reading import READING
from tests.benchmarks.runner import Missing, Plan, profiles, run
from tests.benchmarks.scenario import Peer, Result, Scenario
from tests.benchmarks.scenarios import SCENARIOS
from tests.benchmarks.tables import goals_table, profiles_tables
from tests.benchmarks.timing import Clock, measured, on, plain

DOCS = Path(__file__).parents[1] / "docs"
POINTS = [f"reader-asyncio at {depth}" for depth in (1, 4, 16)]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a tiny run tells: one scenario, one plot, mpflow alone."""
    path = tmp_path_factory.mktemp("benchmarks") / "result.json"
    peers = ",".join(["decoder", *POINTS])
    options = ["--quick", "--profile", "--only", "S6,G-depth", "--peers", peers]
    assert main([*options, "--out", str(path)]) == 0
    return path


def test_a_run_tells_what_where_and_how_long(result: Path) -> None:
    told = json.loads(result.read_text())
    assert told["command"].startswith("python -m tests.benchmarks --quick --profile --only S6")
    assert told["rounds"] == 1
    assert told["machine"]["cores"] >= 1
    assert "anyio" in told["interpreters"]["main"]["distributions"]
    assert told["failed"] == []
    median = told["scenarios"]["S6"]["peers"]["decoder"]["median"]
    assert (median["parts"], median["bytes"]) == (125, 125 * 1024)
    assert median["first"] > 0
    assert 0 < median["seconds"] < 60
    points = told["scenarios"]["G-depth"]["peers"]
    assert sorted(point["median"]["x"] for point in points.values()) == [1, 4, 16]


def test_its_report_has_tables_and_plots(result: Path, tmp_path: Path) -> None:
    shutil.copy(DOCS / "performance.md", tmp_path)
    assert report.main([str(result), "--docs", str(tmp_path)]) == 0
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert "| decoder |" in page.partition("<!-- S6 begins -->")[2].partition("<!-- S6 ends -->")[0]
    assert "](performance/G-depth.svg)" in page
    plot = tmp_path / "performance" / "G-depth.svg"
    assert ElementTree.parse(plot).getroot().tag == "{http://www.w3.org/2000/svg}svg"

    # The same result makes the same files again.
    before = plot.read_bytes()
    assert report.main([str(result), "--docs", str(tmp_path)]) == 0
    assert (tmp_path / "performance.md").read_text(encoding="utf-8") == page
    assert plot.read_bytes() == before


def test_the_page_has_a_place_for_every_scenario() -> None:
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    report.fill(page, dict.fromkeys(["machine", "goals", "profiles", *SCENARIOS], ""))
    with pytest.raises(LookupError):
        report.fill(page, {"S0": ""})


def test_every_goal_is_of_a_peer_that_there_is() -> None:
    for goal in GOALS:
        peers = {peer.name for peer in SCENARIOS[goal.scenario].peers}
        lines = {name.partition(" at ")[0] for name in peers}
        assert goal.ours in (lines if goal.exponent else peers), goal
        if goal.theirs is not None:
            theirs = {peer.name for peer in SCENARIOS[goal.of or goal.scenario].peers}
            assert goal.theirs in theirs, goal


@pytest.mark.parametrize("scenario", READING, ids=lambda scenario: scenario.name)
def test_every_scenario_is_run_by_the_decoder_or_the_reader(scenario: Scenario) -> None:
    names = {peer.name for peer in scenario.peers}
    assert names & {"decoder", "reader-asyncio", "routes-1-asyncio"}


def scenarios_of(**seconds: float) -> dict[str, Any]:
    """Results of S1 with these times."""
    peers = {
        name.replace("_", "-"): {"median": {"seconds": each, "bytes": 1}}
        for name, each in seconds.items()
    }
    return {"S1": {"peers": peers}}


def test_goals_are_met_missed_and_broken() -> None:
    told = scenarios_of(decoder=1.0, find=1.0, multipart=0.6, python_multipart=0.4)
    verdicts = {
        judged.goal.theirs: (judged.met, judged.broken)
        for judged in judge(told)
        if judged.goal.scenario == "S1" and judged.goal.ours == "decoder"
    }
    assert verdicts["find"] == (True, False)
    assert verdicts["multipart"] == (False, False)
    assert verdicts["python-multipart"] == (False, True)
    assert verdicts["aiohttp-asyncio"] == (None, False)
    table = goals_table(told)
    assert "| S1 | decoder | at least 1.00 times the speed of multipart | 0.60 times |" in table
    assert "not measured" in table


def test_only_a_full_run_that_misses_a_goal_by_far_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = {"scenarios": scenarios_of(decoder=1.0, multipart=0.6), "failed": [], "quick": False}
    assert verdict(told) == 0
    assert "missed: S1, decoder at least 1.00" in capsys.readouterr().out
    told["scenarios"] = scenarios_of(decoder=1.0, multipart=0.4)
    assert verdict(told) == 1
    assert "missed by more than its slack: S1" in capsys.readouterr().out
    assert verdict(told | {"quick": True}) == 0
    failure = {"scenario": "S1", "peer": "reader-trio", "error": "wrong"}
    assert verdict(told | {"quick": True, "failed": [failure]}) == 1
    assert verdict(told | {"quick": True, "failed": [failure | {"peer": "werkzeug"}]}) == 0


def test_cost_that_grows_faster_than_the_work_is_seen() -> None:
    goal = Goal("G", "line", 1.15, most=True, exponent=True)

    def growing(power: int) -> dict[str, Any]:
        points = {
            str(x): {"median": {"line": "line", "x": x, "seconds": x**power}} for x in (1, 2, 4)
        }
        return {"G": {"peers": points}}

    assert goal.value(growing(1)) == pytest.approx(1)
    assert goal.value(growing(2)) == pytest.approx(2)
    assert goal.value({}) is None


@pytest.mark.parametrize(
    "body",
    [
        bodies.large(3000, 100), bodies.large(300, 1), bodies.tiny_fields(10, 64),
        bodies.files(3, 100), bodies.hostile("near", 4096),
    ],
)  # fmt: skip
@pytest.mark.parametrize("backend", [None, "asyncio", "trio"])
def test_our_adapters_count_what_a_body_says_it_holds(body: Body, backend: str | None) -> None:
    passes = [plain(partial(ours.decoder, body))]
    if backend is not None:
        calls = (ours.reader, ours.dispatch)
        passes = [on(backend, partial(call, body)) for call in calls]
    for each in passes:
        told = measured(each, warm=each, expected=(body.parts, body.size), quick=True)
        assert told["runs"] == 3
        with pytest.raises(AssertionError, match="expected"):
            measured(each, warm=each, expected=(body.parts, body.size + 1))


def test_the_first_byte_is_timed() -> None:
    clock = Clock()
    plain(lambda take: (0, take(b"") + take(b"a") + take(b"bc")))(clock, clock.take)
    assert clock.first is not None
    assert 0 < clock.first <= clock.seconds


def test_a_profile_tells_where_the_time_of_one_pass_goes() -> None:
    scenario = next(each for each in READING if each.name == "S6")
    told = profile(scenario, "decoder", quick=True)
    assert len(told) == MOST
    shares = [row["share"] for row in told]
    assert shares == sorted(shares, reverse=True)
    assert 0.1 < sum(shares) <= 1
    events = {row["function"]: row["calls"] for row in told}["mpflow/wire/decoder.py: next_event"]
    assert events > 125  # the parts of one pass
    assert scenario.run("decoder", True)["runs"] > 1
    assert profile(Scenario("S", "timed elsewhere", [], lambda peer, quick: {}), "any", True) == []


def test_who_misses_a_goal_of_time_is_profiled() -> None:
    told = scenarios_of(decoder=1.0, find=1.0, multipart=0.6)
    assert slow(told) == {("S1", "decoder")}
    scenario = next(each for each in SCENARIOS.values() if each.name == "S6")
    (profiled,) = profiles(Plan(scenarios=[scenario], quick=True), {("S6", "decoder"), ("S1", "x")})
    assert (profiled["scenario"], profiled["peer"]) == ("S6", "decoder")
    text = profiles_tables([profiled])
    assert text.splitlines()[0] == "| S6, decoder | own time | calls |"
    assert "`mpflow/wire/decoder.py: next_event` | " in text


def never(peer: str, quick: bool) -> Result:
    raise AssertionError("it is not run here")


def test_a_required_peer_that_is_missing_stops_the_run() -> None:
    scenario = Scenario("S", "a scenario", [Peer("absent", "no-such-distribution")], never)
    with pytest.raises(Missing, match="no-such-distribution"):
        run(Plan(scenarios=[scenario]), [])


def test_peers_that_can_be_missing_are_named() -> None:
    absent = Peer("absent", "no-such-distribution", required=False)
    newer = Peer("kirimi@new", "kirimi-multipart", new=True)
    told = run(Plan(scenarios=[Scenario("S", "a scenario", [absent, newer], never)]), [])
    assert told["skipped"] == {
        "absent": "no-such-distribution is not installed",
        "kirimi@new": "no newer interpreter was given",
    }
    assert told["scenarios"]["S"]["peers"] == {}
