"""A page as Chromium saves it: MHTML, over its DevTools protocol.

Knows: how the browser is started and told. Must not know: what becomes of the page. A browser that
is missing is an error.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

__all__ = ["save_page"]

PATIENCE = 120.0
"""Seconds that anything may take on a busy machine."""


def save_page(url: str, profile: Path) -> bytes:
    """The page at `url`, loaded and saved; `profile` is a new folder for the browser itself."""
    with _browser(profile) as address:
        return asyncio.run(asyncio.wait_for(_save(address, url), PATIENCE))


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
    numbers = itertools.count(1)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(address, max_msg_size=0) as socket,
    ):

        async def tell(method: str, page: str | None = None, **params: Any) -> dict[str, Any]:
            number = next(numbers)
            order = {"id": number, "method": method, "params": params}
            await socket.send_json(order if page is None else {**order, "sessionId": page})
            return await hear(lambda told: told.get("id") == number)

        async def hear(fits: Any) -> dict[str, Any]:
            while True:
                told = json.loads(await socket.receive_str())
                if fits(told):
                    assert "error" not in told, told
                    return told.get("result", {})

        target = await tell("Target.createTarget", url="about:blank")
        attached = await tell("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = attached["sessionId"]
        await tell("Page.enable", page)
        await tell("Page.setLifecycleEventsEnabled", page, enabled=True)
        await tell("Page.navigate", page, url=url)
        await hear(
            lambda told: (
                told.get("method") == "Page.lifecycleEvent"
                and told["params"]["name"] == "networkIdle"
            )
        )
        saved = await tell("Page.captureSnapshot", page, format="mhtml")
        return saved["data"].encode()
