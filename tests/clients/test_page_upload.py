"""The page of `mpflow serve` in Chromium: progress, results, failures, keys, and no JavaScript."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.service import BACKENDS, Service, running
from tests.clients.browser import Browser, browser

pytestmark = pytest.mark.clients

MIB = 1024 * 1024
TOKEN = "0123456789-abc._~+/=="
SLOW = 8 * MIB
"""Bytes a second, so that an upload lasts long enough to be looked at."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(params=BACKENDS)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path, request.param) as service:
        yield service


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path, "asyncio", env={"MPFLOW_TOKEN": TOKEN}) as service:
        yield service


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A large one, a small one, an empty one, and one with a hard name."""
    folder = tmp_path / "source"
    folder.mkdir()
    contents = {
        "large.bin": os.urandom(8 * MIB),
        "notes.txt": b"hello",
        "empty": b"",
        'na"ïve <b>日本 🦊.txt': b"\r\n--",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def check_stored(service: Service, files: list[Path]) -> None:
    names = {path.name.replace('"', "_").replace("<b>", "_b_"): path for path in files}
    assert sorted(names) == service.files()
    for name, path in names.items():
        assert (service.directory / name).read_bytes() == path.read_bytes()


def check_shown(chromium: Browser, files: list[Path]) -> None:
    """Each part of the upload is on the page, with its digest."""
    assert chromium.texts(".parts > li strong") == [*[path.name for path in files], "note"]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    assert chromium.texts(".parts code") == digests
    assert chromium.texts(".parts pre") == ["Grüße"]


# -- with the script ------------------------------------------------------------------------------


def test_progress_and_results(chromium: Browser, service: Service, files: list[Path]) -> None:
    assert chromium.open(service.url) == 200
    chromium.files(files)
    assert chromium.texts("#chosen .name") == [path.name for path in files]
    assert chromium.texts("#chosen .state") == ["8.0 MiB", "5 B", "0 B", "4 B"]
    chromium.call("fill", "#note", "Grüße")
    chromium.call("evaluate", """{
      window.seen = [];
      new MutationObserver(() => {
        const values = [...document.querySelectorAll("progress")].map((bar) => bar.value);
        if (values.length) window.seen.push(values);
      }).observe(document.getElementById("chosen"),
                 {attributes: true, attributeFilter: ["value"], subtree: true});
    }""")  # fmt: skip
    chromium.tell("throttle", rate=SLOW)
    chromium.call("click", "#send")
    chromium.until("document.querySelector('progress').value > 0.2")
    assert chromium.text("#status") == "Uploading…"
    assert chromium.texts("#chosen .state")[0].endswith(" of 8.0 MiB")
    chromium.until("document.querySelector('progress').value > 0.7")
    chromium.tell("throttle", rate=-1)
    chromium.wait("#told")
    seen = chromium.call("evaluate", "window.seen")
    first = [values[0] for values in seen]
    assert len(set(first)) > 5
    assert first == sorted(first)
    assert seen[-1] == [1, 1, 1, 1]
    # The files go one after the other.
    assert all(later == 0 for values in seen if values[0] < 1 for later in values[1:])
    assert chromium.text("#told") == "The upload is done"
    assert chromium.focused() == "told"
    check_shown(chromium, files)
    check_stored(service, files)
    assert chromium.call("inputValue", "#note") == chromium.call("inputValue", "#files") == ""
    assert chromium.call("isVisible", "#chosen") is False
    assert chromium.tell("said") == []


def test_cancelling_leaves_nothing(chromium: Browser, service: Service, files: list[Path]) -> None:
    chromium.open(service.url)
    chromium.files(files[:1])
    chromium.tell("throttle", rate=MIB)
    chromium.call("click", "#send")
    chromium.until("document.querySelector('progress').value > 0.1")
    service.until(service.staged)
    chromium.call("click", "#cancel")
    assert chromium.text("#status") == "Cancelled: nothing was stored."
    assert chromium.focused() == "send"
    # Not throttled, what is on its way out of the browser would still be sent.
    service.until(lambda: not service.staged() and service.files() == [])
    chromium.tell("throttle", rate=-1)
    chromium.call("click", "#send")  # what was chosen is still there
    chromium.wait("#told")
    check_stored(service, files[:1])


def test_cancelling_what_was_sent_promises_nothing(
    chromium: Browser, service: Service, files: list[Path]
) -> None:
    chromium.open(service.url)
    chromium.files(files[1:])
    service.process.send_signal(signal.SIGSTOP)  # the kernel takes what is sent
    try:
        chromium.call("click", "#send")
        chromium.until("document.querySelector('progress').value === 1")
        chromium.call("click", "#cancel")
        assert chromium.text("#status") == (
            "Cancelled after all was sent: the service may have stored it."
        )
        assert chromium.focused() == "send"
    finally:
        service.process.send_signal(signal.SIGCONT)


def test_a_file_too_large_is_not_even_sent(
    chromium: Browser, tmp_path: Path, files: list[Path]
) -> None:
    with running(tmp_path, "asyncio", "--max-bytes", "1 MiB") as service:
        chromium.open(service.url)
        assert chromium.text("#hint").endswith("Together 1.0 MiB at most.")
        chromium.files(files)
        chromium.call("click", "#send")
        assert chromium.text("#error") == (
            "These files have 8.0 MiB, and the service takes 1.0 MiB at most."
        )
        assert chromium.focused() == "error"
        chromium.files(files[1:])
        assert chromium.call("isVisible", "#error") is False


def test_a_refusal_of_the_service_is_shown(chromium: Browser, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(MIB))  # with the headers it is too large
    with running(tmp_path, "asyncio", "--max-bytes", "1 MiB") as service:
        chromium.open(service.url)
        chromium.files([source])
        chromium.call("click", "#send")
        chromium.wait("#told")
        assert chromium.text("#told") == "The upload failed"
        assert chromium.focused() == "told"
        assert "Expected at most max_total_bytes = 1048576" in chromium.text("#outcome")
        assert "413 Content Too Large" in chromium.text("#outcome")
        assert chromium.texts("#chosen .name") == ["source"]
        assert service.files() == []


def test_the_page_asks_for_the_token(
    chromium: Browser, guarded: Service, files: list[Path]
) -> None:
    chromium.open(guarded.url)
    chromium.files(files)
    chromium.call("fill", "#note", "Grüße")
    chromium.call("click", "#send")  # the browser asks for the token, and sends nothing
    assert chromium.call("evaluate", "document.getElementById('token').validity.valueMissing")
    assert chromium.focused() == "token"
    chromium.call("fill", "#token", "another one")
    chromium.call("click", "#send")
    chromium.wait("#error:not(:empty)")
    assert chromium.text("#error") == "The service does not know this token."
    assert chromium.focused() == "token"
    assert chromium.call("getAttribute", "#token", "aria-invalid") == "true"
    chromium.call("fill", "#token", TOKEN)
    chromium.press("Enter")
    chromium.wait("#told")
    check_shown(chromium, files)
    check_stored(guarded, files)
    assert chromium.call("isVisible", "#error") is False
    assert TOKEN not in chromium.text("#outcome")


def test_a_connection_that_is_lost(chromium: Browser, service: Service, files: list[Path]) -> None:
    chromium.open(service.url)
    chromium.files(files)
    chromium.tell("throttle", rate=MIB)
    chromium.call("click", "#send")
    chromium.until("document.querySelector('progress').value > 0.1")
    service.process.kill()
    chromium.wait("#error:not(:empty)")
    assert chromium.text("#error") == "The connection to the service was lost. Try again."
    assert chromium.focused() == "error"
    assert chromium.call("isVisible", "#send")
    assert chromium.texts("#chosen .state")[0] == "8.0 MiB"


def test_keys_alone(chromium: Browser, service: Service, files: list[Path]) -> None:
    chromium.open(service.url)
    visited: list[tuple[str, bool]] = []

    def tab() -> str:
        chromium.press("Tab")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        visited.append((chromium.focused(), chromium.call("evaluate", outline) != "none"))
        return chromium.focused()

    assert tab() == "files"
    chromium.tell("choose", key="Space", files=[str(path) for path in files])
    assert tab() == "note"
    chromium.call("keyboard.type", "Grüße")
    assert tab() == "send"
    assert visited == [("files", True), ("note", True), ("send", True)]
    chromium.tell("throttle", rate=MIB)
    chromium.press("Enter")
    assert chromium.focused() == "cancel"
    chromium.until("document.querySelector('progress').value > 0.1")
    service.until(service.staged)
    chromium.press("Space")
    assert chromium.text("#status") == "Cancelled: nothing was stored."
    assert chromium.focused() == "send"
    service.until(lambda: not service.staged() and service.files() == [])
    chromium.tell("throttle", rate=-1)
    chromium.press("Space")
    chromium.wait("#told")
    assert chromium.focused() == "told"
    check_shown(chromium, files)
    service.until(lambda: not service.staged())
    check_stored(service, files)
    chromium.press("Shift+Tab")
    assert chromium.focused() == "send"


# -- without the script ---------------------------------------------------------------------------


def no_script(chromium: Browser, url: str, **options: Any) -> int:
    return chromium.open(url, javaScriptEnabled=False, **options)


def test_a_form_without_javascript(chromium: Browser, service: Service, files: list[Path]) -> None:
    assert no_script(chromium, service.url) == 200
    assert chromium.call("isVisible", "#token") is False
    chromium.files(files)
    chromium.call("fill", "#note", "Grüße")
    assert chromium.follow("click", "#send") == 200
    assert chromium.text("#told") == "The upload is done"
    assert chromium.focused() == "told"
    check_shown(chromium, files)
    check_stored(service, files)


def test_a_failure_without_javascript(chromium: Browser, tmp_path: Path, files: list[Path]) -> None:
    with running(tmp_path, "asyncio", "--max-bytes", "1 MiB") as service:
        no_script(chromium, service.url)
        chromium.files(files)
        assert chromium.follow("click", "#send") == 413
        assert chromium.text("#told") == "The upload failed"
        assert "Expected at most 1048576 bytes" in chromium.text("#outcome")
        chromium.files(files[1:])  # the form is there to be sent again
        assert chromium.follow("click", "#send") == 200


@pytest.mark.parametrize("first", [True, False], ids=["asked-first", "asked-then"])
def test_the_token_without_javascript(
    chromium: Browser, guarded: Service, files: list[Path], first: bool
) -> None:
    """The browser's own window asks, at the link or at the upload; the driver answers it."""
    login = {"username": "anybody", "password": TOKEN}
    no_script(chromium, guarded.url, httpCredentials=login)
    assert "asks for a token" in chromium.text(".notice")
    if first:
        assert chromium.follow("click", ".notice a") == 200
        assert chromium.texts(".notice") == []
    chromium.files(files)
    chromium.call("fill", "#note", "Grüße")
    assert chromium.follow("click", "#send") == 200
    check_shown(chromium, files)
    check_stored(guarded, files)


def test_a_wrong_token_without_javascript(
    chromium: Browser, guarded: Service, files: list[Path]
) -> None:
    login = {"username": "anybody", "password": "another one"}
    no_script(chromium, guarded.url, httpCredentials=login)
    chromium.files(files[1:])
    chromium.call("click", "#send")
    chromium.wait("#told")  # the driver closes the window when it comes again
    assert "401 Unauthorized" in chromium.text("#outcome")
    assert guarded.files() == []
