"""The services of Django and of Flask under WSGI, at `/django` and `/flask`: `application`.

Knows: how each takes an upload. Must not know: who uploads, or what is in it.
"""

from __future__ import annotations

from typing import Any

import flask
from django import conf, urls
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt

from mpflow.integrations import django as with_django
from mpflow.integrations import wsgi
from tests.clients.matrix.telling import PAGE, ROUTER, told

__all__ = ["application"]

conf.settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="of a test",
    MIDDLEWARE=["mpflow.integrations.django.Uploads"],
    LOGGING_CONFIG=None,
)


@csrf_exempt
def upload(request: Any) -> Any:
    return JsonResponse(told(with_django.dispatch(request, ROUTER)))


urlpatterns = [urls.path("django", upload)]
in_django = wsgi.Lingering(get_wsgi_application())

in_flask = flask.Flask(__name__)
wsgi.install(in_flask)


@in_flask.get("/")
def show() -> Any:
    return PAGE


@in_flask.post("/flask")
def flask_upload() -> Any:
    return told(wsgi.dispatch(ROUTER, flask.request.environ))


def application(environ: Any, start_response: Any) -> Any:
    app: Any = in_django if environ["PATH_INFO"] == "/django" else in_flask.wsgi_app
    return app(environ, start_response)
