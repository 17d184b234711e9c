"""`ask_hooks`: what a router asks before a byte is read.

Knows: the hooks, and the headers that they see. Must not know: routes, parts, what a refusal does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import isawaitable

from mpflow.errors import RouteError
from mpflow.router import Before
from mpflow.signatures import handler_name

__all__ = ["ask_hooks"]


async def ask_hooks(hooks: Iterable[Before], headers: Mapping[str, str]) -> None:
    """Call the hooks, in order; one that refuses raises."""
    for hook in hooks:
        verdict: object = hook(headers)
        if isawaitable(verdict):
            verdict = await verdict
        if verdict is not None:
            # One that says False means to refuse, and would let everything pass.
            raise RouteError(
                f"expected the hook {handler_name(hook)} to give None, got "
                f"{type(verdict).__name__}: it raises Rejected to refuse"
            )
