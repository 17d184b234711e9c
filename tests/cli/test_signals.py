"""Several signals at once, and a SIGINT that is ignored: a command ends all the same, and in order.

Knows: signals, processes. Must not know: what blocks (`test_interrupts.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, PATIENCE
from tests.cli.test_interrupts import wait_until_it_sleeps

BEGUN = b'--B\r\nContent-Disposition: form-data; name="b"; filename="two"\r\n\r\npartial'

# Forks the command, so that it has begun at once, and sends it signals while it waits for input;
# then its exit code and its stderr. A fork that does not end within the time is killed.
SENDS = f"""
import fcntl, itertools, os, signal, struct, sys, termios, time
import anyio._backends._asyncio
from mpflow.cli import main

def state(pid):
    return open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[0]

def run(arguments, gap, count):
    (given, giving), (hearing, said) = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(given, 0), os.dup2(os.open(os.devnull, os.O_WRONLY), 1), os.dup2(said, 2)
        os.closerange(3, 64)
        sys.exit(main(arguments))
    os.close(said)
    os.write(giving, {BEGUN!r} + bytes(200_000))
    while fcntl.ioctl(given, termios.FIONREAD, bytes(4)) != bytes(4) or state(pid) != "S":
        os.sched_yield()
    for _ in range(count):
        os.kill(pid, signal.SIGINT)
        due = time.perf_counter() + gap
        while time.perf_counter() < due:
            pass
    due = time.monotonic() + {PATIENCE / 4}
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > due:
            os.kill(pid, signal.SIGKILL)
            return "hangs", os.waitpid(pid, 0)
        os.sched_yield()
    os.close(given), os.close(giving)
    with open(hearing, "rb") as file:
        return os.waitstatus_to_exitcode(ended[1]), file.read()

gaps = itertools.cycle([0.0004, 0.0008, 0.0012, 0.0016, 0.002, 0.0])
for _ in range(20):
    for count in (2, 3):
        print(run(sys.argv[1:], next(gaps), count))
"""


@pytest.mark.parametrize(
    "arguments", [["inspect", "-"], ["extract", "-"]], ids=["inspect", "extract"]
)
def test_ctrl_c_that_comes_twice(tmp_path: Path, arguments: list[str]) -> None:
    """As where a terminal and a parent both send it: 40 runs, two and three signals each."""
    done = subprocess.run(
        [sys.executable, "-c", SENDS, *arguments],
        cwd=tmp_path,
        capture_output=True,
        timeout=2 * PATIENCE,
    )
    assert done.stderr == b""
    # Once all is done, Python ends with the signals' defaults: -SIGINT, which is 130 to a shell.
    assert {*done.stdout.splitlines()} <= {b"(130, b'')", b"(-2, b'')"}
    assert len(done.stdout.splitlines()) == 40
    assert list(tmp_path.iterdir()) == []


WORK = """
import os, signal, sys
from contextlib import contextmanager

import anyio
from anyio import to_thread

from mpflow.cli.interrupts import at_exit_of_signal, interruptible
from mpflow.cli.opened import run_command

def send():
    os.kill(os.getpid(), signal.SIGINT)

async def before_it_blocks():
    send()
    with interruptible():
        signal.pause()

async def within_a_callback():
    await to_thread.run_sync(id, 1)  # a thread that the loop has to end
    import asyncio
    for _ in range(3):
        asyncio.get_running_loop().call_soon(send)
    await anyio.sleep_forever()

async def while_the_loop_closes():
    await to_thread.run_sync(id, 1)
    import asyncio.runners
    real = asyncio.runners._cancel_all_tasks
    def cancel_all_tasks(loop):
        send(), send()
        real(loop)
    asyncio.runners._cancel_all_tasks = cancel_all_tasks
    return 0

async def while_the_loop_begins():
    await anyio.sleep_forever()

async def that_does_not_end():
    with at_exit_of_signal(lambda: os.write(2, b"last words")), anyio.CancelScope(shield=True):
        os.write(2, b"!")
        await anyio.sleep_forever()

if sys.argv[1] == "while_the_loop_begins":
    import asyncio
    real = asyncio.new_event_loop
    def new_event_loop():
        send(), send()
        return real()
    asyncio.new_event_loop = asyncio.events.new_event_loop = new_event_loop
sys.exit(run_command("x", globals()[sys.argv[1]]))
"""


@pytest.mark.parametrize(
    "work",
    ["before_it_blocks", "within_a_callback", "while_the_loop_closes", "while_the_loop_begins"],
)
def test_wherever_they_come(work: str) -> None:
    done = subprocess.run([sys.executable, "-c", WORK, work], capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_work_that_does_not_end(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORK, "that_does_not_end"], stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert process.stderr.read(1) == b"!"
        since = time.monotonic()
        while process.poll() is None:
            assert time.monotonic() < since + PATIENCE
            process.send_signal(number)
            os.sched_yield()
        assert time.monotonic() >= since + 2.0
        assert process.returncode == -number
        assert process.stderr.read() == b"last words"


# -- where SIGINT is ignored, as in a shell's job in the background ---------------------------

IGNORING = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "-"],
        ["extract", "-"],
        ["extract", "fifo"],
        ["dispatch", "-c", "routes.toml", "-"],
        ["pack", "-F", "f=@-", "-o", "out"],
        ["pack", "-F", "f=@fifo", "-o", "out"],
    ],
)
def test_other_signals_where_sigint_is_ignored(
    tmp_path: Path, arguments: list[str], number: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "routes.toml").write_text('[[route]]\nhandler = {use = "save", directory = "."}\n')
    with subprocess.Popen(
        [*IGNORING, sys.executable, "-c", READY, *arguments],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(BEGUN)
        process.stdin.flush()
        said = b""
        while not said.endswith(b"!"):
            said += os.read(process.stderr.fileno(), 1)
        wait_until_it_sleeps(process.pid)
        process.send_signal(signal.SIGINT)  # is not heard
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number
    assert sorted(os.listdir(tmp_path)) == ["fifo", "routes.toml"]


# The command, which says on stderr when its handlers are in place and it begins to run.
READY = """
import os, sys
from mpflow.cli import main, opened

real = opened.run_loop

def tell(work):
    os.write(2, b"!")
    return real(work)

opened.run_loop = tell
sys.exit(main(sys.argv[1:]))
"""


def test_sigint_stays_ignored(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*IGNORING, *COMMAND, "inspect", "-"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"--B\r\n\r\none\r\n--B\r\n\r\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdin.write(b"two\r\n--B--\r\n")
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
