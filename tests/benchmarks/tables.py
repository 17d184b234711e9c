"""A result as tables in Markdown: one a scenario, the goals, the machine.

Knows: how figures are rounded and named. Must not know: files, plots, how anything is measured.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tests.benchmarks.goals import Goal, Judged, judge
from tests.benchmarks.scenario import MIB

__all__ = ["goals_table", "machine_table", "missed", "profiles_tables", "scenario_table"]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Where a class of C's lies in memory: of no use to who reads a profile."""

OURS = {"anyio", "attrs", "multidict", "trio", "uvloop"}
"""What mpflow itself stands on, beside those whom it is measured with."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table: so many columns of words on the left, then figures on the right."""
    rule = [*["---"] * words, *["--:"] * (len(head) - words)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def scenario_table(scenario: Mapping[str, Any]) -> str:
    """What each peer of one scenario took, the quickest first."""
    medians = {name: peer["median"] for name, peer in scenario["peers"].items()}
    if any("speeds" in median for median in medians.values()):
        return _speeds(medians)
    ordered = sorted(medians.items(), key=lambda item: float(item[1]["seconds"]))
    has_parts = any(median.get("parts", 0) > 1 for median in medians.values())
    head = ["", "ms", "MiB/s", *["µs a part"] * has_parts, "CPU ms", "memory MiB", "first byte ms"]
    return table(head, (_row(name, median, has_parts) for name, median in ordered))


def _row(name: str, median: Mapping[str, Any], has_parts: bool) -> list[str]:
    seconds = median["seconds"]
    row = [name, figure(seconds * 1e3)]
    row.append(figure(median["wire"] / seconds / MIB) if median.get("wire") else "")
    if has_parts:
        row.append(figure(seconds / median["parts"] * 1e6) if median.get("parts") else "")
    row.append(_times(median.get("cpu"), 1e3))
    row.append(_times(median.get("peak"), 1 / MIB))
    row.append(_times(median.get("first"), 1e3))
    return row


def _speeds(medians: Mapping[str, Any]) -> str:
    """MiB/s of each boundary and body, by the size of the chunks."""
    (median,) = medians.values()
    speeds: Mapping[str, Mapping[str, float]] = median["speeds"]
    chunks = list(next(iter(speeds.values())))
    head = [
        "boundary / body: MiB/s in chunks of",
        *(f"{int(chunk) // 1024} KiB" for chunk in chunks),
    ]
    return table(
        head, ([name, *(figure(row[chunk]) for chunk in chunks)] for name, row in speeds.items())
    )


def goals_table(scenarios: Mapping[str, Any]) -> str:
    """Every goal beside what was measured; the memory of all scenarios in one line each peer."""
    rows: list[list[str]] = []
    memory: dict[str, list[Judged]] = {}
    for judged in judge(scenarios):
        if judged.goal.key == "peak" and judged.goal.theirs is None:
            memory.setdefault(judged.goal.ours, []).append(judged)
        else:
            rows.append([*_words(judged.goal), _value(judged.goal, judged.value), _verdict(judged)])
    for ours, several in memory.items():
        known = [judged for judged in several if judged.value is not None]
        worst = max(known or several, key=lambda judged: judged.value or 0)
        goal = f"at most {_value(worst.goal, worst.goal.bound)} of memory"
        names = list(dict.fromkeys(judged.goal.scenario for judged in several))
        which = "all" if len(names) > 1 else names[0]
        where = f" ({worst.goal.scenario})" if known else ""
        value = _value(worst.goal, worst.value) + where
        rows.append([which, ours, goal, value, _verdict(worst)])
    return table(["scenario", "who", "goal", "measured", ""], rows, words=3)


def missed(scenarios: Mapping[str, Any], *, broken: bool = False) -> list[str]:
    """A line for each goal that is missed; with `broken`, by more than the slack."""
    return [
        f"{judged.goal.scenario}, {' '.join(_words(judged.goal)[1:])}: "
        f"{_value(judged.goal, judged.value)}"
        for judged in judge(scenarios)
        if judged.met is False and (judged.broken or not broken)
    ]


def profiles_tables(profiles: Iterable[Mapping[str, Any]]) -> str:
    """A table for each profile: the functions in which most of a pass is spent."""
    return "\n\n".join(
        table(
            [f"{profile['scenario']}, {profile['peer']}", "own time", "calls"],
            (
                [
                    f"`{_ADDRESS.sub('', row['function'])}`",
                    f"{row['share']:.0%}",
                    f"{row['calls']:,}",
                ]
                for row in profile["rows"]
            ),
        )
        for profile in profiles
    )


def machine_table(result: Mapping[str, Any], packages: Collection[str]) -> str:
    """Where and of what it was measured; of what is installed, the packages that count."""
    machine = result["machine"]
    main, new = result["interpreters"]["main"], result["interpreters"].get("new")
    rows = [
        ["command", f"`{result['command']}`"],
        ["commit", f"`{result['commit']}`"],
        ["measured", f"{result['when']}, in {result['took']} s, {result['rounds']} rounds"],
        ["machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"],
        ["Python", main["python"] + (f"; new: {new['python']}" if new else "")],
    ]
    rows += [["left out", f"{name}: {why}"] for name, why in sorted(result["skipped"].items())]
    rows += [["failed", line] for line in _failures(result["failed"])]
    for each in (main, new) if new else (main,):
        versions = (
            f"{name} {version}"
            for name, version in each["distributions"].items()
            if name in OURS or name in packages
        )
        rows.append([f"on {each['python']}", ", ".join(versions)])
    lines = [f"| {name} | {value} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _failures(failed: Iterable[Mapping[str, str]]) -> list[str]:
    """Each failure once, whatever the number of rounds."""
    told = (f"{each['peer']} in {each['scenario']}: {each['error']}" for each in failed)
    return list(dict.fromkeys(told))


def _words(goal: Goal) -> list[str]:
    """The scenario, who, and the goal in words."""
    if goal.exponent:
        return [goal.scenario, goal.ours, f"grows with an exponent of at most {goal.bound}"]
    bound = _value(goal, goal.bound)
    if goal.theirs is None:
        what = " to the first byte" if goal.key == "first" else ""
        return [goal.scenario, goal.ours, f"{'at most' if goal.most else 'at least'} {bound}{what}"]
    what = {"seconds": "time", "cpu": "CPU", "peak": "memory"}[goal.key]
    if goal.most:
        return [goal.scenario, goal.ours, f"at most {bound} the {what} of {goal.theirs}"]
    return [goal.scenario, goal.ours, f"at least {bound} the speed of {goal.theirs}"
            + (f" in {goal.of}, by the byte" if goal.of else "")]  # fmt: skip


def _value(goal: Goal, value: float | None) -> str:
    if value is None:
        return "not measured"
    if goal.exponent:
        return f"{value:.2f}"
    if goal.theirs is not None:
        return f"{value:.2f} times"
    units = {"peak": (1 / MIB, "MiB"), "first": (1e3, "ms"), "slowest": (1, "MiB/s")}
    scale, unit = units.get(goal.key, (1, "s"))
    return f"{figure(value * scale)} {unit}"


def _verdict(judged: Judged) -> str:
    return {None: "", True: "met", False: "**missed**"}[judged.met]


def _times(value: float | None, scale: float) -> str:
    return "" if value is None else figure(value * scale)


def figure(value: float) -> str:
    """Three digits that count, no more."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
