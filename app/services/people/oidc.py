"""Signing in with an OpenID Connect provider: authorization code with PKCE, a nonce, and an ID token that is verified.

All that knows authlib, which comes with the extra `oidc`. Nothing is kept here between the two halves: the browser has
it in a cookie.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import structlog

from app.errors import NotSignedIn
from app.services.people.identities import Claims
from app.settings import Settings, SettingsError

CALLBACK = "/sign-in/oidc/callback"
TIMEOUT_SECONDS = 10
LEEWAY_SECONDS = 60  # of two clocks
SIGNATURES = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
KNOWN_SECONDS = 300
Described = dict[str, Any]

_known: dict[str, tuple[float, Described]] = {}
log = structlog.get_logger(__name__)


class ProviderRefused(NotSignedIn):
    """The identity provider did not sign you in. Try again, or come in another way."""


@dataclass(frozen=True)
class Provider:
    """A provider and what this site is to it."""

    issuer: str
    client_id: str
    client_secret: str | None
    scopes: str
    groups_claim: str
    redirect_uri: str


@dataclass(frozen=True)
class Begun:
    """What the browser keeps while it is at the provider; each is a secret of 256 bits."""

    state: str
    nonce: str
    verifier: str


def provider_of(settings: Settings) -> Provider | None:
    """The provider of the settings, None where there is none. Raises SettingsError without the package for it."""
    if settings.oidc_issuer is None:
        return None
    if find_spec("authlib") is None:
        raise SettingsError("PLUMBLINE_OIDC_ISSUER needs a package more: pip install 'plumbline[oidc]'")
    secret_file = settings.oidc_client_secret_file
    return Provider(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=secret_file.read_text().strip() if secret_file else None,
        scopes=settings.oidc_scopes,
        groups_claim=settings.oidc_groups_claim,
        redirect_uri=settings.site_url + CALLBACK,
    )


def provider_name(settings: Settings) -> str:
    """What the sign-in page calls the provider; empty where there is none."""
    return settings.oidc_name or urlsplit(settings.oidc_issuer or "").hostname or ""


def new_begun() -> Begun:
    return Begun(*(secrets.token_urlsafe(32) for _ in range(3)))


async def address(provider: Provider, begun: Begun) -> str:
    """Where the browser goes to be signed in. Raises ProviderRefused where the provider doesn't answer."""
    from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
    from authlib.oauth2.rfc7636 import create_s256_code_challenge

    with _refusing():
        async with _client() as client:
            described = await _described(client, provider)
        return str(
            prepare_grant_uri(
                described["authorization_endpoint"],
                client_id=provider.client_id,
                response_type="code",
                redirect_uri=provider.redirect_uri,
                scope=provider.scopes,
                state=begun.state,
                nonce=begun.nonce,
                code_challenge=create_s256_code_challenge(begun.verifier),
                code_challenge_method="S256",
            )
        )


async def claims(provider: Provider, begun: Begun, *, code: str, state: str) -> Claims:
    """What the provider says of who comes back from it with `code`. Raises ProviderRefused."""
    if not secrets.compare_digest(state.encode(), begun.state.encode()):
        raise ProviderRefused
    with _refusing():
        async with _client() as client:
            described = await _described(client, provider)
            token = await _token(client, provider, described, code=code, verifier=begun.verifier)
            keys = (await client.get(described["jwks_uri"])).raise_for_status().json()
            said = _verified(provider, token["id_token"], keys, nonce=begun.nonce)
            said |= await _user_info(client, described, token["access_token"], subject=said["sub"])
    return Claims(
        issuer=provider.issuer,
        subject=str(said["sub"]),
        name=str(said.get("name") or said.get("preferred_username") or ""),
        email=str(said.get("email") or ""),
        groups=_groups(said.get(provider.groups_claim)),
    )


async def _described(client: httpx.AsyncClient, provider: Provider) -> Described:
    """Asked anew after some minutes: anybody may ask for the way to the provider, who must not be asked as often."""
    known = _known.get(provider.issuer)
    if known is not None and time.monotonic() - known[0] < KNOWN_SECONDS:
        return known[1]
    found = await client.get(provider.issuer.rstrip("/") + "/.well-known/openid-configuration")
    described: Described = found.raise_for_status().json()
    if described["issuer"] != provider.issuer:
        raise ValueError("the description is of another issuer")
    _known[provider.issuer] = time.monotonic(), described
    return described


async def _token(
    client: httpx.AsyncClient, provider: Provider, described: Described, *, code: str, verifier: str
) -> Described:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": provider.redirect_uri,
        "client_id": provider.client_id,
        "code_verifier": verifier,
    }
    # RFC 6749, 2.3.1: both are encoded as in a form.
    own = (quote(provider.client_id, safe=""), quote(provider.client_secret or "", safe=""))
    auth = httpx.BasicAuth(*own) if provider.client_secret else httpx.USE_CLIENT_DEFAULT
    answer = await client.post(described["token_endpoint"], data=form, auth=auth)
    token: Described = answer.raise_for_status().json()
    return token


def _verified(provider: Provider, id_token: str, keys: Described, *, nonce: str) -> Described:
    """The claims of an ID token that this provider has signed, for this site, now and for this browser."""
    from authlib.oidc.core import CodeIDToken
    from joserfc import jwt
    from joserfc.jwk import KeySet

    decoded = jwt.decode(id_token, KeySet.import_key_set(keys), algorithms=SIGNATURES)  # type: ignore[arg-type]
    wanted = {
        "iss": {"essential": True, "value": provider.issuer},
        "aud": {"essential": True, "value": provider.client_id},
    }
    bound = {"nonce": nonce, "client_id": provider.client_id}
    CodeIDToken(decoded.claims, decoded.header, wanted, bound).validate(leeway=LEEWAY_SECONDS)
    return dict(decoded.claims)


async def _user_info(client: httpx.AsyncClient, described: Described, access_token: str, *, subject: str) -> Described:
    """Claims that aren't in the ID token, where the provider has an endpoint for them."""
    if "userinfo_endpoint" not in described:
        return {}
    headers = {"Authorization": f"Bearer {access_token}"}
    said: Described = (await client.get(described["userinfo_endpoint"], headers=headers)).raise_for_status().json()
    if said.get("sub") != subject:
        raise ValueError("the claims are of somebody else")
    return said


def _groups(said: object) -> frozenset[str] | None:
    if isinstance(said, str):
        return frozenset({said})
    return frozenset(name for name in said if isinstance(name, str)) if isinstance(said, list) else None


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=TIMEOUT_SECONDS)


@contextmanager
def _refusing() -> Iterator[None]:
    """Whatever a provider does wrong, or isn't there to do, is the same to who wants to sign in; the log has it."""
    from authlib.common.errors import AuthlibBaseError
    from joserfc.errors import JoseError

    try:
        yield
    except (httpx.HTTPError, AuthlibBaseError, JoseError, ValueError, LookupError, TypeError, AttributeError) as error:
        log.warning("oidc.refused", error=f"{type(error).__name__}: {error}"[:300])
        raise ProviderRefused from error
