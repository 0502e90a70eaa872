"""How an answer signs a browser in, and what is known of the browser."""

from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from app.services import accounts
from app.services.people.ceremonies import RelyingParty, relying_party, required_party
from app.settings import Settings
from app.web.rendering import render
from app.web.serving.deps import session_cookie, settings_of

KNOWN_SECONDS = 400 * 24 * 3600  # the most that browsers keep a cookie for
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
        secure=settings.has_secure_cookies,
        httponly=True,
        samesite="lax",
    )
    response.set_cookie(
        _known_cookie(settings),
        accounts.browser_token(token),
        max_age=KNOWN_SECONDS,
        path="/",
        secure=settings.has_secure_cookies,
        httponly=True,
        samesite="lax",
    )
    return response


def known_browser(request: Request) -> str:
    """What makes this browser known again, after somebody was signed in in it; empty before."""
    return request.cookies.get(_known_cookie(settings_of(request)), "")


def device_of(request: Request) -> str:
    """What the browser says that it is, as far as a page can show it."""
    said = request.headers.get("user-agent", "")
    return "".join(letter for letter in said if letter.isprintable())[: accounts.DEVICE_LENGTH]


def party_of(request: Request) -> RelyingParty | None:
    """What passkeys are bound to here; None where there can be none."""
    return relying_party(settings_of(request).site_url)


async def require_party(request: Request) -> RelyingParty:
    """What passkeys are bound to here. Raises Conflict where there can be none."""
    return required_party(settings_of(request).site_url)


Party = Annotated[RelyingParty, Depends(require_party)]


def _known_cookie(settings: Settings) -> str:
    return "__Host-known" if settings.has_secure_cookies else "known"


def address_of(request: Request) -> str:
    """Where the request comes from, for counting tries."""
    return request.client.host if request.client else "unknown"
