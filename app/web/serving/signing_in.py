"""How an answer signs a browser in, and what is known of the browser."""

from fastapi import Request
from starlette.responses import Response

from app.services import accounts
from app.web.rendering import render
from app.web.serving.deps import session_cookie, settings_of

# The service ends a session earlier (idle) or refuses it later (absolute); the cookie merely outlives both.
COOKIE_SECONDS = 30 * 24 * 3600


def signed_in(request: Request, token: str, path: str) -> Response:
    """Leads on to `path` with the session's cookie."""
    settings = settings_of(request)
    response = render.redirect(path)
    response.set_cookie(
        session_cookie(settings),
        token,
        max_age=COOKIE_SECONDS,
        path="/",
        secure=settings.secure_cookies,
        httponly=True,
        samesite="lax",
    )
    return response


def device_of(request: Request) -> str:
    """What the browser says that it is, as far as a page can show it."""
    said = request.headers.get("user-agent", "")
    return "".join(letter for letter in said if letter.isprintable())[: accounts.DEVICE_LENGTH]
