"""What the tests of handlers count on: no descriptor that is left goes unseen.

Knows: the helpers of this folder. Must not know: any handler.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from tests.handlers.support import descriptors, opened_since


def of_a_socket() -> Callable[[], None]:
    made = socket.socket()
    return made.close


def of_a_pipe() -> Callable[[], None]:
    ends = os.pipe()

    def close() -> None:
        for end in ends:
            os.close(end)

    return close


def of_a_folder() -> Callable[[], None]:
    opened = os.open("/", os.O_RDONLY)
    return lambda: os.close(opened)


@pytest.mark.parametrize(("leak", "count"), [(of_a_socket, 1), (of_a_pipe, 2), (of_a_folder, 1)])
def test_every_kind_counts(leak: Callable[[], Callable[[], None]], count: int) -> None:
    before = descriptors()
    close = leak()
    assert len(opened_since(before)) == count
    close()
    assert opened_since(before) == []


def test_what_goes_meanwhile_does_not() -> None:
    opened = os.dup(0)
    before = descriptors()
    os.close(opened)
    assert opened_since(before) == []
