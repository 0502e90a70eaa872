"""People who leave in the middle (R18): no connection, transaction or place is held for whoever is gone."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.db.tables import Assignment, Judgement, Task
from app.services import accounts
from tests.factories import make_member, make_project, make_task

PEOPLE = 10
REQUESTS = 300
LONGEST_SECONDS = 0.06


@pytest.fixture
async def programs(site: FastAPI, db: AsyncSession) -> AsyncIterator[list[httpx.AsyncClient]]:
    project = await make_project(db, "eggs", overlap=2)
    for _ in range(20):
        await make_task(db, project)
    people = [await make_member(db, project) for _ in range(PEOPLE)]
    tokens = [await accounts.create_api_token(db, person.user_id, name="test") for person in people]
    await db.commit()
    transport = httpx.ASGITransport(site, raise_app_exceptions=False)
    clients = [
        httpx.AsyncClient(transport=transport, base_url="http://test", headers={"Authorization": f"Bearer {token}"})
        for token in tokens
    ]
    yield clients
    for client in clients:
        await client.aclose()


async def ask_and_judge(program: httpx.AsyncClient, key: str) -> int | None:
    """The judgement, if it came so far."""
    task = await program.get("/api/v1/projects/eggs/next-task")
    if task.status_code != 200:
        return None
    address = f"/api/v1/assignments/{task.json()['assignment_id']}/judgements"
    answer = await program.post(address, json={"choice": 1}, headers={"Idempotency-Key": key})
    return int(answer.json()["id"]) if answer.status_code in (200, 201) else None


async def test_requests_that_are_cut_off_in_the_middle_of_a_query_leave_the_pool_whole(
    site: FastAPI, programs: list[httpx.AsyncClient], db: AsyncSession
) -> None:
    engine: AsyncEngine = site.state.sessions.kw["bind"]
    draw = random.Random(18)
    acknowledged: set[int] = set()

    async def leave_in_the_middle(number: int) -> None:
        try:
            async with asyncio.timeout(draw.uniform(0, LONGEST_SECONDS)):
                judgement = await ask_and_judge(programs[number % PEOPLE], f"key {number}")
        except TimeoutError:
            return
        if judgement is not None:
            acknowledged.add(judgement)

    for start in range(0, REQUESTS, PEOPLE):
        await asyncio.gather(*(leave_in_the_middle(start + place) for place in range(PEOPLE)))
    async with asyncio.timeout(5):
        while engine.pool.checkedout():  # type: ignore[attr-defined]  # noqa: ASYNC110 - it empties by itself
            await asyncio.sleep(0.05)
    stuck = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
    )
    assert await db.scalar(stuck) == 0
    assert set(await db.scalars(select(Judgement.id))) >= acknowledged
    # The site goes on, with no more judgements on any task than it asks for.
    for number, program in enumerate(programs):
        assert (await program.get("/api/v1/projects/eggs/next-task")).status_code in (200, 204)
        while await ask_and_judge(program, f"afterwards {number} {draw.random()}") is not None:
            pass
    of_each = select(func.count()).select_from(Judgement).join(Task, Task.id == Judgement.task_id).group_by(Task.id)
    assert set(await db.scalars(of_each)) == {2}
    leased = select(func.count()).select_from(Assignment).where(Assignment.state == "leased")
    assert await db.scalar(leased) == 0
    # Whoever left while the site was connecting leaves a socket to the collector of garbage, and the database waits for
    # it as long as for somebody who signs in (60 s) before it lets itself be dropped.
    gc.collect()
