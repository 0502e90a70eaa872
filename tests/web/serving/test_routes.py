"""No route is open by accident: each is on this list, or turns away whoever is not signed in."""

import re
from collections.abc import Iterable, Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

PUBLIC = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/version"),
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("POST", "/sign-in/passkey"),
    ("POST", "/sign-in/passkey/options"),
    ("GET", "/sign-in/oidc"),
    ("GET", "/sign-in/oidc/callback"),
    ("GET", "/sign-in/link/{token}"),
    ("POST", "/sign-in/link/{token}"),
    ("GET", "/invitations/{token}"),
    ("POST", "/invitations/{token}"),
    ("POST", "/sign-out"),
    ("POST", "/preferences"),
}


@pytest.fixture
def endpoints(app: FastAPI) -> list[tuple[str, str]]:
    return sorted(set(_endpoints(app.routes)))


async def test_every_route_is_public_on_purpose_or_refuses_strangers(
    endpoints: list[tuple[str, str]], client: httpx.AsyncClient
) -> None:
    open_by_accident = []
    for method, path in endpoints:
        if (method, path) in PUBLIC:
            continue
        response = await client.request(method, re.sub(r"\{[^}]+\}", "1", path))
        to_sign_in = response.status_code == 303 and response.headers["location"].startswith("/sign-in")
        if not to_sign_in and response.status_code != 401:
            open_by_accident.append((method, path, response.status_code))
    assert open_by_accident == []


async def test_the_list_of_public_routes_names_only_routes_that_exist(endpoints: list[tuple[str, str]]) -> None:
    assert set(endpoints) >= PUBLIC
    assert ("POST", "/projects/{slug}/assignments/{assignment_id}/judgement") in endpoints


def _endpoints(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in routes:
        branches = getattr(route, "effective_candidates", None)
        if branches is not None:
            yield from _endpoints(branches())
        elif isinstance(getattr(route, "original_route", route), APIRoute) or getattr(route, "methods", None):
            for method in route.methods - {"HEAD", "OPTIONS"}:  # type: ignore[attr-defined]
                yield method, route.path  # type: ignore[attr-defined]
