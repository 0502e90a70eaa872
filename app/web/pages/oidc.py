"""Signing in with the site's identity provider: out to it, and back from it."""

import base64
from dataclasses import astuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.db.session import transaction
from app.errors import NotFound, NotSignedIn
from app.networks import network_of
from app.services.people import identities, oidc
from app.services.people.oidc import Begun, Provider, ProviderRefused
from app.settings import Settings
from app.web.pages.auth import sign_in_page
from app.web.rendering import render
from app.web.serving.deps import sessions_of, settings_of
from app.web.serving.signing_in import address_of, device_of, signed_in

router = APIRouter(prefix="/sign-in/oidc", include_in_schema=False)

AWAY_SECONDS = 15 * 60


@router.get("")
async def go(request: Request, next: str = "/") -> Response:  # noqa: A002 - the URL's word
    """Leads to the provider; what has to be the same on the way back is kept in this browser alone."""
    settings = settings_of(request)
    begun = oidc.new_begun()
    try:
        response = render.redirect(await oidc.address(_provider(settings), begun))
    except ProviderRefused as refusal:
        return sign_in_page(request, next_path=next, refusal=refusal)
    wanted = base64.urlsafe_b64encode(render.local_path(next).encode()).decode().rstrip("=")
    name, secure = _cookie(settings), settings.has_secure_cookies
    kept = ".".join((*astuple(begun), wanted))
    response.set_cookie(name, kept, max_age=AWAY_SECONDS, path="/", secure=secure, httponly=True, samesite="lax")
    return response


@router.get("/callback")
async def come_back(request: Request, code: str = "", state: str = "") -> Response:
    """Begins a session for whom the provider names, and leads on to the page that was wanted."""
    settings = settings_of(request)
    provider = _provider(settings)
    begun, wanted = _kept(request)
    try:
        if begun is None or not code:
            raise ProviderRefused
        # Before a connection to the database is taken: a slow provider must hold none.
        claims = await oidc.claims(provider, begun, code=code, state=state)
        async with transaction(sessions_of(request)) as db:
            try:
                token = await identities.sign_in(
                    db,
                    claims,
                    admin_group=settings.oidc_admin_group,
                    network=network_of(address_of(request)),
                    device=device_of(request),
                )
            except NotSignedIn as refusal:
                return sign_in_page(request, next_path=wanted, refusal=refusal)  # and the log keeps the failure
    except ProviderRefused as refusal:
        return sign_in_page(request, next_path=wanted, refusal=refusal)
    response = signed_in(request, token, wanted)
    response.delete_cookie(
        _cookie(settings), path="/", secure=settings.has_secure_cookies, httponly=True, samesite="lax"
    )
    return response


def _provider(settings: Settings) -> Provider:
    provider = oidc.provider_of(settings)
    if provider is None:
        raise NotFound
    return provider


def _kept(request: Request) -> tuple[Begun | None, str]:
    """What this browser took along to the provider, and the page that it wanted."""
    parts = request.cookies.get(_cookie(settings_of(request)), "").split(".")
    if len(parts) != 4:
        return None, "/"
    *secrets, wanted = parts
    try:
        path = base64.urlsafe_b64decode(wanted + "=" * (-len(wanted) % 4)).decode()
    except ValueError:
        path = "/"
    return Begun(*secrets), render.local_path(path)


def _cookie(settings: Settings) -> str:
    return "__Host-oidc" if settings.has_secure_cookies else "oidc"
