"""On which line of a TOML text each key and each item of an array stands.

Knows: the grammar of TOML as far as it says where things begin. `tomllib` tells values, not places.
Must not know: what keys mean. The text must be valid: `tomllib` has read it before.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import Final, TypeAlias

import attrs

__all__ = ["Steps", "find_lines"]

Steps: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead to a place, outermost first: `("route", 0, "match")`."""

_SPACE: Final = re.compile(r"[ \t]*")
_GAP: Final = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
# Up to five quotes end a multi-line string: the last three of them, the others are its own.
_STRING: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*+"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*+'{3,5}"
    r'|"(?:[^"\\]|\\.)*+"'
    r"|'[^']*+'",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]+")  # a date and its time may have a space between them


def find_lines(text: str) -> dict[Steps, int]:
    """The lines, from 1, of all keys, tables and items of arrays; of tables, where they begin."""
    text = text.replace("\r\n", "\n")
    breaks = [match.start() for match in re.finditer("\n", text)]
    scanner = _Scanner(text)
    scanner.scan()
    return {steps: bisect_right(breaks, at - 1) + 1 for steps, at in scanner.places.items()}


@attrs.define(eq=False)
class _Scanner:
    """Walks over a text once; `at` is how far it has come."""

    text: str
    at: int = 0
    places: dict[Steps, int] = attrs.field(factory=dict[Steps, int])
    counts: dict[Steps, int] = attrs.field(factory=dict[Steps, int])
    """How many tables each array of tables has so far."""

    def scan(self) -> None:
        table: Steps = ()
        self.skip(_GAP)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip(_GAP)

    def header(self) -> Steps:
        """`[a.b]` or `[[a.b]]`; what it is the head of."""
        begun = self.at
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        steps: Steps = ()
        for key in self.key():
            # What stands in an array of tables stands in the last of them.
            steps = (*self.last(steps), key)
            self.note(steps, begun)
        if is_array:
            index = self.counts[steps] = self.counts.get(steps, -1) + 1
            steps = (*steps, index)
            self.note(steps, begun)
        else:
            steps = self.last(steps)
        self.at = self.text.index("]", self.at) + (2 if is_array else 1)
        return steps

    def pair(self, table: Steps) -> None:
        begun, steps = self.at, table
        for key in self.key():
            steps = (*steps, key)
            self.note(steps, begun)
        self.at += 1  # the equals sign
        self.skip(_SPACE)
        self.value(steps)

    def key(self) -> list[str]:
        """A key with or without dots; `at` is behind it and the spaces after it."""
        keys: list[str] = []
        while True:
            self.skip(_SPACE)
            if (bare := _BARE.match(self.text, self.at)) is not None:
                keys.append(bare[0])
                self.at = bare.end()
            else:
                quoted = self.skip(_STRING)
                (key,) = tomllib.loads(f"{quoted} = 0")
                keys.append(key)
            self.skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return keys
            self.at += 1

    def value(self, steps: Steps) -> None:
        start = self.text[self.at]
        if start == "[":
            self.array(steps)
        elif start == "{":
            self.inline_table(steps)
        elif start in "\"'":
            self.skip(_STRING)
        else:
            self.skip(_SCALAR)

    def array(self, steps: Steps) -> None:
        self.at += 1
        index = 0
        while True:
            self.skip(_GAP)
            if self.text[self.at] == "]":
                break
            self.note((*steps, index), self.at)
            self.value((*steps, index))
            self.skip(_GAP)
            if self.text[self.at] == ",":
                self.at += 1
            index += 1
        self.at += 1

    def inline_table(self, steps: Steps) -> None:
        self.at += 1
        while True:
            self.skip(_GAP)
            if self.text[self.at] == "}":
                break
            self.pair(steps)
            self.skip(_GAP)
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        assert match is not None  # the text is valid
        self.at = match.end()
        return match[0]

    def note(self, steps: Steps, at: int) -> None:
        self.places.setdefault(steps, at)

    def last(self, steps: Steps) -> Steps:
        return (*steps, self.counts[steps]) if steps in self.counts else steps
