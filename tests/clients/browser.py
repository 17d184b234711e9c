"""Chromium, driven by playwright-core: what a test tells it, and what it sees there.

Knows: the script that drives it. Must not know: what is on a page. A browser that is missing is an
error.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Browser", "browser"]


class Browser:
    """One page at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, order: str, **told: Any) -> Any:
        """Give an order and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"order": order, **told}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "expected an answer of the driver, and it has ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def open(self, url: str, **options: Any) -> int:
        """A new page without a past; the status of the answer."""
        return self.tell("open", url=url, options=options)

    def call(self, path: str, *args: Any) -> Any:
        """A method of playwright's page, such as `keyboard.press`."""
        return self.tell("call", path=path.split("."), args=args)

    def follow(self, path: str, *args: Any) -> int:
        """The same, where it leads to another page; the status of that."""
        return self.tell("follow", path=path.split("."), args=args)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.call("keyboard.press", key)

    def files(self, paths: Sequence[Path]) -> None:
        """Choose files."""
        self.call("setInputFiles", "#files", [str(path) for path in paths])

    def text(self, selector: str) -> str:
        """The text of an element as it is seen."""
        return self.call("innerText", selector)

    def texts(self, selector: str) -> list[str]:
        """The texts of all such elements."""
        return self.call("evaluate", f"[...document.querySelectorAll({json.dumps(selector)})]"
                         ".map((element) => element.innerText.trim())")  # fmt: skip

    def wait(self, selector: str) -> None:
        """Wait until there is such an element, and it is visible."""
        self.call("waitForSelector", selector)

    def until(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        self.tell("until", condition=condition)

    def focused(self) -> str:
        """The id of the element that has the focus."""
        return self.call("evaluate", "document.activeElement.id")


@contextmanager
def browser() -> Iterator[Browser]:
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    assert binary is not None, "expected chromium to be installed"
    script = Path(__file__).with_name("browser.mjs")
    with subprocess.Popen(
        ["node", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CHROMIUM": binary},
    ) as process:
        try:
            yield Browser(process)
            process.communicate()  # closes what it reads
            assert process.returncode == 0
        finally:
            process.kill()
