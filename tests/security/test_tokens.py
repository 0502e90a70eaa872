"""API tokens do what they are for, until they end, and the log tells of it."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import migrate
from app.db.tables import ApiToken, AuditEntry
from app.db.tables.people import Scope
from app.services import accounts
from app.web.api import docs, routes
from tests.api.conftest import calling, tokens
from tests.api.test_access import call, here
from tests.browser.seed import Seeded
from tests.seeded import seeded, seeded_template, seeded_url, site

__all__ = ["calling", "here", "seeded", "seeded_template", "seeded_url", "site", "tokens"]

Client = httpx.AsyncClient
Holding = Callable[..., Awaitable[Client]]
ROUTES = sorted(docs.operations(routes.openapi("test")), key=lambda route: route.method == "DELETE")
JUDGING = {"next_task", "submit_judgement", "skip"}
FOR_JUDGES_TOO = {"list_projects", "read_project", "read_me", "read_assignment", "list_own_judgements"}


@pytest.fixture
def database_url(seeded_url: str) -> str:
    return seeded_url


@pytest.fixture
async def holding(site: FastAPI, db: AsyncSession, seeded: Seeded) -> AsyncIterator[Holding]:
    """Makes a client with a token of the project's owner, for some scopes alone."""
    clients: list[Client] = []

    async def client(*scopes: Scope) -> Client:
        token = await accounts.create_api_token(db, seeded.owner.id, name="t", scopes=scopes)
        await db.commit()
        headers = {"Authorization": f"Bearer {token}", "If-Match": "*"}
        clients.append(Client(transport=httpx.ASGITransport(site), base_url="http://test", headers=headers))
        return clients[-1]

    yield client
    for one in clients:
        await one.aclose()


@pytest.mark.parametrize("scope", accounts.SCOPES)
async def test_a_token_is_refused_at_every_route_that_it_is_not_for_and_at_no_other(
    holding: Holding, here: dict[str, object], scope: Scope
) -> None:
    client = await holding(scope)
    refused = set()
    for route in ROUTES:
        answer = await call(client, route, here)
        if answer.status_code == 403 and answer.json()["detail"].startswith("This token is for"):
            refused.add(route.anchor)
    everything = {route.anchor for route in ROUTES}
    reading = {route.anchor for route in ROUTES if route.method == "GET"} - JUDGING
    allowed = {"read": reading, "judge": JUDGING | FOR_JUDGES_TOO, "manage": everything - reading - JUDGING}
    assert refused == everything - allowed[scope]


async def test_a_refused_token_has_changed_nothing_and_says_what_it_lacks(
    holding: Holding, seeded: Seeded, db: AsyncSession
) -> None:
    reading = await holding("read", "judge")
    path = f"/api/v1/projects/{seeded.project.slug}"
    refused = await reading.patch(path, json={"name": "Mine"})
    assert refused.json()["detail"] == "This token is for read, judge; this call needs one for manage."
    assert (await reading.get(path)).json()["name"] == seeded.project.name
    assert (await (await holding("manage")).patch(path, json={"name": "Mine"})).status_code == 200


async def test_the_description_tells_what_each_call_needs(holding: Holding) -> None:
    document = (await (await holding("judge")).get("/api/v1/openapi.json")).json()
    needed = {
        described["operationId"]: described["x-scopes"]
        for item in document["paths"].values()
        for described in item.values()
    }
    assert needed["next_task"] == ["judge"]
    assert needed["read_project"] == ["judge", "read"]
    assert needed["invite"] == ["manage"]


@pytest.fixture
async def page(site: FastAPI, db: AsyncSession, seeded: Seeded) -> AsyncIterator[Client]:
    """The browser of the project's owner."""
    session = await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, seeded.owner.id))
    await db.commit()
    transport = httpx.ASGITransport(site)
    async with Client(transport=transport, base_url="http://test", cookies={"session": session}) as client:
        yield client


