"""The dispatch: `Router`, and the flows that it makes.

Knows: that a router is a table of routes with flows over it. Must not know: how a flow runs.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, Literal, Self, TypeVar, overload

from mpflow.config import router_of, router_of_toml
from mpflow.dependencies import checked_given
from mpflow.flow.branches import Branches
from mpflow.flow.decisions import COMMIT_TIMEOUT, ROLLBACK_TIMEOUT
from mpflow.flow.flow import Flow
from mpflow.reader import MultipartReader
from mpflow.results import Results
from mpflow.router import RouteTable

__all__ = ["COMMIT_TIMEOUT", "ROLLBACK_TIMEOUT", "Branches", "Flow", "Router"]


T = TypeVar("T")


class Router(RouteTable):
    """Sends each part of a message to a handler, by predicates over its headers.

    `limits` bound every message that is dispatched; a reader with limits of its own gets the
    tighter of each. `max_handlers` is how many handlers of one level run at once;
    `observer` is called with a report of each thing that happens (`mpflow.reports`).
    """

    @classmethod
    def from_config(
        cls, config: Mapping[str, object], *, given: Collection[str] | None = None
    ) -> Self:
        """The router that a configuration stands for: what `tomllib` makes of a file.

        Handlers are named as they are installed (`load_handler`). In place of what TOML can say,
        values may be what Python has: a handler, a predicate, a router, a handler's options.
        `ConfigError` has all faults at once. The reference lists every key.

        `given` are the keys that `dispatch` will be given: where the configuration counts on
        others, that is a fault. None (the default) takes what it says.
        """
        return router_of(cls, config, given=given)

    @classmethod
    def from_toml(
        cls, path: str | os.PathLike[str], *, given: Collection[str] | None = None
    ) -> Self:
        """The same from a TOML file; each fault is told with its line.

        It blocks while it reads the file; `OSError` where it cannot.
        """
        return router_of_toml(cls, path, given=given)

    @overload
    async def dispatch(
        self,
        reader: MultipartReader,
        *,
        into: None = None,
        given: Mapping[str, object] | None = None,
        independent: bool = False,
        epilogue: Literal["read", "ignore"] = "read",
    ) -> Results: ...

    @overload
    async def dispatch(
        self,
        reader: MultipartReader,
        *,
        into: type[T],
        given: Mapping[str, object] | None = None,
        independent: bool = False,
        epilogue: Literal["read", "ignore"] = "read",
    ) -> T: ...

    async def dispatch(
        self,
        reader: MultipartReader,
        *,
        into: type[Any] | None = None,
        given: Mapping[str, object] | None = None,
        independent: bool = False,
        epilogue: Literal["read", "ignore"] = "read",
    ) -> Any:
        """Read the whole message, handle every part, commit, and give the results.

        A handler's exception comes out bare, with a note that names the part; everything else is
        cancelled and rolled back. `into` is an attrs class or a dataclass that the results are put
        into before the commit, as `Results.into` does; a second part for a field of one is refused
        at once. `given` are values that handlers may need beside those of other parts, by key.
        `independent` lets a handler dispatch its own part, though it then commits before the flow
        that the part is of. After the close delimiter the source is read to its end;
        `epilogue="ignore"` leaves it, but for a response with a content coding.
        """
        flow = self.flow(reader, into=into, given=given, independent=independent, epilogue=epilogue)
        flow.expect_outermost()
        async with flow:
            made = None if into is None else flow.results.into(into)
        return flow.results if into is None else made

    def flow(
        self,
        reader: MultipartReader,
        *,
        into: type[Any] | None = None,
        given: Mapping[str, object] | None = None,
        independent: bool = False,
        epilogue: Literal["read", "ignore"] = "read",
    ) -> Flow:
        """The same in two steps: in the block of `async with`, nothing is committed yet.

        With `into`, a second part for a field of one is refused at once; `flow.results.into(...)`
        gives the instance.
        """
        if not isinstance(reader, MultipartReader):
            raise TypeError(f"expected a MultipartReader, got {type(reader).__name__}")
        return Flow(
            self,
            reader,
            into=into,
            given=checked_given(given),
            independent=independent,
            epilogue=epilogue,
        )
