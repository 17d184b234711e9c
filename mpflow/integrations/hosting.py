"""Flows that are entered in one task and left in another: `Hosting`, `hosted`.

Knows: tasks, and that a flow must be left in the task that entered it.
Must not know: frameworks, multipart, answers.

Some frameworks run the two halves of a generator, a dependency say, in tasks of their own, or
forget the second half where something else failed. A flow that waits in the block of its own
`async with`, in a task of the request, is rolled back whatever they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import anyio
import attrs
from anyio.abc import TaskGroup, TaskStatus

from mpflow import Flow, RouteError
from mpflow.integrations.exchange import AsgiApp, Receive, Scope, Send

__all__ = ["Hosted", "Hosting", "hosted"]

_TASKS: Final = "mpflow.tasks"


@attrs.define(eq=False)
class Hosting:
    """An application whose requests can have flows in tasks of their own.

    What is still open when the application has done with a request is rolled back.
    """

    app: AsgiApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        failed: Exception | None = None
        async with anyio.create_task_group() as tasks:
            scope[_TASKS] = tasks
            try:
                await self.app(scope, receive, send)
            except Exception as error:
                failed = error  # not from inside, where it would become a group
            tasks.cancel_scope.cancel()
        if failed is not None:
            raise failed


class Hosted:
    """A flow that was entered; `leave` decides."""

    flow: Flow

    def __init__(self) -> None:
        self._left = anyio.Event()
        self._ended = anyio.Event()
        self._inside: Exception | None = None
        self._outcome: Exception | None = RouteError("the request ended before its flow was left")

    async def run(self, make: Callable[[], Flow], *, task_status: TaskStatus[None]) -> None:
        """Enter the flow, and stay in its block until it is left."""
        is_open = False
        try:
            async with make() as self.flow:
                is_open = True
                task_status.started()
                await self._left.wait()
                if self._inside is not None:
                    raise self._inside
            self._outcome = None
        except Exception as error:
            if not is_open:
                raise  # whoever enters it hears it
            self._outcome = error
        finally:
            self._ended.set()

    async def leave(self, error: Exception | None) -> None:
        """Commit, or roll back for an error. Raises what the commit failed with, or the error."""
        self._inside = error
        self._left.set()
        await self._ended.wait()
        if self._outcome is not None:
            raise self._outcome


async def hosted(scope: Any, make: Callable[[], Flow]) -> Hosted:
    """Enter the flow that `make` gives, in a task of the request. Raises what entering it does."""
    tasks: TaskGroup | None = scope.get(_TASKS)
    if tasks is None:
        raise RouteError("expected an application that was given to install(), got another one")
    entered = Hosted()
    await tasks.start(entered.run, make)
    return entered
