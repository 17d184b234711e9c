"""`mpflow handlers`: real distributions, as an installer would leave them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import COMMAND, PATIENCE

SOURCE = '''\
from __future__ import annotations

class Shout:
    """Gives the part, louder.

    More of it.
    """

    def __init__(self, volume: int, *words: str, style="bold", **others: str) -> None: ...

    async def __call__(self, part): ...
'''


def listed(*paths: Path, as_json: bool = True) -> tuple[int, str, str]:
    known = os.environ.get("PYTHONPATH", "")
    done = subprocess.run(
        [*COMMAND, "handlers", *(["--json"] if as_json else [])],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, paths), known])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def install(folder: Path, distribution: str, source: str, **names: str) -> Path:
    info = folder / distribution / f"{distribution}-1.5.dist-info"
    info.mkdir(parents=True)
    (info.parent / f"{distribution}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
    points = "".join(f"{name} = {value}\n" for name, value in names.items())
    (info / "entry_points.txt").write_text(f"[mpflow.handlers]\n{points}")
    return info.parent


def by_name(text: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(text)["handlers"]}


def test_what_is_installed_with_its_options(tmp_path: Path) -> None:
    given = install(tmp_path, "given", SOURCE, shout="given:Shout")
    code, out, err = listed(given)
    assert (code, err) == (0, "")
    found = by_name(out)
    assert found["save"]["distribution"] == "multipart-flow"
    assert {"json", "text", "collect", "nested", "tee", "discard"} <= found.keys()
    assert found["shout"] == {
        "name": "shout",
        "distribution": "given",
        "version": "1.5",
        "object": "given:Shout",
        "doc": "Gives the part, louder.",
        "options": [
            option("volume", "int", required=True),
            option("words", "str", many=True),
            option("style", "", default="'bold'"),
        ],
        "takes_others": True,
    }


def option(name: str, kind: str, **said: Any) -> dict[str, Any]:
    base = {"name": name, "type": kind, "default": None, "required": False, "many": False}
    return {**base, **said}


def test_the_same_as_text(tmp_path: Path) -> None:
    given = install(tmp_path, "given", SOURCE, shout="given:Shout")
    code, out, err = listed(given, as_json=False)
    assert (code, err) == (0, "")
    assert (
        "shout (given 1.5)\n"
        "    Gives the part, louder.\n"
        "    - volume: int, needed\n"
        "    - words: str, an array of any number\n"
        "    - style = 'bold'\n"
        "    - and any other\n"
    ) in out
    assert "    - directory: str | os.PathLike[str], needed\n" in out


@pytest.mark.parametrize(
    ("source", "said"),
    [("1 / 0", "cannot be imported: ZeroDivisionError"), ("Shout = 3", "is not callable: '3'")],
)
def test_one_that_is_broken_hides_no_other(tmp_path: Path, source: str, said: str) -> None:
    given = install(tmp_path, "given", source, shout="given:Shout")
    code, out, err = listed(given)
    assert code == 1
    assert err.startswith("mpflow handlers: the handler 'shout' of given (given:Shout) ")
    assert said in err
    found = by_name(out)
    assert said in found["shout"]["error"]
    assert "error" not in found["save"]


def test_a_name_that_two_claim(tmp_path: Path) -> None:
    first = install(tmp_path, "first", SOURCE, shout="first:Shout")
    second = install(tmp_path, "second", SOURCE, shout="second:Shout")
    code, _, err = listed(first, second)
    assert code == 1
    lines = [line for line in err.splitlines() if "more than once" in line]
    assert [line.rpartition("by ")[2] for line in lines] == [
        "first (first:Shout)",
        "second (second:Shout)",
    ]
