"""What goes wrong, as a page, as a toast or as a problem for programs; and what the log keeps of it."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from structlog.testing import LogCapture

from app.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Invalid,
    KeyReused,
    LeaseExpired,
    NoRoom,
    NotFound,
    NotSignedIn,
    TooMany,
    Unavailable,
)
from app.settings import Settings
from tests.sites import new_site
from tests.web.conftest import HOST, SITE, client_of

HTMX = {"HX-Request": "true"}
STATUSES = {
    DomainError: 400,
    NotSignedIn: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    LeaseExpired: 409,
    Invalid: 422,
    KeyReused: 422,
    TooMany: 429,
    Unavailable: 503,
    NoRoom: 507,
}


@pytest.fixture(scope="module")
def site() -> FastAPI:
    """The application without its database, with routes that go wrong in every way."""
    site = new_site(Settings(database_url="postgresql://nowhere", trusted_hosts=HOST))

    async def refuse(kind: str) -> None:
        (error,) = (error for error in STATUSES if error.__name__ == kind)
        raise error("From 1 to %(size)s <b>.", size=9)

    async def crash() -> None:
        raise RuntimeError("the secret inside")

    async def count(number: int, other: int = 0) -> None:
        raise AssertionError("nobody counts so far")

    for prefix in ("", "/api/v1"):
        site.add_api_route(f"{prefix}/refuse/{{kind}}", refuse, methods=["GET", "POST"])
        site.add_api_route(f"{prefix}/crash", crash)
        site.add_api_route(f"{prefix}/count/{{number}}", count)
    return site


@pytest.fixture
async def client(site: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(site) as client:
        yield client


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """The lines that are logged meanwhile."""
    capture = LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    yield capture.entries
    structlog.configure(**before)


@pytest.mark.parametrize("error", STATUSES, ids=lambda error: error.__name__)
async def test_every_refusal_is_a_page_a_toast_or_a_problem_with_its_status(
    client: httpx.AsyncClient, error: type[DomainError]
) -> None:
    path, status = f"/refuse/{error.__name__}", STATUSES[error]
    if error is not NotSignedIn:
        page = await client.get(path)
        assert page.status_code == status
        assert page.text.startswith("<!doctype html>")
        assert "From 1 to 9 &lt;b&gt;." in page.text
        toast = await client.post(path, headers=HTMX)
        assert (toast.status_code, toast.headers["hx-retarget"], toast.headers["hx-reswap"]) == (
            status,
            "#toasts",
            "innerHTML",
        )
        assert toast.text.startswith('<div class="toast toast-error" role="alert"')
        assert "From 1 to 9 &lt;b&gt;." in toast.text
        assert toast.headers["x-request-id"] in toast.text
    problem = await client.get(f"/api/v1{path}", headers=HTMX)
    assert (problem.status_code, problem.headers["content-type"]) == (status, "application/problem+json")
    assert problem.json() == {
        "type": f"/api/docs#error-{error.__name__}",
        "title": httpx.codes(status).phrase.title() if status != 422 else problem.json()["title"],
        "status": status,
        "detail": "From 1 to 9 <b>.",
        "request_id": problem.headers["x-request-id"],
    }
    assert ("www-authenticate" in problem.headers) == (status == 401)


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/refuse/NotSignedIn", "/sign-in?next=/refuse/NotSignedIn"),
        ("/refuse/NotSignedIn?page=2&sort=a b", "/sign-in?next=/refuse/NotSignedIn%3Fpage%3D2%26sort%3Da%2520b"),
    ],
)
async def test_who_is_signed_out_comes_back_to_where_they_were_going(
    client: httpx.AsyncClient, path: str, leads_to: str
) -> None:
    asked = await client.get(path)
    assert (asked.status_code, asked.headers["location"]) == (303, leads_to)
    posted = await client.post(path)
    assert (posted.status_code, "load this page again: it sends what you typed." in posted.text) == (401, True)


@pytest.mark.parametrize(
    ("current", "leads_to"),
    [
        (f"{SITE}/projects/bread?tab=1", "/sign-in?next=/projects/bread%3Ftab%3D1"),
        (f"{SITE}/", "/sign-in"),
        ("", "/sign-in"),
        ("https://elsewhere.test/deep", "/sign-in?next=/deep"),
    ],
)
async def test_a_script_is_led_to_the_door_of_its_own_page(
    client: httpx.AsyncClient, current: str, leads_to: str
) -> None:
    answer = await client.post("/refuse/NotSignedIn", headers={**HTMX, "HX-Current-URL": current})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, leads_to)


async def test_a_history_restore_gets_the_whole_page_though_a_script_asks(client: httpx.AsyncClient) -> None:
    restored = await client.get("/refuse/Conflict", headers={**HTMX, "HX-History-Restore-Request": "true"})
    assert restored.text.startswith("<!doctype html>")


async def test_a_crash_tells_nothing_of_the_inside_in_any_form(client: httpx.AsyncClient, logged: list[Any]) -> None:
    for path, headers in (("/crash", {}), ("/crash", HTMX), ("/api/v1/crash", {})):
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert "Nothing you sent was saved." in answer.text
        assert answer.headers["x-request-id"] in answer.text
        assert "content-security-policy" in answer.headers
    assert [line["event"] for line in logged] == ["request.crashed", "request"] * 3


async def test_a_field_that_is_none_is_named_with_its_reason(client: httpx.AsyncClient) -> None:
    problem = (await client.get("/api/v1/count/many?other=x")).json()
    assert problem["detail"].startswith("That input can't be used. number: Input should be a valid integer")
    assert [mistake["field"] for mistake in problem["errors"]] == ["number", "other"]
    page = await client.get("/count/many")
    assert (page.status_code, "number: Input should be a valid integer" in page.text) == (422, True)


async def test_a_method_that_is_not_offered_is_refused_with_those_that_are(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/api/v1/crash"):
        refused = await client.put(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET")
    assert (await client.put("/api/v1/crash")).json()["type"] == "/api/docs#error-HTTPError"


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/nowhere", "/static/x/nowhere.css"])
async def test_what_is_not_there_is_told_in_the_readers_language(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={"Accept-Language": "de"})
    assert answer.status_code == 404
    assert "Hier ist nichts" in answer.text


async def test_a_request_is_one_line_with_its_id_and_without_what_is_secret(
    client: httpx.AsyncClient, logged: list[Any]
) -> None:
    answer = await client.get("/count/many?token=secret-word", headers={"X-Request-ID": "proxy-id-42"})
    (line,) = logged
    assert line["milliseconds"] >= 0
    assert {name: line[name] for name in ("event", "method", "path", "status", "request_id")} == {
        "event": "request",
        "method": "GET",
        "path": "/count/many",
        "status": 422,
        "request_id": "proxy-id-42",
    }
    assert answer.headers["x-request-id"] == "proxy-id-42"
    await client.put("/sign-in/link/secret-word")
    assert logged[-1]["path"] == "/sign-in/link/…"
    assert "secret-word" not in repr(logged)


async def test_health_checks_and_static_files_fill_no_log(client: httpx.AsyncClient, logged: list[Any]) -> None:
    for path in ("/healthz", "/readyz", "/static/x/css/app.css", "/static/x/nowhere.css"):
        await client.get(path)
    assert logged == []


async def test_a_crash_is_logged_with_its_stack_and_the_id_that_was_answered(
    client: httpx.AsyncClient, logged: list[Any]
) -> None:
    answer = await client.get("/crash")
    crashed, request = logged
    assert (crashed["event"], crashed["exc_info"]) == ("request.crashed", True)
    assert request["status"] == 500
    assert {crashed["request_id"], request["request_id"]} == {answer.headers["x-request-id"]}


@pytest.mark.parametrize("odd", ["short", "x" * 65, "with space1", "new\tline12", "ä" * 10])
async def test_an_odd_request_id_is_replaced(client: httpx.AsyncClient, odd: str) -> None:
    answer = await client.get("/healthz", headers={"X-Request-ID": odd.encode()})
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])


async def test_a_site_without_its_database_lives_and_is_not_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).text == "ok"
    waiting = await client.get("/readyz")
    assert (waiting.status_code, waiting.json()) == (
        503,
        {"ready": False, "failing": ["database"], "checks": {"database": "failing"}},
    )
    assert (await client.get("/version")).json()["name"] == "plumbline"
