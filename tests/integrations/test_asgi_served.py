"""Routers as ASGI applications, under real servers."""

from __future__ import annotations

from typing import Any

import pytest

from mpflow import Flow
from mpflow.integrations.asgi import Front, Upload
from tests.integrations.contract import Contract, Demo
from tests.integrations.contract import Upload as Uploaded

pytestmark = pytest.mark.anyio


async def _nowhere(scope: Any, receive: Any, send: Any) -> None:
    """Speaks no protocol, lifespan neither."""
    raise NotImplementedError


class TestUpload(Contract):
    def make_app(self, demo: Demo) -> Any:
        def typed(flow: Flow) -> object:
            return flow.results.into(Uploaded).told()

        async def checked(flow: Flow) -> object:
            upload = flow.results.into(Uploaded)
            demo.check(upload.title)
            return upload.told()

        return Front(
            _nowhere, {"/typed": Upload(demo.router, typed), "/flow": Upload(demo.router, checked)}
        )
