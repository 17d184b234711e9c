"""What a type checker knows of an upload that comes as FastAPI's dependency, or of a request."""

from __future__ import annotations

from typing import Annotated, assert_type

import attrs
from fastapi import Depends, FastAPI, Request

from mpflow import Flow, Results, Router
from mpflow.integrations import fastapi, starlette
from mpflow.integrations.fastapi import Multipart


@attrs.frozen
class Upload:
    title: str


router = Router()
app = FastAPI()
fastapi.install(app)


def user() -> str:
    return "ann"


assert_type(Multipart(router, into=Upload), Upload)
assert_type(Multipart(router, into=Results), Results)
assert_type(Multipart(router), Flow)
assert_type(Multipart(router, given={"user": Depends(user), "n": 1}), Flow)
Multipart(router, given=lambda: {"user": "ann"})
Multipart(router, given=3)  # error: neither a mapping nor a dependency
Multipart("router")  # error: no router


@app.post("/")
async def upload(upload: Annotated[Upload, Multipart(router, into=Upload)]) -> str:
    return upload.title


UPLOADED = Multipart(router, into=Upload)


@app.post("/default")
async def default(upload: Upload = UPLOADED) -> str:
    return upload.title


async def endpoint(request: Request) -> None:
    assert_type(await fastapi.dispatch(request, router), Results)
    assert_type(await starlette.dispatch(request, router, into=Upload), Upload)
    async with starlette.flow(request, router) as uploaded:
        assert_type(uploaded, Flow)
