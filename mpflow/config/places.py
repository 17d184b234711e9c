"""Places in a configuration, what is wrong there, and how that is said.

Knows: keys, indexes, lines. Must not know: what a key means.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, cast

import attrs

from mpflow.config.lines import Steps
from mpflow.errors import ConfigError, excerpt

__all__ = ["Place", "Problems", "shown"]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


@attrs.define(eq=False)
class Problems:
    """All that is wrong with one configuration.

    `file` is what its file is called, and `lines` where each place is in it.
    """

    file: str | None = None
    lines: Mapping[Steps, int] = attrs.field(factory=dict[Steps, int])
    found: list[tuple[Steps, str]] = attrs.field(factory=list[tuple[Steps, str]], init=False)

    @property
    def root(self) -> Place:
        return Place(self, ())

    def check(self) -> None:
        """`ConfigError` with everything, if there is anything."""
        if self.found:
            # Those of one line stay in the order in which they were found.
            ordered = sorted(self.found, key=lambda problem: self.line_of(problem[0]))
            raise ConfigError([self._said(steps, text) for steps, text in ordered])

    def line_of(self, steps: Steps) -> int:
        """The line of a place, or of the closest one around it that has a line; 0: none has."""
        for end in range(len(steps), 0, -1):
            line = self.lines.get(steps[:end])
            if line is not None:
                return line
        return 1 if self.lines else 0

    def _said(self, steps: Steps, text: str) -> str:
        where = f"{place_name(steps)}: " if steps else ""
        if self.file is None:
            return where + text
        return f"{self.file}:{self.line_of(steps) or 1}: {where}{text}"


@attrs.frozen(eq=False)
class Place:
    """One place: what the keys and indexes in `steps` lead to."""

    problems: Problems
    steps: Steps

    def at(self, *steps: str | int) -> Place:
        """A place inside this one."""
        return Place(self.problems, (*self.steps, *steps))

    def problem(self, text: str) -> None:
        self.problems.found.append((self.steps, text))

    def table(self, value: object, what: str) -> Mapping[str, object] | None:
        """The value if it is a table; else that is a problem, and None is given."""
        if not isinstance(value, Mapping):
            self.problem(f"expected {what}, got {shown(value)}")
            return None
        table = cast("Mapping[object, object]", value)
        odd = [key for key in table if not isinstance(key, str)]
        for key in odd:
            self.problem(f"expected keys as str, got {shown(key)}")
        return None if odd else cast("Mapping[str, object]", table)

    def array(self, value: object, what: str) -> Iterable[tuple[Place, object]]:
        """The items of an array and their places; anything else is a problem, and has none."""
        if not isinstance(value, list | tuple):
            self.problem(f"expected {what}, got {shown(value)}")
            return
        for index, item in enumerate(cast("list[object]", value)):
            yield self.at(index), item

    def refuse_others(self, table: Mapping[str, object], known: Collection[str], of: str) -> None:
        """Each key of the table that is not known is a problem."""
        for key in table:
            if key not in known:
                self.at(key).problem(
                    f"unknown key {excerpt(key)} of {of}{did_you_mean(key, known)}"
                )


def did_you_mean(word: str, known: Collection[str]) -> str:
    """What was probably meant, and all that there is."""
    close = difflib.get_close_matches(word, known, 1, 0.6)
    meant = f", did you mean {close[0]!r}?" if close else ""
    there = ", ".join(known)
    return f"{meant} (expected: {there})" if there else f"{meant} (expected none)"


def shown(value: Any) -> str:
    """A value as a message shows it."""
    text = value if isinstance(value, str) else repr(value)
    quoted = excerpt(text)
    return quoted if isinstance(value, str) or len(quoted) > 42 else quoted[1:-1]


def place_name(steps: Steps) -> str:
    """`route[2].match."a key"`; indexes count from 0."""
    name = ""
    for step in steps:
        if isinstance(step, int):
            name += f"[{step}]"
        else:
            key = step if _BARE.fullmatch(step) else excerpt(step)
            name += f".{key}" if name else key
    return name
