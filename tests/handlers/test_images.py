"""Pillow with a part as a file, whole and while it arrives."""

from __future__ import annotations

import io

import pytest
from anyio import to_thread
from PIL import Image, UnidentifiedImageError

from mpflow import MultipartReader, PartInfo, Router
from mpflow.testing import PartSpec, body, content_type_of
from mpflow_handlers import Spool, SyncHandler

pytestmark = pytest.mark.anyio


def photo(size: tuple[int, int] = (640, 480)) -> bytes:
    data = io.BytesIO()
    Image.effect_noise(size, 50).save(data, "PNG")
    return data.getvalue()


def thumbnail(file: io.BufferedReader, info: PartInfo | None = None) -> tuple[int, int]:
    with Image.open(file) as image:
        image.thumbnail((64, 64))
        return image.size


@pytest.mark.parametrize("most", ["1 KiB", None], ids=["file", "memory"])
async def test_a_spooled_photo(most: str | None) -> None:
    router = Router()
    route = router.add(Spool(most), filename="*.png")
    data = body([PartSpec(photo(), name="f", filename="a.png")])
    async with router.flow(MultipartReader(data, content_type_of())) as flow:
        spooled = flow.results[route]
        assert spooled.is_in_memory is (most is None)
        for _ in range(2):
            assert await to_thread.run_sync(thumbnail, spooled.file()) == (64, 48)


async def test_a_photo_as_it_arrives() -> None:
    router = Router()
    route = router.add(SyncHandler(thumbnail), name="f")
    reader = MultipartReader(body([("f", photo())]), content_type_of())
    assert (await router.dispatch(reader))[route] == (64, 48)
    reader = MultipartReader(body([("f", b"no photo")]), content_type_of())
    with pytest.raises(UnidentifiedImageError):
        await router.dispatch(reader)
