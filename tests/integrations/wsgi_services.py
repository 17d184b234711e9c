"""Upload services in Django, in Flask, and without either, as a server of WSGI finds them.

Knows: Django, Flask. Must not know: which server runs it.

`application` has `/django/...` and `/flask/...`, on asyncio; `?backend=trio` on trio. It stores
into `WSGI_FOLDER`.
`/hasty/...` and `/bare/...` wait for nobody; the latter does not linger either.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import attrs
import flask
from anyio import to_thread
from django import conf, urls
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt, ensure_csrf_cookie

from mpflow import Limits, Part, Rejected, Router
from mpflow.integrations import django as uploads
from mpflow.integrations import wsgi
from mpflow.integrations.exchange import Linger
from mpflow_handlers import Save, Saved, Text

FOLDER = Path(os.environ["WSGI_FOLDER"])
FOLDER.mkdir(exist_ok=True)

router = Router(limits=Limits(max_part_bytes="300 MiB"))
router.add(Text(), name="csrfmiddlewaretoken")
router.add(Text(), name="title", key="title", required=True)


@router.route(name="refuse")
async def refuse(part: Part) -> None:
    raise Rejected(402, "no", {"X-Why": "because"})


@router.route(name="broken")
async def broken(part: Part) -> None:
    raise OSError("secret")


@router.route(name="slow")
async def slow(part: Part) -> int:
    """Keeps up with some 50 MB a second."""
    size = 0
    async for chunk in part:
        await to_thread.run_sync(hashlib.pbkdf2_hmac, "sha256", bytes(32), chunk[:64], 4000)
        size += len(chunk)
    return size


files = router.add(Save(FOLDER, digests=["sha256"]), filename="?*", key="files")


@attrs.frozen
class Upload:
    title: str
    files: list[Saved]


def told(upload: Upload) -> dict[str, Any]:
    found = [{"size": one.size, **one.digests} for one in upload.files]
    return {"title": upload.title, "files": found}


# -- Django -----------------------------------------------------------------------------------

conf.settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="of a test",
    MIDDLEWARE=[
        "mpflow.integrations.django.Uploads",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    LOGGING_CONFIG=None,
)


@uploads.streamed
def upload(request: Any) -> Any:
    backend = request.GET.get("backend", "asyncio")
    return JsonResponse(told(uploads.dispatch(request, router, into=Upload, backend=backend)))


@csrf_exempt
def form(request: Any) -> Any:
    with uploads.flow(request, router) as flow:
        uploads.check_csrf(request, flow.results.get("csrfmiddlewaretoken"))
    return JsonResponse({"files": len(flow.results.all(files))})


@csrf_exempt
def failing(request: Any) -> Any:
    with uploads.flow(request, router) as flow:
        raise ZeroDivisionError(len(flow.results))


@ensure_csrf_cookie
def token(request: Any) -> Any:
    return HttpResponse(request.META["CSRF_COOKIE"])


urlpatterns = [
    urls.path("upload", upload),
    urls.path("unmarked", lambda request: upload(request)),
    urls.path("form", form),
    urls.path("failing", failing),
    urls.path("token", token),
]
in_django = wsgi.Lingering(get_wsgi_application())

# -- Flask ------------------------------------------------------------------------------------

in_flask = flask.Flask(__name__)
wsgi.install(in_flask)


@in_flask.post("/upload")
def flask_upload() -> Any:
    request = flask.request
    backend = request.args.get("backend", "asyncio")
    return told(wsgi.dispatch(router, request.environ, into=Upload, backend=backend))


@in_flask.post("/failing")
def flask_failing() -> Any:
    with wsgi.flow(router, flask.request.environ) as flow:
        raise ZeroDivisionError(len(flow.results))


@in_flask.post("/read")
def flask_read() -> Any:
    assert flask.request.form
    wsgi.dispatch(router, flask.request.environ)


# -- without a framework ----------------------------------------------------------------------

hasty_router = Router(limits=Limits(idle_timeout=0.3))
hasty_router.route(name="refuse")(refuse)
hasty_router.route()(slow)


def bare(environ: Any, start_response: Any) -> Any:
    try:
        wsgi.dispatch(hasty_router, environ)
    except Exception as error:
        return wsgi.respond(error, start_response)
    start_response("204 No Content", [])
    return []


hasty = wsgi.Lingering(bare, Linger(seconds=0.1, known_seconds=0.1))

# -- all --------------------------------------------------------------------------------------


def application(environ: Any, start_response: Any) -> Any:
    framework, _, path = environ["PATH_INFO"][1:].partition("/")
    environ["PATH_INFO"] = f"/{path}"
    environ["SCRIPT_NAME"] = f"/{framework}"
    app: Any = {
        "django": in_django,
        "flask": in_flask.wsgi_app,
        "hasty": hasty,
        "bare": bare,
    }[framework]
    return app(environ, start_response)
