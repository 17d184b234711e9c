"""`SyncHandler` with a library that reads files from threads of its own: pyarrow."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any

import pyarrow
import pytest
from pyarrow import csv

from mpflow import FormData, MultipartReader, PartInfo, Router, TruncatedBody
from mpflow_handlers import SyncHandler

pytestmark = [pytest.mark.clients, pytest.mark.anyio]

BLOCKS = 200
LINES = b"".join(b"%d,%d\n" % (i, i * i) for i in range(1000))


def upload(blocks: int = BLOCKS, *, fails: bool = False) -> FormData:
    async def table() -> AsyncIterator[bytes]:
        yield b"number,square\n"
        for _ in range(blocks):
            yield LINES
        if fails:
            raise TruncatedBody("cut")

    form = FormData()
    form.add("table", table(), filename="a.csv")
    return form


async def dispatch(function: Any, form: FormData) -> Any:
    router = Router()
    route = router.add(SyncHandler(function), name="table")
    return (await router.dispatch(MultipartReader(form, form.content_type)))[route]


async def test_a_whole_table() -> None:
    def read(file: io.BufferedReader, info: PartInfo) -> pyarrow.Table:
        return csv.read_csv(file)

    table = await dispatch(read, upload())
    assert table.num_rows == BLOCKS * 1000
    assert table.column("square")[-1].as_py() == 999 * 999


async def test_batch_by_batch() -> None:
    def read(file: io.BufferedReader, info: PartInfo) -> int:
        with csv.open_csv(file) as batches:
            return sum(batch.num_rows for batch in batches)

    assert await dispatch(read, upload()) == BLOCKS * 1000


async def test_the_first_batch_is_enough() -> None:
    def read(file: io.BufferedReader, info: PartInfo) -> int:
        # It reads ahead in threads of its own, which are left behind.
        return int(csv.open_csv(file).read_next_batch().num_rows)

    assert 0 < await dispatch(read, upload(2000)) < 2_000_000


async def test_a_cut_table() -> None:
    def read(file: io.BufferedReader, info: PartInfo) -> pyarrow.Table:
        return csv.read_csv(file)

    form = upload(fails=True)
    with pytest.raises(TruncatedBody, match="cut"):
        await dispatch(read, form)
