"""Every error becomes a page, a toast or JSON here, with the request id that the log has too."""

import json
from http import HTTPStatus
from urllib.parse import quote, urlsplit

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.errors import DomainError, Forbidden, Invalid, NotFound, NotSignedIn
from app.logs import kind_of
from app.web.locales import gettext, translated
from app.web.rendering import render

log = structlog.get_logger(__name__)

API = "/api/"


def install(app: FastAPI) -> None:
    """Have every error but crashes answered here."""
    app.add_exception_handler(DomainError, _domain_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(DataError, _impossible_value)


def crashed(request: Request) -> Response:
    """The answer to an error that nobody foresaw; the boundary has logged it."""
    message = gettext("Something went wrong on our side. Nothing you sent was saved.")
    return respond(request, 500, "ServerError", message)


def respond(request: Request, status: int, name: str, message: str, **details: object) -> Response:
    """`name` is the class of error that a program can rely on, `message` what a person reads."""
    if request.url.path.startswith(API):
        return _problem(request, status, name, message, details)
    if render.is_htmx(request):
        response: Response = render.partial(request, "_toast.html", status_code=status, message=message, error=True)
        response.headers["HX-Retarget"] = "#toasts"
        response.headers["HX-Reswap"] = "innerHTML"
        return response
    return render.page(request, "error.html", status_code=status, status=status, message=message)


def answered(request: Request, error: DomainError) -> Response:
    """What was refused, and when it is worth trying again."""
    return saying_when(respond(request, error.status, type(error).__name__, translated(error)), error)


def saying_when(response: Response, error: DomainError | None) -> Response:
    """The answer, with when it is worth trying again where that is known."""
    if error is not None and error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def _problem(request: Request, status: int, name: str, message: str, details: dict[str, object]) -> Response:
    """RFC 9457. The type leads to the error's line in the documentation of the API."""
    body = {
        "type": f"/api/docs#error-{name}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": message,
        "request_id": request_id(request),
        **details,
    }
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    # What was sent may be told again, half a character in it, too; a backslash and its number are JSON for that.
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    return Response(content, status, headers=headers, media_type="application/problem+json")


def request_id(request: Request) -> str:
    """What the log calls the request; empty before it has a name."""
    return str(getattr(request.state, "request_id", ""))


async def _domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    if isinstance(error, NotSignedIn) and not request.url.path.startswith(API):
        return _to_sign_in(request)
    return answered(request, error)


def _to_sign_in(request: Request) -> Response:
    if render.is_htmx(request):
        return Response(status_code=401, headers={"HX-Redirect": _sign_in(request.headers.get("hx-current-url", ""))})
    if request.method == "GET":
        return render.redirect(_sign_in(str(request.url)))
    said = gettext("Nothing was saved yet. Sign in in another tab and load this page again: it sends what you typed.")
    return respond(request, 401, "NotSignedIn", said)


def _sign_in(wanted: str) -> str:
    """The address of the sign-in page, which leads on to the page that was `wanted`."""
    parts = urlsplit(wanted)
    back = parts.path + (f"?{parts.query}" if parts.query else "")
    return "/sign-in" if back in {"", "/"} else f"/sign-in?next={quote(back, safe='/')}"


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return respond(request, 404, "NotFound", translated(NotFound()))
    if error.status_code == 403:
        return respond(request, 403, "Forbidden", translated(Forbidden()))
    response = respond(request, error.status_code, "HTTPError", error.detail)
    response.headers.update(error.headers or {})
    return response


async def _impossible_value(request: Request, error: Exception) -> Response:
    """A value that no column can hold, in a form or an address: a number beyond 64 bits, a NUL in a text."""
    log.info("request.impossible_value", error=kind_of(error.__cause__ or error))
    return respond(request, 422, "Invalid", translated(Invalid()))


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    mistakes = [
        {"field": ".".join(str(part) for part in mistake["loc"][1:]), "message": mistake["msg"]}
        for mistake in error.errors()
    ]
    said = "; ".join(f"{mistake['field']}: {mistake['message']}" for mistake in mistakes)
    return respond(request, 422, "Invalid", f"That input can't be used. {said}", errors=mistakes)
