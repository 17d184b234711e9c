"""The deployed service against a real S3 API: what races and failing puts leave in the bucket.

Knows: docs/examples/deployment/service.py, HTTP, and what is in the bucket.
Must not know: nginx, processes that are killed (`tests/clients/test_deployment.py`).
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import httpx
import obstore
import pytest

from mpflow.testing import PartSpec, body, content_type_of
from tests.http import serving
from tests.objects import Bucket, Fault

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "deployment" / "service.py"
NAME = "0123456789abcdef"
MANIFEST = f"manifests/{NAME}.json"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = spec_from_file_location("deployed_service", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # attrs looks the module of a class up by its name.
    sys.modules["deployed_service"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def service(example: ModuleType, bucket: Bucket) -> Any:
    return example.Service(bucket.store())


async def post(service: Any, times: int = 1) -> list[int]:
    """Upload the same two files so many times at once; the statuses."""
    files = [PartSpec(data, name="f", filename="a.bin") for data in (b"one", b"two")]
    statuses: list[int] = []

    async def one(client: httpx.AsyncClient, url: str) -> None:
        headers = {"Content-Type": content_type_of()}
        answer = await client.post(url, content=body(files), headers=headers)
        statuses.append(answer.status_code)

    async with (
        serving(service) as port,
        httpx.AsyncClient(timeout=PATIENCE) as client,
        anyio.create_task_group() as group,
    ):
        for _ in range(times):
            group.start_soon(one, client, f"http://127.0.0.1:{port}/uploads/{NAME}")
    return statuses


def named(bucket: Bucket) -> list[str]:
    """What belongs to the upload that counts: its manifest, and what that names."""
    manifest = json.loads(bytes(obstore.get(bucket.store(), MANIFEST).bytes()))
    return sorted([MANIFEST, *(file["key"] for file in manifest["files"])])


def puts_manifest(method: str, path: str) -> bool:
    return method == "PUT" and MANIFEST in path


async def test_of_tries_at_once_one_stays(service: Any, bucket: Bucket) -> None:
    together = threading.Barrier(4)

    def meet(method: str, path: str) -> None:
        if puts_manifest(method, path):
            together.wait(PATIENCE)

    bucket.fault = meet
    assert Counter(await post(service, 4)) == {201: 1, 409: 3}
    assert bucket.left() == (named(bucket), [])
    assert len(bucket.keys()) == 3


async def test_a_manifest_whose_answer_was_lost_counts(service: Any, bucket: Bucket) -> None:
    bucket.fault = lambda method, path: "lose" if puts_manifest(method, path) else None
    assert await post(service) == [201]
    assert bucket.keys() == named(bucket)


def test_a_manifest_that_is_there_already_may_be_ones_own(
    example: ModuleType, bucket: Bucket
) -> None:
    """As where a store is asked again because its first answer was lost."""
    store = bucket.store()
    example.publish(store, NAME, b"{}")
    example.publish(store, NAME, b"{}")
    with pytest.raises(example.Rejected):
        example.publish(store, NAME, b'{"files": []}')
    assert bytes(obstore.get(store, MANIFEST).bytes()) == b"{}"


@pytest.mark.parametrize("fault", [500, "lose"])
async def test_where_it_cannot_be_told_the_objects_stay(
    service: Any, bucket: Bucket, fault: Fault
) -> None:
    """A manifest that stands, or that may still come, must have its objects."""

    def fail(method: str, path: str) -> Fault:
        if puts_manifest(method, path):
            return fault
        # One that stands cannot be read back; the look at the beginning is a HEAD.
        return 500 if method == "GET" and fault == "lose" and MANIFEST in path else None

    bucket.fault = fail
    assert await post(service) == [500]
    bucket.fault = lambda method, path: None
    left = bucket.keys()
    assert len([key for key in left if key != MANIFEST]) == 2
    assert (left == named(bucket)) if fault == "lose" else MANIFEST not in left


@pytest.mark.parametrize("fault", [500, "lose"])
async def test_a_commit_that_fails_leaves_nothing(
    service: Any, bucket: Bucket, fault: Fault
) -> None:
    """Neither the objects before it, nor the one that came through without an answer."""

    def fail(method: str, path: str) -> Fault:
        return fault if method == "PUT" and path.endswith("/1") else None

    bucket.fault = fail
    (status,) = await post(service)
    assert status >= 500
    assert bucket.left() == ([], [])


async def test_objects_that_cannot_be_deleted_change_no_answer(
    service: Any, bucket: Bucket
) -> None:
    puts: list[str] = []

    def fail(method: str, path: str) -> Fault:
        if puts_manifest(method, path):
            puts.append(path)
            if len(puts) == 1:  # that of another try comes first
                obstore.put(bucket.store(), MANIFEST, b"{}")
        return 500 if method in ("POST", "DELETE") else None

    bucket.fault = fail
    assert await post(service) == [409]
    assert len(bucket.keys()) == 3
