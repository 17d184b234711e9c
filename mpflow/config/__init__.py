"""Routers from a mapping, or from a TOML file.

Knows: how a file is read. Must not know: what stands in it (`tables.py`).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, TypeVar

from mpflow.config.lines import find_lines
from mpflow.config.places import Problems
from mpflow.config.tables import read_router
from mpflow.errors import ConfigError, RouteError, excerpt
from mpflow.router import RouteTable

__all__ = ["router_of", "router_of_toml"]

R = TypeVar("R", bound=RouteTable)

_AT: Final = re.compile(r"\(at line (\d+), column \d+\)$")  # else it is the end of the document


def router_of(
    make: Callable[..., R],
    config: Mapping[str, object],
    *,
    given: Collection[str] | None = None,
) -> R:
    """The router that a mapping stands for; `make` makes an empty one.

    `given` are the keys that a dispatch will be given; None: those that the configuration says.
    """
    return _router(make, config, Problems(), given)


def router_of_toml(
    make: Callable[..., R],
    path: str | os.PathLike[str],
    *,
    given: Collection[str] | None = None,
) -> R:
    """The router that a TOML file stands for. `OSError` where it cannot be read."""
    file = os.fspath(path)
    data = Path(path).read_bytes()
    shown = file if file.isprintable() else excerpt(file, limit=200)
    try:
        text = data.decode()
        config = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{shown}:{line}: expected UTF-8, got the byte {data[error.start]:#04x}"]
                          ) from None  # fmt: skip
    except RecursionError:
        raise _too_deep(f"{shown}:1: ") from None
    except tomllib.TOMLDecodeError as error:
        at = _AT.search(str(error))
        line = int(at[1]) if at else data.rstrip().count(b"\n") + 1
        raise ConfigError([f"{shown}:{line}: expected TOML: {error}"]) from None
    try:
        problems = Problems(shown, find_lines(text))
    except RecursionError:
        raise _too_deep(f"{shown}:1: ") from None
    return _router(make, config, problems, given)


def _router(
    make: Callable[..., R],
    config: Mapping[str, object],
    problems: Problems,
    given: Collection[str] | None,
) -> R:
    if isinstance(given, str):
        raise RouteError(f"expected given as keys, got the str {excerpt(given)}")
    try:
        router = read_router(make, problems.root, config, given=given)
    except RecursionError:
        raise _too_deep("" if problems.file is None else f"{problems.file}:1: ") from None
    problems.check()
    return router


def _too_deep(where: str) -> ConfigError:
    return ConfigError([f"{where}expected arrays and tables in fewer others, got too many levels"])
