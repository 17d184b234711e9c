"""Chromium over its DevTools protocol: a page as it saves it (MHTML), and scripts in pages.

Knows: how the browser is started and told. Must not know: what becomes of the page, or what a
script does. A browser that is missing is an error.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

__all__ = ["run_scripts", "save_page"]

PATIENCE = 120.0
"""Seconds that anything may take on a busy machine."""


def save_page(url: str, profile: Path) -> bytes:
    """The page at `url`, loaded and saved; `profile` is a new folder for the browser itself."""
    with _browser(profile) as address:
        return asyncio.run(asyncio.wait_for(_save(address, url), PATIENCE))


def run_scripts(scripts: Mapping[str, str], profile: Path) -> list[Any]:
    """What each script gives in the page of its address, one after the other, in one browser.

    A script is an expression; where it is a promise, that is waited for.
    """
    with _browser(profile) as address:
        return asyncio.run(asyncio.wait_for(_run(address, scripts), PATIENCE * len(scripts)))


@contextmanager
def _browser(profile: Path) -> Iterator[str]:
    """A browser without windows: the address to tell it things at."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    assert binary is not None, "expected chromium to be installed"
    command = [binary, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
    command += ["--disable-component-update", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                address = line.partition("DevTools listening on ")[2].strip()
                if address:
                    yield address
                    return
            raise AssertionError("expected the browser to listen, and it said: " + "".join(said))
        finally:
            process.kill()


async def _save(address: str, url: str) -> bytes:
    async with _tools(address) as tools:
        page = await tools.open(url)
        saved = await tools.tell("Page.captureSnapshot", page, format="mhtml")
        return saved["data"].encode()


async def _run(address: str, scripts: Mapping[str, str]) -> list[Any]:
    values: list[Any] = []
    async with _tools(address) as tools:
        for url, script in scripts.items():
            page = await tools.open(url)
            asked = {"expression": script, "awaitPromise": True, "returnByValue": True}
            told = await tools.tell("Runtime.evaluate", page, **asked)
            assert "exceptionDetails" not in told, told["exceptionDetails"]
            values.append(told["result"]["value"])
    return values


@asynccontextmanager
async def _tools(address: str) -> AsyncIterator[_Tools]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(address, max_msg_size=0) as socket,
    ):
        yield _Tools(socket)


class _Tools:
    """What the browser's DevTools are told, one thing after the other."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def tell(self, method: str, page: str | None = None, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        order = {"id": number, "method": method, "params": params}
        await self._socket.send_json(order if page is None else {**order, "sessionId": page})
        return await self._hear(lambda told: told.get("id") == number)

    async def _hear(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            told = json.loads(await self._socket.receive_str())
            if fits(told):
                assert "error" not in told, told
                return told.get("result", {})

    async def open(self, url: str) -> str:
        """A page, once it is all there; what it is called."""
        target = await self.tell("Target.createTarget", url="about:blank")
        target_id = target["targetId"]
        attached = await self.tell("Target.attachToTarget", targetId=target_id, flatten=True)
        page = attached["sessionId"]
        await self.tell("Page.enable", page)
        await self.tell("Page.setLifecycleEventsEnabled", page, enabled=True)
        await self.tell("Page.navigate", page, url=url)
        await self._hear(
            lambda told: (
                told.get("method") == "Page.lifecycleEvent"
                and told["sessionId"] == page
                and told["params"]["name"] == "networkIdle"
            )
        )
        return page
