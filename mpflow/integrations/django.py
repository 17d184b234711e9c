"""Django: views that stream, though middleware would read their bodies first.

Knows: Django's order of middleware, views and CSRF checks.
Must not know: how a body is read; `wsgi.py` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, TypeVar, overload

from mpflow import MultipartError, Rejected, Results, RouteError, Router
from mpflow.integrations import wsgi
from mpflow.integrations.wsgi import Backend, HeldFlow

__all__ = ["Uploads", "check_csrf", "dispatch", "flow", "streamed"]

T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])

_MARK: Final = "mpflow_streamed"

# Django has no types: what comes of it is Any, here and nowhere else.
_conf: Final[Any] = import_module("django.conf")
_http: Final[Any] = import_module("django.http")
_csrf: Final[Any] = import_module("django.middleware.csrf")


def streamed(view: View) -> View:
    """Mark a view, a function or what `as_view()` gives: its body is read by mpflow alone.

    The CSRF middleware looks for the token of a POST in `request.POST` first, which would read all
    of the body. For such a view `request.POST` is empty, and the token has to come in the header
    (`X-CSRFToken`). It needs `Uploads` in MIDDLEWARE.
    """
    setattr(view, _MARK, True)
    return view


class Uploads:
    """A middleware, to stand before that of CSRF: keeps the bodies of views that are `streamed`.

    And it answers each `MultipartError` of any view with its status and problem details.
    """

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self._get_response(request)

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> None:
        if getattr(view, _MARK, False):
            # Django makes no form of a body that somebody has begun to read.
            request.read(0)
            setattr(request, _MARK, True)

    def process_exception(self, request: Any, error: Exception) -> Any:
        if not isinstance(error, MultipartError):
            return None
        told = wsgi.answer_for(error)
        return _http.HttpResponse(told.body, status=told.status, headers=dict(told.headers))


@overload
def dispatch(
    request: Any,
    router: Router,
    *,
    into: None = None,
    given: Mapping[str, object] | None = None,
    backend: Backend = "asyncio",
) -> Results: ...


@overload
def dispatch(
    request: Any,
    router: Router,
    *,
    into: type[T],
    given: Mapping[str, object] | None = None,
    backend: Backend = "asyncio",
) -> T: ...


def dispatch(
    request: Any,
    router: Router,
    *,
    into: type[Any] | None = None,
    given: Mapping[str, object] | None = None,
    backend: Backend = "asyncio",
) -> Any:
    """`wsgi.dispatch` for Django's request. `RouteError` where its body was read before."""
    _expect_unread(request)
    return wsgi.dispatch(router, request.environ, into=into, given=given, backend=backend)


def flow(
    request: Any,
    router: Router,
    *,
    into: type[Any] | None = None,
    given: Mapping[str, object] | None = None,
    backend: Backend = "asyncio",
) -> HeldFlow:
    """`wsgi.flow` for Django's request. `RouteError` where its body was read before."""
    _expect_unread(request)
    return wsgi.flow(router, request.environ, into=into, given=given, backend=backend)


def check_csrf(request: Any, token: str | None) -> None:
    """Check a token that came as a part of the body, in a view that is `csrf_exempt`.

    Called in the block of `flow`, where nothing is committed yet: `Rejected` with 403 rolls all of
    it back. For forms of pages without JavaScript, which cannot send a header.
    """
    request.read(0)  # the body is over, and no form is to be made of it
    request.META[_conf.settings.CSRF_HEADER_NAME] = token or ""
    request.csrf_processing_done = False
    check = _csrf.CsrfViewMiddleware(_unmarked)
    if check.process_view(request, _unmarked, (), {}) is not None:
        raise Rejected(403, "expected the CSRF token that belongs to the cookie")


def _unmarked(request: Any) -> None:
    """A view that is not exempt."""


def _expect_unread(request: Any) -> None:
    is_read = getattr(request, "_read_started", False) or hasattr(request, "_post")
    if is_read and not getattr(request, _MARK, False):
        raise RouteError(
            "expected a body that nobody has read; request.POST or its like has, perhaps for the "
            "CSRF check: mark the view as streamed, and have Uploads stand before that check"
        )
