"""The database is killed under the site (R3): who judges is told to come back, and what was answered with yes is kept.

The log stays one that a person can read.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import psycopg
import pytest
import structlog
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import LogCapture

from app.db.embedded import EmbeddedPostgres
from app.db.tables import Judgement
from app.services import accounts
from tests.browser.people import session_token
from tests.factories import make_member, make_project, make_task, make_user, principal

PEOPLE = 8
TASKS = 30
PATIENCE_SECONDS = 60
OTHERS_END = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = current_user"
)


@pytest.fixture
def database_url(server: EmbeddedPostgres) -> str:
    return server.url


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    capture = LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    yield capture.entries
    structlog.configure(**before)


class Client:
    """A program that judges all that it is given, and does what it is told when it is told to wait."""

    def __init__(self, site: FastAPI, slug: str, token: str) -> None:
        self.next_task = f"/api/v1/projects/{slug}/next-task"
        transport = httpx.ASGITransport(site)
        headers = {"Authorization": f"Bearer {token}"}
        self.http = httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)
        self.acknowledged: list[int] = []
        self.refusals: list[httpx.Response] = []
        self.key = 0

    async def insist(self, method: str, path: str, **given: Any) -> httpx.Response:
        while True:
            answer = await self.http.request(method, path, **given)
            if answer.status_code < 500:
                return answer
            self.refusals.append(answer)
            await asyncio.sleep(0.05)

    async def judge_all(self) -> None:
        while (task := await self.insist("GET", self.next_task)).status_code == 200:
            self.key += 1
            address = f"/api/v1/assignments/{task.json()['assignment_id']}/judgements"
            headers = {"Idempotency-Key": str(self.key)}
            answer = await self.insist("POST", address, json={"choice": 1}, headers=headers)
            assert answer.status_code in (200, 201), answer.text
            self.acknowledged.append(answer.json()["id"])


@pytest.fixture
async def clients(site: FastAPI, db: AsyncSession) -> AsyncIterator[list[Client]]:
    project = await make_project(db, overlap=PEOPLE)
    for _ in range(TASKS):
        await make_task(db, project)
    people = [await make_member(db, project) for _ in range(PEOPLE)]
    tokens = [await accounts.create_api_token(db, person.user_id, name="test") for person in people]
    await db.commit()
    await db.close()
    clients = [Client(site, project.slug, token) for token in tokens]
    yield clients
    for client in clients:
        await client.http.aclose()


def kill(server: EmbeddedPostgres) -> None:
    assert server._server is not None
    os.kill(server._server.pid, signal.SIGKILL)
    server._server.wait()


async def test_every_judgement_that_was_acknowledged_is_there_once_and_whoever_waited_was_told_to(
    server: EmbeddedPostgres, clients: list[Client], db: AsyncSession, logged: list[Any]
) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.judge_all())
        while sum(len(client.acknowledged) for client in clients) < TASKS:  # noqa: ASYNC110 - others do it
            await asyncio.sleep(0.01)
        kill(server)
        while sum(len(client.refusals) for client in clients) < PEOPLE:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        server.restart()  # by this thread: a server ends with the one that started it
    acknowledged = [judgement for client in clients for judgement in client.acknowledged]
    stored = list(await db.scalars(select(Judgement.id)))
    assert sorted(acknowledged) == sorted(stored)
    assert len(stored) == PEOPLE * TASKS
    refusals = [answer for client in clients for answer in client.refusals]
    assert {answer.status_code for answer in refusals} == {503}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refusals)
    assert {answer.json()["type"] for answer in refusals} == {"/api/docs#error-Unavailable"}
    told = [line for line in logged if line["event"] != "request" and not line["event"].startswith("events.")]
    assert {line["event"] for line in told} == {"database_away"}
    assert len(told) <= 2, "one when it begins, and one each interval"
    assert not any(line.get("exc_info") for line in logged)


async def test_a_database_that_takes_no_writes_is_one_that_is_away_for_whoever_writes(
    server: EmbeddedPostgres, site: FastAPI, clients: list[Client], logged: list[Any]
) -> None:
    reading = await clients[0].insist("GET", clients[0].next_task)
    address = f"/api/v1/assignments/{reading.json()['assignment_id']}/judgements"
    role = "ALTER ROLE CURRENT_USER SET default_transaction_read_only"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"{role} = on")
        connection.execute(OTHERS_END)
    said = {"json": {"choice": 1}, "headers": {"Idempotency-Key": "1"}}
    refused = await clients[0].http.post(address, **said)
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    red = await clients[0].http.get("/readyz")
    assert (red.status_code, red.json()["failing"]) == (503, ["database"])
    assert not any(line.get("exc_info") for line in logged)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"{role} = off")
        connection.execute(OTHERS_END)
    assert (await clients[0].insist("POST", address, **said)).status_code == 201


async def test_pages_say_that_the_site_is_away_and_readiness_turns_red_and_green_again(
    server: EmbeddedPostgres, site: FastAPI, db: AsyncSession
) -> None:
    admin = await make_user(db, is_admin=True)
    cookies = {"session": await session_token(db, principal(admin))}
    await db.commit()
    await db.close()
    transport = httpx.ASGITransport(site, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", cookies=cookies) as browser:
        assert (await browser.get("/projects")).status_code == 200
        assert (await browser.get("/readyz")).status_code == 200
        kill(server)
        page = await browser.get("/projects")
        assert (page.status_code, int(page.headers["Retry-After"]) >= 1) == (503, True)
        assert "can’t reach its database" in page.text or "can&#39;t reach its database" in page.text
        assert "Our mistake" not in page.text
        toast = await browser.post("/groups", data={"name": "Cooks"}, headers={"HX-Request": "true"})
        assert (toast.status_code, "retry-after" in toast.headers) == (503, True)
        assert 'class="toast toast-error"' in toast.text
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (red := await browser.get("/readyz")).status_code == 200:  # noqa: ASYNC110 - by and by
                await asyncio.sleep(0.1)
        assert red.status_code == 503
        assert "database" in red.json()["failing"]
        server.restart()  # by this thread: a server ends with the one that started it
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await browser.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - by and by
                await asyncio.sleep(0.1)
        assert (await browser.get("/projects")).status_code == 200
