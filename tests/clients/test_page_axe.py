"""The page of `mpflow serve` in each of its states, looked at by axe-core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpflow.cli.page import Page
from tests.cli.service import Service, running
from tests.clients.browser import Browser, browser

pytestmark = pytest.mark.clients

MIB = 1024 * 1024
TOKEN = "0123456789-abc._~+/=="

PARTS: list[dict[str, Any]] = [
    {"name": "note", "content_type": "text/plain", "size": 5, "value": "two\nlines"},
    {"name": "empty", "content_type": "text/plain", "size": 0, "value": ""},
    {"name": "meta", "content_type": "application/json", "size": 20, "value": {"a": [1, "x" * 99]}},
    {
        "name": "more",
        "content_type": "multipart/mixed",
        "size": 1 << 20,
        "parts": [
            {
                "filename": "x" * 99,
                "content_type": "image/png",
                "size": 1 << 19,
                "saved_as": "x" * 99,
                "sha256": "0" * 64,
            },
            {"name": "bad", "content_type": "text/csv", "size": 9, "error": "expected 3 columns"},
        ],
    },
]
"""What a page may have to show, as the answers have it."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with running(folder, "asyncio", env={"MPFLOW_TOKEN": TOKEN}) as service:
        yield service


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 320], ids=["wide", "narrow"])
def test_no_findings_in_any_state(
    chromium: Browser, guarded: Service, tmp_path: Path, scheme: str, width: int
) -> None:
    screenshots = os.environ.get("SCREENSHOTS")
    files = [
        tmp_path / "a-long-name-of-a-photo-without-any-blank-in-it.jpg",
        tmp_path / "notes.txt",
    ]
    files[0].write_bytes(bytes(6 * MIB))
    files[1].write_bytes(b"hello")

    def check(state: str) -> None:
        if screenshots:
            path = f"{screenshots}/{state}-{width}-{scheme}.png"
            chromium.call("screenshot", {"path": path, "fullPage": True})
        told = chromium.tell("axe")
        assert told["findings"] == [], state
        assert told["unsure"] == [], state
        assert told["passes"] > 10
        # Nothing is cut off, and nobody has to scroll sideways.
        assert chromium.call("evaluate", "document.documentElement.scrollWidth") <= width

    look = {"colorScheme": scheme, "viewport": {"width": width, "height": 800}}
    chromium.open(guarded.url, **look)
    check("1-before")
    chromium.files(files)
    chromium.call("fill", "#note", "Grüße")
    chromium.call("fill", "#token", "another one")
    check("2-chosen")
    chromium.call("click", "#send")
    chromium.wait("#error:not(:empty)")
    check("3-token")
    chromium.call("fill", "#token", TOKEN)
    chromium.tell("throttle", rate=2 * MIB)
    chromium.call("click", "#send")
    chromium.until("document.querySelector('progress').value > 0.3")
    check("4-during")
    chromium.tell("throttle", rate=-1)
    chromium.wait("#told")
    check("5-after")
    chromium.open(guarded.url, **look, javaScriptEnabled=False)
    if screenshots:
        path = f"{screenshots}/6-without-{width}-{scheme}.png"
        chromium.call("screenshot", {"path": path, "fullPage": True})
    login = {"username": "", "password": TOKEN}
    chromium.open(f"{guarded.url}nothing", **look, httpCredentials=login)
    check("7-failed")
    chromium.call("setContent", Page().stored({"parts": PARTS}).body.decode())
    check("8-all-kinds")
