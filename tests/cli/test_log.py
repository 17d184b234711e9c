"""What `mpflow serve` says on stderr of uploads that failed."""

from __future__ import annotations

import io
import logging
import socket
import sys

import pytest

from mpflow import CommitFailed, ServiceFailed
from mpflow.cli.log import make_handler
from mpflow.cli.serving import server_config


def said(error: Exception) -> str:
    """What is logged of an error that is answered."""
    stream = io.StringIO()
    handler = make_handler(stream)
    try:
        raise error
    except Exception:
        handler.handle(
            logging.LogRecord(
                "x", logging.ERROR, "", 0, "an upload failed: %s", (error,), sys.exc_info()
            )
        )
    return stream.getvalue()


def test_what_was_foreseen_is_one_line() -> None:
    assert said(OSError(5, "Input/output error", "/a")) == (
        "mpflow: ERROR: an upload failed: [Errno 5] Input/output error: '/a'\n"
    )
    assert said(ServiceFailed("one\ntwo")) == "mpflow: ERROR: an upload failed: one two\n"


def test_a_commit_that_failed_says_why() -> None:
    failed = CommitFailed([], None, [])
    failed.__cause__ = OSError(5, "Input/output error", "/a")
    told = f"{failed}: OSError: [Errno 5] Input/output error: '/a'"
    assert said(failed) == f"mpflow: ERROR: an upload failed: {told}\n"


def test_what_nobody_foresaw_has_a_traceback() -> None:
    told = said(RuntimeError("broken"))
    assert told.startswith("mpflow: ERROR: an upload failed: broken\nTraceback ")
    failed = CommitFailed([], None, [])
    failed.__cause__ = RuntimeError("broken")
    assert "RuntimeError: broken\n" in said(failed)


def test_a_record_of_no_error_is_as_it_is() -> None:
    stream = io.StringIO()
    record = logging.LogRecord("x", logging.WARNING, "", 0, "odd", (), None)
    make_handler(stream).handle(record)
    assert stream.getvalue() == "mpflow: WARNING: odd\n"


def test_what_the_server_logs_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # A logger is the process's: other tests run servers in it that log for themselves.
    monkeypatch.setattr(logging.getLogger("hypercorn.error"), "handlers", [])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = server_config(listener)
    with socket.socket(fileno=int(config.bind[0].removeprefix("fd://"))):
        logger = config.log.error_logger
    assert logger.propagate
    assert logger.handlers == []
