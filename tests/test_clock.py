"""The virtual clock: what `tests.clock` promises to the tests that stand on it."""

from __future__ import annotations

import threading
import time

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from tests.clock import GRACE, virtual_time

pytestmark = [pytest.mark.anyio, virtual_time]


async def test_an_hour_passes_at_once() -> None:
    before, real = anyio.current_time(), time.monotonic()
    await anyio.sleep(3600)
    assert anyio.current_time() - before == pytest.approx(3600)
    assert time.monotonic() - real < 60


async def test_time_stands_still_while_tasks_run() -> None:
    before = anyio.current_time()
    for _ in range(1000):
        await anyio.lowlevel.checkpoint()
    assert anyio.current_time() == before


async def test_timers_fire_in_order() -> None:
    seen: list[float] = []

    async def note(delay: float) -> None:
        await anyio.sleep(delay)
        seen.append(anyio.current_time())

    start = anyio.current_time()
    async with anyio.create_task_group() as tg:
        for delay in (7, 100_000, 0.5, 7, 60):
            tg.start_soon(note, delay)
    assert [at - start for at in seen] == pytest.approx([0.5, 7, 7, 60, 100_000])


async def test_a_deadline_cancels() -> None:
    with pytest.raises(TimeoutError):
        with anyio.fail_after(30):
            await anyio.sleep_forever()


async def test_a_shielded_rollback_has_its_own_time() -> None:
    start = anyio.current_time()
    with anyio.CancelScope() as outer:
        outer.cancel()
        with anyio.move_on_after(5, shield=True) as inner:
            await anyio.sleep_forever()
    assert inner.cancelled_caught
    assert anyio.current_time() - start == pytest.approx(5)


async def test_a_worker_thread_holds_the_clock() -> None:
    def work() -> bool:
        # Real time, far longer than the grace: were the clock free, an hour would be over.
        return threading.Event().wait(50 * GRACE)

    with anyio.fail_after(3600):
        before = anyio.current_time()
        assert await anyio.to_thread.run_sync(work) is False
        assert anyio.current_time() == before


async def test_the_clock_runs_while_a_thread_waits_for_the_loop() -> None:
    before = anyio.current_time()
    await anyio.to_thread.run_sync(anyio.from_thread.run, anyio.sleep, 600)
    assert anyio.current_time() - before == pytest.approx(600)


async def test_what_a_socket_has_comes_before_a_timer() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)

        async def answer(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.send(await stream.receive())

        async with anyio.create_task_group() as tg:
            tg.start_soon(listener.serve, answer)
            with anyio.fail_after(3600):
                async with await anyio.connect_tcp("127.0.0.1", port) as client:
                    await client.send(b"ping")
                    assert await client.receive() == b"ping"
            tg.cancel_scope.cancel()
