"""Errors as the answers to requests: what is told, and what never is."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import Any

import pytest

import mpflow
from mpflow import (
    ClientDisconnected,
    CommitFailed,
    ConfigError,
    LimitExceeded,
    MissingParts,
    MultipartError,
    NoRoute,
    PartRef,
    Problem,
    Rejected,
    ResultsMismatch,
    ServiceFailed,
)
from mpflow.problems import sole_error

SECRET = "/srv/acme/billing.sqlite of acme.Billing at db7"
PART = PartRef((2, 0), "photo", "a\u00e4.jpg")

OWN: dict[str, Callable[[], MultipartError]] = {
    "CommitFailed": lambda: CommitFailed([SECRET], SECRET, [SECRET]),
    "ConfigError": lambda: ConfigError([SECRET]),
    "LimitExceeded": lambda: LimitExceeded("max_part_bytes", 100, message=SECRET),
    "MissingParts": lambda: MissingParts([SECRET]),
    "Rejected": lambda: Rejected(503, "come again", {"Retry-After": "5"}),
    "ResultsMismatch": lambda: ResultsMismatch(
        SECRET, missing=[SECRET], surplus=[SECRET], wrong=[SECRET], failed=[SECRET]
    ),
}
"""How those are made that are not made of a message."""

CLASSES = [
    kind
    for kind in (getattr(mpflow, name) for name in mpflow.__all__)
    if isinstance(kind, type) and issubclass(kind, MultipartError)
]


def document(problem: Problem) -> dict[str, Any]:
    return json.loads(problem.body())


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_a_problem(kind: type[MultipartError]) -> None:
    make = OWN.get(kind.__name__)
    error = kind(SECRET) if make is None else make()
    error.part, error.offset = PART, 17
    error.__cause__ = OSError(errno.EACCES, SECRET)
    error.add_note(SECRET)
    problem = Problem.of(error)
    told = document(problem)
    assert (told["status"], told["error"]) == (error.status, kind.__name__)
    assert told["title"] not in ("", "Error")
    assert told["part"] == {"path": [2, 0], "name": "photo", "filename": "a\u00e4.jpg"}
    assert told["offset"] == 17
    if error.status >= 500:
        assert SECRET not in problem.body().decode()
    elif kind is not ResultsMismatch:
        assert told["detail"] == str(error)


@pytest.mark.parametrize("status", [500, 502, 599])
def test_nothing_is_told_of_what_the_service_did(status: int) -> None:
    error = NoRoute(SECRET, status=status)
    assert SECRET not in Problem.of(error).body().decode()
    assert "NoRoute" in Problem.of(error).body().decode()


def test_a_class_of_the_program_goes_by_the_name_of_ours() -> None:
    class AcmeLedgerDown(ServiceFailed):
        pass

    assert document(Problem.of(AcmeLedgerDown("x")))["error"] == "ServiceFailed"


@pytest.mark.parametrize("error", [ValueError(SECRET), OSError(errno.EACCES, SECRET), KeyError()])
def test_what_is_not_ours_is_a_500_without_words(error: Exception) -> None:
    assert document(Problem.of(error)) == {
        "title": "Internal Server Error",
        "status": 500,
        "detail": "the upload failed on the side of the service",
    }


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_507(number: int) -> None:
    full = OSError(number, "No space left on device", "/srv/acme")
    assert document(Problem.of(full)) == {
        "title": "Insufficient Storage",
        "status": 507,
        "detail": "the upload was not stored: no room is left for it",
    }
    error = CommitFailed([], None, [])
    error.__cause__ = full
    assert (Problem.of(error).status, document(Problem.of(error))["error"]) == (507, "CommitFailed")


def test_of_a_group_with_one_error_that_error_counts() -> None:
    error = LimitExceeded("max_part_bytes", 100)
    group = ExceptionGroup("in a task group", [ExceptionGroup("in another", [error])])
    assert Problem.of(group) == Problem.of(error)
    assert sole_error(group) is error
    both = ExceptionGroup("two", [error, ValueError(SECRET)])
    assert sole_error(both) is both
    assert Problem.of(both).status == 500
    assert SECRET not in Problem.of(both).body().decode()


def test_members_of_a_limit() -> None:
    told = document(Problem.of(LimitExceeded("max_part_bytes", 100, part=PART, offset=100)))
    assert told == {
        "title": "Content Too Large",
        "status": 413,
        "detail": "expected at most max_part_bytes = 100, and more came "
        "(in part 2.0 'photo' (file 'a\\xe4.jpg'), at byte 100)",
        "error": "LimitExceeded",
        "part": {"path": [2, 0], "name": "photo", "filename": "a\u00e4.jpg"},
        "offset": 100,
        "limit": "max_part_bytes",
    }


def test_what_is_missing_is_told() -> None:
    told = document(Problem.of(MissingParts(["'meta'", "'photo'"])))
    assert told["missing"] == ["'meta'", "'photo'"]
    error = ResultsMismatch("acme.Upload", missing=["meta"], surplus=["a second 'photo'"])
    told = document(Problem.of(error))
    assert (told["missing"], told["surplus"]) == (["meta"], ["a second 'photo'"])
    assert told["detail"] == "meta: expected a part, got none; a second 'photo'"
    assert "unfit" not in told
    told = document(
        Problem.of(
            ResultsMismatch(
                SECRET,
                missing=["meta"],
                wrong=[f"size: {SECRET}"],
                failed=[f"photo: {SECRET}"],
                unfit=["size", "photo"],
                status=422,
            )
        )
    )
    assert told["unfit"] == ["size", "photo"]
    assert told["detail"] == (
        "meta: expected a part, got none; size: the part does not fit; photo: the part does not fit"
    )
    assert SECRET not in str(told)


def test_a_mismatch_of_many_parts_is_told_in_short() -> None:
    surplus = [f"part {i}" for i in range(10_000)]
    detail = Problem.of(ResultsMismatch("acme.Upload", surplus=surplus)).detail
    assert detail.endswith("part 9; and 9990 more")


# -- headers ----------------------------------------------------------------------------------


def test_headers_of_rejected_go_along() -> None:
    problem = Problem.of(Rejected(401, "who are you", {"WWW-Authenticate": "Bearer", "X-Id": "7"}))
    assert problem.headers == {"WWW-Authenticate": "Bearer", "X-Id": "7"}
    assert (problem.title, problem.detail) == ("Unauthorized", "who are you")


@pytest.mark.parametrize(
    "name",
    ["Content-Length", "content-type", "Content-Encoding", "Transfer-Encoding", "Connection",
     "Keep-Alive", "Upgrade", "TE", "Trailer", "X Y", "X:Y", "X\r\nSet-Cookie", "", "Ü"],
)  # fmt: skip
def test_headers_that_would_break_the_answer_are_left_out(name: str) -> None:
    assert Problem.of(Rejected(400, "no", {name: "1", "X-Own": "2"})).headers == {"X-Own": "2"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\r\nSet-Cookie: b=c", "a  Set-Cookie: b=c"),
        ("a\x00\x7fb\tc", "a  b\tc"),
        (" a ", "a"),
        ("\r\n", ""),
        ("日本 \u00e4", "?? \u00e4"),
        (5, "5"),
    ],
)
def test_values_of_headers_are_made_harmless(value: Any, expected: str) -> None:
    problem = Problem.of(Rejected(400, "no", {"X-Own": value}))
    assert problem.headers == {"X-Own": expected}


@pytest.mark.parametrize("status", [0, 99, 100, 200, 204, 304, 600])
def test_a_status_that_cannot_refuse_is_a_500(status: int) -> None:
    assert document(Problem.of(Rejected(status, "told")))["status"] == 500


@pytest.mark.parametrize("status", [303, 400, 418, 499, 507, 599])
def test_any_status_that_can_is_kept(status: int) -> None:
    told = document(Problem.of(Rejected(status, "told")))
    assert (told["status"], told["detail"]) == (status, "told")
    assert told["title"]


# -- the document -----------------------------------------------------------------------------


def test_bytes_that_are_no_utf8_are_escaped() -> None:
    error = NoRoute("no route", part=PartRef((0,), "caf\udce9"))
    body = Problem.of(error).body()
    assert b'"name": "caf\\udce9"' in body
    assert json.loads(body)["part"]["name"] == "caf\udce9"


def test_members_change_no_word_of_the_document() -> None:
    problem = Problem(422, "no", members={"status": 200, "title": "x", "own": [1]})
    assert document(problem) == {
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "no",
        "own": [1],
    }


def test_a_disconnect_has_a_problem_too() -> None:
    """For those who write it down; nobody is there to be answered."""
    assert Problem.of(ClientDisconnected("gone")).status == 400
