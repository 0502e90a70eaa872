"""What protects every request, whatever it asks for. Numbers are items of OWASP ASVS 5.0."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from app.services import accounts
from app.settings import Settings
from app.web.serving.body_limit import MOST_BYTES
from tests.factories import make_member, make_project
from tests.sites import new_site
from tests.web.conftest import HOST, SITE, SignIn, client_of

CROSS_SITE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "", "Origin": SITE},
    {"Origin": "https://elsewhere.test"},
    {"Origin": "null"},
    {"Origin": f"{SITE}.elsewhere.test"},
    {"Origin": "https://elsewhere.test", "Authorization": "Bearer x", "Cookie": "session=y"},
]
OUR_OWN = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": SITE},
    {},
    {"Sec-Fetch-Site": "cross-site", "Authorization": "Bearer x"},
]


@pytest.fixture
def app_alone() -> FastAPI:
    """The application without its database: nothing here gets as far."""
    return new_site(Settings(database_url="postgresql://nowhere", trusted_hosts=HOST))


@pytest.fixture
async def client(app_alone: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_alone) as client:
        yield client


@pytest.fixture
def bare(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client that doesn't say what site it is on."""
    del client.headers["Sec-Fetch-Site"]
    return client


@pytest.mark.parametrize("headers", CROSS_SITE)
async def test_3_5_1_a_change_from_another_site_is_refused(bare: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await bare.post("/preferences", data={"theme": "dark"}, headers=headers)
    assert response.status_code == 403
    assert "set-cookie" not in response.headers
    assert response.headers["x-request-id"] in response.text


@pytest.mark.parametrize("headers", OUR_OWN)
async def test_3_5_1_a_change_from_our_own_pages_or_from_no_browser_goes_through(
    bare: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    response = await bare.post("/preferences", data={"theme": "dark"}, headers=headers)
    assert response.status_code == 303


async def test_3_5_1_looking_from_another_site_is_allowed(bare: httpx.AsyncClient) -> None:
    response = await bare.get("/sign-in", headers={"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 200


async def test_3_5_1_behind_a_proxy_the_public_address_is_our_own() -> None:
    app = new_site(Settings(public_url="https://example.org/", trusted_hosts=HOST))
    async with client_of(app) as client:
        del client.headers["Sec-Fetch-Site"]
        response = await client.post("/preferences", data={}, headers={"Origin": "https://example.org"})
    assert response.status_code == 303


@pytest.mark.parametrize("path", ["/sign-in", "/nowhere", "/healthz", "/static/x/css/app.css", "/api/v1/nowhere"])
async def test_3_4_every_answer_carries_the_protecting_headers(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "strict-transport-security" not in headers


async def test_3_3_over_https_cookies_are_bound_to_this_host_and_https_is_remembered(
    database_url: str, db: AsyncSession
) -> None:
    person = await make_member(db, await make_project(db))
    link = await accounts.create_sign_in_link(db, person.user_id)
    await db.commit()
    app = new_site(Settings(database_url=database_url, secure_cookies=True, trusted_hosts=HOST))
    async with app.router.lifespan_context(app), client_of(app) as client:
        response = await client.post(f"/sign-in/link/{link}")
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-session=")
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert response.headers["strict-transport-security"] == "max-age=31536000"


async def test_16_5_1_a_crash_is_answered_with_its_request_id_and_nothing_of_the_inside(
    app_alone: FastAPI, client: httpx.AsyncClient
) -> None:
    async def crash() -> None:
        raise RuntimeError("the secret inside")

    app_alone.add_api_route("/crash", crash)
    response = await client.get("/crash")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.headers["x-request-id"] in response.text
    assert "content-security-policy" in response.headers


async def test_a_proxys_request_id_is_taken_over_unless_it_is_odd(client: httpx.AsyncClient) -> None:
    given = await client.get("/healthz", headers={"X-Request-ID": "abcdef-0123"})
    assert given.headers["x-request-id"] == "abcdef-0123"
    odd = await client.get("/healthz", headers={"X-Request-ID": "<script>alert(1)</script>"})
    assert odd.headers["x-request-id"].isalnum()


async def test_4_3_1_a_body_beyond_the_limit_is_refused_unread(client: httpx.AsyncClient) -> None:
    response = await client.post("/preferences", content=b"theme=" + b"x" * MOST_BYTES)
    assert response.status_code == 413


async def test_a_program_is_told_of_a_body_that_is_too_large_as_of_anything_else(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/v1/projects", content=b"x" * (MOST_BYTES + 1))
    assert (response.status_code, response.headers["content-type"]) == (413, "application/problem+json")
    assert response.json()["status"] == 413


async def test_4_3_1_a_body_that_hides_its_length_is_refused_too(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> object:
        nonlocal sent
        while sent < 64 * MOST_BYTES:
            sent += 65_536
            yield b"x" * 65_536

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await client.post("/preferences", content=endless(), headers=headers)  # type: ignore[arg-type]
    assert response.status_code == 413


async def test_8_2_2_a_project_of_others_looks_like_one_that_does_not_exist(db: AsyncSession, sign_in: SignIn) -> None:
    mine, theirs = await make_project(db), await make_project(db)
    client = await sign_in(await make_member(db, mine))
    foreign = await client.get(f"/projects/{theirs.slug}/annotate")
    missing = await client.get("/projects/never-made/annotate")
    assert foreign.status_code == missing.status_code == 404
    assert _without_ids(foreign) == _without_ids(missing).replace("never-made", theirs.slug)


def _without_ids(response: httpx.Response) -> str:
    return response.text.replace(response.headers["x-request-id"], "")
