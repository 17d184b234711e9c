"""Rule 12: of what fails in one pass of the scheduler, the first in the order of the wire wins.

Knows: many runs of one message, whose handlers fail inside of parts, or end the program.
Must not know: how that is seen to.

On trio chance decides which task of a pass runs first; so each message is sent many times.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint

from mpflow import Part, Rejected, Router
from mpflow.reports import PartFailed, Report
from mpflow_handlers import Nested, Tee
from tests.flow.support import form, nested, read, reader

pytestmark = pytest.mark.anyio

RUNS = 15


class Boom(Exception):
    """A handler's own exception."""


class Stop(BaseException):
    """Ends the program, as KeyboardInterrupt does, which a test run takes as meant for itself."""


FATAL = pytest.mark.parametrize("kind", [SystemExit, Stop])


@attrs.define(eq=False)
class Together:
    """Handlers that all fail in the same pass, each with where it stands."""

    kind: type[BaseException] = Boom
    event: anyio.Event = attrs.field(factory=anyio.Event)

    async def strike(self, *what: object) -> None:
        await self.event.wait()
        raise self.kind(*what)

    async def one(self, part: Part) -> None:
        """Fails before it answers."""
        await self.strike(part.path)

    def two(self, *name: object) -> Any:
        """Fails while it waits for its commit."""

        @asynccontextmanager
        async def handle(part: Part) -> AsyncGenerator[None, None]:
            await part.read()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.strike, *(name or (part.path,)))
                yield

        return handle

    async def go(self, part: Part) -> None:
        """The last part: has the others fail, once they all wait."""
        await passes()
        self.event.set()
        await anyio.sleep_forever()


async def passes() -> None:
    """As many as nobody needs to get where he waits."""
    for _ in range(200):
        await checkpoint()


def bare(error: BaseException) -> BaseException:
    """What is in the groups of the task groups of handlers."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def dispatch(router: Router, body: bytes, *, size: int | None = None) -> BaseException:
    with anyio.fail_after(20):
        try:
            await router.dispatch(reader(body, size=size))
        except BaseException as error:
            return bare(error)
    raise AssertionError("expected a failure")


# -- inside of one part -----------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2])
async def test_two_that_wait_inside_one_part(depth: int) -> None:
    body = nested("n", ("a", b"1"), ("b", b"2"), ("c", b"3"))
    for _ in range(depth - 1):
        body = nested("m", body, boundary="between")
    for _ in range(RUNS):
        together = Together()
        router = Router()
        router.add(together.two())
        for _ in range(depth):
            around = Router()
            around.add(Nested(router), content_type="multipart/*")
            around.add(together.go, name="z")
            router = around
        error = await dispatch(router, form(body, ("z", b"")))
        assert error.args == ((0,) * (depth + 1),)


async def test_two_children_that_wait() -> None:
    for _ in range(RUNS):
        together = Together()
        router = Router()
        router.add(Tee(together.two(0), together.two(1), together.two(2)), name="t")
        router.add(together.go, name="z")
        error = await dispatch(router, form(("t", b"1"), ("z", b"")))
        assert error.args == (0,)


async def test_of_two_parts_with_flows_inside() -> None:
    """The place of the part comes before the places inside."""
    fields = ("a", b"1"), ("b", b"2")
    for _ in range(RUNS):
        together = Together()
        inner = Router()
        inner.add(together.two())
        router = Router()
        router.add(Nested(inner), content_type="multipart/*")
        router.add(together.go, name="z")
        body = form(nested("m", *fields), nested("n", *fields), ("z", b""))
        error = await dispatch(router, body)
        assert error.args == ((0, 0),)


async def test_the_part_around_is_told_as_failed_once() -> None:
    told: list[Report] = []
    together = Together()
    router = Router(observer=told.append)
    router.add(Tee(together.two(0), together.two(1)), name="t", key="t")
    router.add(together.go, name="z")
    await dispatch(router, form(("t", b"1"), ("z", b"")))
    failed = [r for r in told if isinstance(r, PartFailed) and r.route.key == "t"]
    assert len(failed) == 1


# -- what ends the program --------------------------------------------------------------------


@FATAL
async def test_two_that_end_the_program(kind: type[BaseException]) -> None:
    for _ in range(RUNS):
        together = Together(kind)
        router = Router()
        router.add(together.go, name="z")
        router.add(together.one)
        error = await dispatch(router, form(("a", b"1"), ("b", b"2"), ("c", b"3"), ("z", b"")))
        assert type(error) is kind
        assert error.args == ((0,),)


async def test_two_that_do_while_they_wait() -> None:
    """On one level, or inside of another part. SystemExit asyncio lets out of a task itself."""
    for _ in range(RUNS):
        together = Together(Stop)
        router = Router()
        router.add(together.go, name="z")
        router.add(Tee(together.two((0,)), together.two("second")), name="t")
        router.add(together.two())
        error = await dispatch(router, form(("t", b"1"), ("b", b"2"), ("c", b"3"), ("z", b"")))
        assert type(error) is Stop
        assert error.args == ((0,),)


@FATAL
async def test_two_that_do_as_they_are_cancelled(kind: type[BaseException]) -> None:
    async def hang(part: Part) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise kind(part.path)

    async def refuse(part: Part) -> None:
        await passes()
        raise Rejected(422, "no")

    @asynccontextmanager
    async def rolled_back(part: Part) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            raise kind(part.path)

    router = Router()
    router.add(refuse, name="z")
    router.add(rolled_back, name="r")
    router.add(hang)
    for names in ("zabr", "zarb", "zrab", "zrra"):
        for _ in range(RUNS):
            error = await dispatch(router, form(*[(name, b"1") for name in names]))
            assert type(error) is kind
            assert error.args == ((1,),)


@FATAL
@pytest.mark.parametrize("size", [1, 13, 100, None])
async def test_the_first_however_the_body_is_cut(
    kind: type[BaseException], size: int | None
) -> None:
    """One that is inside of a part takes longer to come out of it."""

    async def end(part: Part) -> None:
        await part.read()
        raise kind(part.path)

    innermost = Router()
    innermost.add(Tee(read, end), name="t")
    inner = Router()
    inner.add(Nested(innermost), content_type="multipart/*")
    inner.add(end)
    router = Router()
    router.add(Nested(inner), content_type="multipart/*")
    router.add(end)
    field = nested("m", nested("n", ("t", b"1"), boundary="i"), ("e", b"2"), boundary="o")
    error = await dispatch(router, form(field, ("f", b"3"), ("g", b"4")), size=size)
    assert type(error) is kind
    assert error.args == ((0, 0, 0),)
