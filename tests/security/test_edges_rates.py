"""Who asks too often is told to wait: each person for themselves, and everybody else by their address."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.security import Principal
from app.services import accounts
from app.settings import Settings
from app.web.serving.rates import BURST_SECONDS, MOST_KEPT, Rates
from tests.browser.people import session_token
from tests.factories import make_member, make_project
from tests.sites import site_of

A_MINUTE = 12
AT_ONCE = A_MINUTE * BURST_SECONDS // 60
# A pair every two seconds: an answer, the next pair, and what the page asks beside.
ASKED_EACH_SECOND = 2


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[FastAPI]:
    app = site_of(Settings(database_url=database_url, requests_per_minute=A_MINUTE))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def project(db: AsyncSession) -> Project:
    return await make_project(db)


@asynccontextmanager
async def client(app: FastAPI, host: str = "192.0.2.1", **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, client=(host, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client


async def of_token(db: AsyncSession, person: Principal) -> dict[str, str]:
    token = await accounts.create_api_token(db, person.user_id, name="test")
    await db.commit()
    return {"Authorization": f"Bearer {token}"}


async def statuses(client: httpx.AsyncClient, path: str, count: int) -> list[int]:
    return [(await client.get(path)).status_code for _ in range(count)]


async def test_a_program_is_told_how_long_to_wait(app: FastAPI, db: AsyncSession, project: Project) -> None:
    path = f"/api/v1/projects/{project.slug}"
    headers = await of_token(db, await make_member(db, project, "owner"))
    async with client(app, **headers) as program:
        assert set(await statuses(program, path, AT_ONCE)) == {200}
        await statuses(program, path, 1)  # its first one was the address's
        refused = await program.get(path)
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["retry-after"]) <= 60 / A_MINUTE + 1


async def test_a_second_token_is_the_same_person(app: FastAPI, db: AsyncSession, project: Project) -> None:
    path = f"/api/v1/projects/{project.slug}"
    owner = await make_member(db, project, "owner")
    async with client(app, **await of_token(db, owner)) as one, client(app, **await of_token(db, owner)) as other:
        await statuses(other, path, 1)
        await statuses(one, path, AT_ONCE + 2)
        assert await statuses(other, path, 2) == [429, 429]


async def test_one_person_never_waits_for_another_at_the_same_address(
    app: FastAPI, db: AsyncSession, project: Project
) -> None:
    path = f"/projects/{project.slug}/annotate"
    hasty, calm = [await session_token(db, await make_member(db, project)) for _ in range(2)]
    await db.commit()
    async with client(app, Cookie=f"session={hasty}") as one, client(app, Cookie=f"session={calm}") as other:
        assert await statuses(other, path, 1) == [200]
        assert 429 in await statuses(one, path, AT_ONCE + 5)
        assert set(await statuses(other, path, AT_ONCE - 1)) == {200}
        refused = await one.get(path)
    assert refused.status_code == 429
    assert "Too many requests at once" in refused.text
    assert "retry-after" in refused.headers


async def test_made_up_tokens_get_nobody_further(app: FastAPI) -> None:
    seen = []
    for number in range(AT_ONCE + 3):
        async with client(app, Authorization=f"Bearer plumb_{number}") as program:
            seen += await statuses(program, "/api/v1/projects", 1)
    assert seen == [401] * AT_ONCE + [429] * 3
    async with client(app, "192.0.2.2") as elsewhere:
        assert await statuses(elsewhere, "/api/v1/projects", 1) == [401]


async def test_pictures_and_health_are_never_counted(app: FastAPI) -> None:
    async with client(app) as anybody:
        assert set(await statuses(anybody, "/healthz", 3 * AT_ONCE)) == {200}
        assert set(await statuses(anybody, "/sign-in", 2)) == {200}


async def test_one_client_of_ipv6_has_one_bucket_however_many_addresses_it_has(app: FastAPI) -> None:
    seen = []
    for number in range(AT_ONCE + 1):
        async with client(app, f"2001:db8::{number:x}") as anybody:
            seen += await statuses(anybody, "/sign-in", 1)
    assert seen[-1] == 429


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("processes", [1, 4])
def test_nobody_who_judges_all_day_ever_meets_the_limit(processes: int) -> None:
    clock = Clock()
    usual = Settings.model_fields["requests_per_minute"].default
    rates = Rates(usual, processes, clock)
    for number in range(8 * 3600 * ASKED_EACH_SECOND):
        clock.now = number / ASKED_EACH_SECOND
        assert rates.take(("person", 1)) == 0


def test_all_processes_together_serve_what_the_site_allows() -> None:
    clock = Clock()
    processes = [Rates(60, 3, clock) for _ in range(3)]
    for rates in processes:
        while not rates.take(("person", 1)):
            pass
    clock.now = 60
    served = 0
    for rates in processes:
        while not rates.take(("person", 1)):
            served += 1
    assert served in (59, 60)


def test_buckets_are_forgotten_before_there_are_too_many() -> None:
    rates = Rates(60)
    for number in range(MOST_KEPT + 100):
        rates.take(("address", str(number)))
    assert len(rates._buckets) == MOST_KEPT
