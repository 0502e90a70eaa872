"""Two web processes on one database, as on two machines: what one does the other's pages hear of, and each may go."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_urlsafe

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.services import accounts
from bench.load_site import SLUG
from bench.rolling import WebProcess, roll, web_processes
from tests.factories import make_member, make_project, make_task

SECONDS = 60
PEOPLE = 4


@pytest.fixture
def processes(database_url: str, tmp_path: Path) -> Iterator[list[WebProcess]]:
    with web_processes(2, tmp_path, database_url) as started:
        yield started


@pytest.mark.slow
async def test_what_one_process_stores_is_heard_by_the_others_pages_and_restarting_both_in_turn_loses_nothing(
    db: AsyncSession, database_url: str, processes: list[WebProcess]
) -> None:
    project = await make_project(db, SLUG)
    for _ in range(300):
        await make_task(db, project)
    owner = await make_member(db, project, "owner")
    people = [await make_member(db, project) for _ in range(PEOPLE)]
    token = await accounts.create_api_token(db, people[0].user_id, name="test")
    session, *sessions = [await _signed_in(db, person.user_id) for person in (owner, *people[1:])]
    await db.commit()
    await asyncio.gather(*(process.ready() for process in processes))
    first, second = ("http://{}:{}".format(*process.address) for process in processes)
    async with asyncio.timeout(2 * SECONDS), _events(second, session) as events:
        assert await anext(events) == "resync"
        await _judge(first, token)
        while await anext(events) == "resync":  # it may have begun to listen a moment too late
            await asyncio.sleep(1)  # of each second the first one is told
            await _judge(first, token)
    outcome = await roll(database_url, processes, sessions, turns=1, think=1.0, between=1.0)
    assert outcome.restarts == 2
    assert outcome.acknowledged > PEOPLE
    assert outcome.is_whole, outcome
    assert set(outcome.sent_again) <= {"no answer"}, "nobody is answered by an error"


async def _signed_in(db: AsyncSession, user_id: int) -> str:
    return await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, user_id))


@asynccontextmanager
async def _events(url: str, session: str) -> AsyncIterator[AsyncIterator[str]]:
    """Names of what a page that is open on this process is told."""
    client = httpx.AsyncClient(base_url=url, headers={"Cookie": f"session={session}"}, timeout=SECONDS)
    async with client, client.stream("GET", f"/projects/{SLUG}/events") as answer:
        yield (line.partition(": ")[2] async for line in answer.aiter_lines() if line.startswith("event: "))


async def _judge(url: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": token_urlsafe()}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=SECONDS) as program:
        task = (await program.get(f"/api/v1/projects/{SLUG}/next-task")).json()
        answer = await program.post(f"/api/v1/assignments/{task['assignment_id']}/judgements", json={"choice": 1})
        assert answer.status_code == 201
