"""Headers of every kind of answer, and how long browsers may keep what."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app.settings import Settings
from app.web.rendering.render import static_digest
from app.web.serving.body_limit import MOST_BYTES
from tests.sites import new_site
from tests.web.conftest import HOST, SITE, client_of

PROTECTING = {
    "content-security-policy",
    "x-content-type-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
}
FOR_EVER = "public, max-age=31536000, immutable"
CSS = f"/static/{static_digest()}/css/app.css"


@pytest.fixture(scope="module")
def site() -> FastAPI:
    """The application without its database: nothing here gets as far."""
    return new_site(Settings(database_url="postgresql://nowhere", trusted_hosts=HOST))


@pytest.fixture
async def client(site: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(site) as client:
        yield client


async def test_every_kind_of_answer_carries_the_protecting_headers_and_its_id(client: httpx.AsyncClient) -> None:
    etag = (await client.get(CSS)).headers["etag"]
    answers = {
        "a page": (200, await client.get("/sign-in")),
        "a head": (200, await client.head(CSS)),
        "a redirect": (303, await client.post("/preferences", data={"theme": "dark"})),
        "nothing new": (304, await client.get(CSS, headers={"If-None-Match": etag})),
        "a part": (206, await client.get(CSS, headers={"Range": "bytes=0-9"})),
        "another site's": (403, await client.post("/preferences", headers={"Sec-Fetch-Site": "cross-site"})),
        "nothing there": (404, await client.get("/nowhere")),
        "no such method": (405, await client.delete("/sign-in")),
        "too much": (413, await client.post("/preferences", content=b"x" * (MOST_BYTES + 1))),
        "not ready": (503, await client.get("/readyz")),
        "a problem": (404, await client.get("/api/v1/nowhere")),
    }
    for kind, (status, answer) in answers.items():
        assert answer.status_code == status, kind
        assert set(answer.headers) >= PROTECTING, kind
        assert answer.headers["x-request-id"], kind
        assert "strict-transport-security" not in answer.headers, kind


async def test_https_is_remembered_where_it_is_spoken_by_errors_and_files_too() -> None:
    secure = new_site(Settings(database_url="postgresql://nowhere", secure_cookies=True, trusted_hosts=HOST))
    async with client_of(secure) as client:
        for path in ("/sign-in", "/nowhere", CSS):
            assert (await client.get(path)).headers["strict-transport-security"] == "max-age=31536000"
        chosen = await client.post("/preferences", data={"theme": "dark"})
    assert "Secure" in chosen.headers["set-cookie"]


async def test_pages_are_kept_by_nobody_and_files_for_ever_under_todays_digest(client: httpx.AsyncClient) -> None:
    assert (await client.get("/sign-in")).headers["cache-control"] == "no-store"
    assert (await client.get("/nowhere")).headers["cache-control"] == "no-store"
    fresh = await client.get(CSS)
    assert (fresh.status_code, fresh.headers["cache-control"]) == (200, FOR_EVER)
    for header in ({"Range": "bytes=0-9"}, {"If-None-Match": fresh.headers["etag"]}):
        assert (await client.get(CSS, headers=header)).headers["cache-control"] == FOR_EVER


async def test_an_old_digest_gets_the_new_file_and_asks_again_next_time(client: httpx.AsyncClient) -> None:
    fresh = await client.get(CSS)
    old = await client.get(f"/static/{'0' * 16}/css/app.css")
    assert (old.status_code, old.headers["cache-control"]) == (200, "no-cache")
    assert old.content == fresh.content


@pytest.mark.parametrize(
    "path",
    ["css/nowhere.css", "../templates/base.html", "%2e%2e/templates/base.html", "..%2ftemplates/base.html", "css", ""],
)
async def test_what_is_no_file_of_ours_is_not_there_and_not_kept(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/static/{static_digest()}/{path}")
    assert answer.status_code == 404
    assert "immutable" not in answer.headers.get("cache-control", "")


async def test_a_long_page_is_sent_small_to_whom_it_may_be(client: httpx.AsyncClient) -> None:
    small = await client.get("/sign-in", headers={"Accept-Encoding": "gzip"})
    whole = await client.get("/sign-in", headers={"Accept-Encoding": "identity"})
    assert (small.headers["content-encoding"], small.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert "content-encoding" not in whole.headers
    assert int(small.headers["content-length"]) < len(whole.content)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_no_method_that_changes_something_is_open_to_other_sites(client: httpx.AsyncClient, method: str) -> None:
    del client.headers["Sec-Fetch-Site"]
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.test"}, {"Origin": f"{SITE}:8443"}):
        refused = await client.request(method, "/preferences", headers=headers)
        assert refused.status_code == 403
        assert "came from another site" in refused.text


async def test_a_program_of_another_site_is_told_so_as_a_problem(client: httpx.AsyncClient) -> None:
    """A browser's cookie makes it a browser's request, whatever stands beside it."""
    headers = {"Sec-Fetch-Site": "cross-site", "Authorization": "Bearer x", "Cookie": "session=y"}
    refused = await client.post("/api/v1/projects/p/datasets", headers=headers)
    assert refused.status_code == 403
    assert refused.json()["type"] == "/api/docs#error-Forbidden"