async def test_the_form_offers_scopes_and_ends_and_no_token_that_never_ends(db: AsyncSession, page: Client) -> None:
    form = (await page.get("/tokens")).text
    assert re.findall(r'<option value="(\d*)"', form) == ["30", "90", "365"]
    assert re.findall(r'name="scopes" value="(\w+)"( checked)?', form) == [
        ("read", " checked"),
        ("judge", ""),
        ("manage", ""),
    ]
    made = await page.post("/tokens", data={"name": "judge", "days": "30", "scopes": ["judge"]})
    assert made.status_code == 200
    token = (await db.scalars(select(ApiToken).where(ApiToken.name == "judge"))).one()
    assert (token.scopes, token.expires_at - token.created_at) == (["judge"], timedelta(days=30))
    for wrong in ({"scopes": []}, {"scopes": ["read"], "days": "0"}, {"scopes": ["everything"]}):
        assert (await page.post("/tokens", data={"name": "t"} | wrong)).status_code == 422


async def test_no_token_is_without_an_end_or_a_scope(db: AsyncSession, seeded: Seeded) -> None:
    await accounts.create_api_token(db, seeded.owner.id, name="t")
    await db.commit()
    for change in ("expires_at = NULL", "scopes = NULL", "scopes = '{}'", "scopes = '{everything}'"):
        with pytest.raises(IntegrityError):
            await db.execute(text(f"UPDATE api_tokens SET {change}"))  # noqa: S608
        await db.rollback()


async def test_the_log_tells_of_a_token_when_it_is_made_first_used_each_day_and_revoked(
    db: AsyncSession, page: Client, site: FastAPI, seeded: Seeded
) -> None:
    made = await page.post("/tokens", data={"name": "t", "scopes": ["read"]})
    (token,) = set(re.findall(r"plumb_\w{43}", made.text))
    headers = {"Authorization": f"Bearer {token}"}

    async def use() -> None:
        async with Client(transport=httpx.ASGITransport(site), base_url="http://test", headers=headers) as program:
            assert (await program.patch(f"/api/v1/projects/{seeded.project.slug}", json={})).status_code == 403

    for _ in range(3):
        await use()
    await db.execute(update(ApiToken).where(ApiToken.name == "t").values(last_used_at=func.now() - timedelta(days=1)))
    await db.commit()
    for _ in range(2):
        await use()
    token_id = await db.scalar(select(ApiToken.id).where(ApiToken.name == "t"))
    await page.post(f"/tokens/{token_id}/revoke")
    entries = await db.execute(
        select(AuditEntry.kind, AuditEntry.action, AuditEntry.door, AuditEntry.actor_id)
        .where(AuditEntry.subject == str(token_id), AuditEntry.kind.in_(("api_tokens", "token_use")))
        .order_by(AuditEntry.id)
    )
    owner = seeded.owner.id
    assert [tuple(entry) for entry in entries] == [
        ("api_tokens", "insert", "page", owner),
        ("token_use", "done", "api", owner),
        ("token_use", "done", "api", owner),
        ("api_tokens", "update", "page", owner),
    ]


def test_tokens_of_before_go_on_with_what_their_people_do_and_end_in_ninety_days(empty_database_url: str) -> None:
    url = empty_database_url
    migrate.upgrade(url, "0030")
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO projects (slug, name) VALUES ('tea', 'Tea')")
        for number, (role, is_admin) in enumerate((("owner", False), ("annotator", False), (None, True)), 1):
            connection.execute(
                "INSERT INTO users (name, email, is_admin) VALUES ('P', %s, %s)", [f"{number}@x.y", is_admin]
            )
            if role:
                connection.execute("INSERT INTO members (project_id, user_id, role) VALUES (1, %s, %s)", [number, role])
            for ends in (None, "2126-01-01"):
                values = [number, f"{number} {ends}".encode(), ends]
                columns = "user_id, name, hint, token_digest, expires_at"
                connection.execute(f"INSERT INTO api_tokens ({columns}) VALUES (%s, 't', 'h', %s, %s)", values)  # noqa: S608
    migrate.upgrade(url)
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT user_id, scopes, expires_at < now() + interval '91 days' FROM api_tokens ORDER BY id"
        ).fetchall()
        connection.execute("INSERT INTO users (name, email) VALUES ('Q', '1@X.y')")
    everything, judging = ["read", "judge", "manage"], ["read", "judge"]
    assert rows == [
        *((1, everything, True), (1, everything, False)),
        *((2, judging, True), (2, judging, False)),
        *((3, everything, True), (3, everything, False)),
    ]
    migrate.downgrade(url, "0030")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT name, email FROM users WHERE id IN (1, 4) ORDER BY id").fetchall() == [
            ("P", "1@x.y"),
            ("Q", None),
        ]
