"""Any configuration at all becomes a router, or a `ConfigError`; never anything else."""

from __future__ import annotations

import datetime
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from mpflow import ConfigError, Limits, Router
from mpflow.config.matching import MATCH_KEYS
from mpflow.config.tables import ROUTE_KEYS, TOP_KEYS

NAMES = ["json", "text", "collect", "save", "tee", "nested", "digest", "discard", "none"]
WORDS = ["main", "a", "abort", "collect", "all", "none", "spool", "*", "image/*", "1 KiB", "", "é"]
OPTIONS = ["use", "directory", "name", "handlers", "router", "needs", "algorithms", "limit"]
OPTIONS += ["expected", "required", "encoding", "format", "on_error", "into", "x"]

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.booleans(),
    st.integers(-2, 5),
    st.floats(),
    st.sampled_from(WORDS + NAMES),
    st.just(datetime.date(2020, 1, 2)),
    st.none(),
)


def table(keys: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from([*keys, "x"]), values, max_size=4)


ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        table(OPTIONS, inner),
        table(MATCH_KEYS, inner),
        table(["use"], st.sampled_from(NAMES)),
    ),
    max_leaves=8,
)
MATCH = st.recursive(
    table(MATCH_KEYS[:8], SCALARS),
    lambda inner: st.fixed_dictionaries(
        {}, optional={"any": st.lists(inner), "all": st.lists(inner), "not": inner}
    ),
    max_leaves=4,
)
HANDLER = st.one_of(
    st.sampled_from(NAMES),
    st.builds(
        lambda use, options: {**options, "use": use},
        st.sampled_from(NAMES),
        table(OPTIONS, ANYTHING),
    ),
    ANYTHING,
)
ROUTE = st.one_of(
    st.fixed_dictionaries({"handler": HANDLER}, optional={"match": MATCH}),
    st.builds(
        lambda rest, match, handler: {**rest, "match": match, "handler": handler},
        table(ROUTE_KEYS, ANYTHING),
        MATCH,
        HANDLER,
    ),
    ANYTHING,
)
ROUTES = st.lists(ROUTE, max_size=4)
LIMITS = table([field.name for field in attrs.fields(Limits)], SCALARS)
CONFIG = st.one_of(
    st.fixed_dictionaries(
        {"route": ROUTES},
        optional={
            "limits": LIMITS,
            "max_handlers": SCALARS,
            "given": ANYTHING,
            "router": st.dictionaries(
                st.sampled_from(["a", "main", "b"]),
                st.fixed_dictionaries({"route": ROUTES}) | ANYTHING,
                max_size=2,
            ),
        },
    ),
    table(TOP_KEYS, ANYTHING),
    ANYTHING,
)


@given(CONFIG)
def test_a_router_or_its_faults(config: Any) -> None:
    routes: tuple[object, ...] = ()
    problems: tuple[str, ...] = ()
    try:
        routes = Router.from_config(config).routes
    except ConfigError as error:
        problems = error.problems
    assert bool(routes) != bool(problems)
    assert all(line.isprintable() for line in problems)
