"""What a type checker knows of readers: how one is made, and of which class it is."""

from __future__ import annotations

from typing import assert_type

from mpflow import MultipartReader


class Own(MultipartReader):
    pass


def made(message: object) -> None:
    assert_type(MultipartReader.from_message(message), MultipartReader)
    assert_type(MultipartReader.from_response(message), MultipartReader)
    assert_type(Own.from_message(message), Own)
    assert_type(Own.from_response(message, tolerate={"nul"}), Own)
