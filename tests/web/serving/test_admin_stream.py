"""The event stream of a real server: what it says, that it holds nothing, and that it never holds a stop up."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.services import accounts
from app.services.events import notify
from tests.browser.seed import Seeded
from tests.browser.serving import serving
from tests.client.served import served
from tests.seeded import seeded, seeded_template, seeded_url

__all__ = ["seeded", "seeded_template", "seeded_url"]

SECONDS = 60
TRANSACTIONS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
)


@pytest.fixture
def database_url(seeded_url: str) -> str:
    return seeded_url


@pytest.fixture
async def session(db: AsyncSession, seeded: Seeded) -> str:
    token = await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, seeded.owner.id))
    await db.commit()
    return token


async def test_a_stream_says_that_something_may_be_new_and_then_what_is(
    database_url: str, db: AsyncSession, seeded: Seeded, session: str, tmp_path: Path
) -> None:
    with served(database_url, tmp_path, works=False) as site:
        async with AsyncExitStack() as stack:
            stream = await _open(stack, site.url, seeded, session)
            first = await _next(stream)
            assert first["event"] == "resync"
            # The hub may start to listen after the page has come; it says so by another resync.
            change = await _notified(db, stream, seeded.project.id, run_id=seeded.ppo.id)
            assert json.loads(change["data"]) == {"run": seeded.ppo.id, "round": None}
            # Who comes back with the latest id has missed nothing.
            again = await _open(stack, site.url, seeded, session, last_event_id=change["id"])
            change = await _notified(db, again, seeded.project.id, round_id=seeded.label_round.id)
            assert json.loads(change["data"]) == {"run": None, "round": seeded.label_round.id}


async def test_open_streams_hold_no_transaction(
    database_url: str, db: AsyncSession, seeded: Seeded, session: str, tmp_path: Path
) -> None:
    with served(database_url, tmp_path, works=False) as site:
        async with AsyncExitStack() as stack:
            for _ in range(30):  # more than the pool has connections
                assert (await _next(await _open(stack, site.url, seeded, session)))["event"] == "resync"
            assert await db.scalar(TRANSACTIONS) == 0
            async with httpx.AsyncClient(base_url=site.url, cookies={"session": session}) as client:
                page = await client.get(f"/projects/{seeded.project.slug}", timeout=SECONDS)
            assert page.status_code == 200


async def test_a_server_that_is_told_to_stop_ends_its_streams(database_url: str, seeded: Seeded, session: str) -> None:
    """Without that, `serving` would wait for the server for ever: it is given no time limit for its open requests."""
    async with AsyncExitStack() as stack:
        with serving(database_url) as url:
            stream = await _open(stack, url, seeded, session)
            await _next(stream)
        try:
            rest = [message async for message in stream]
        except httpx.RemoteProtocolError:
            rest = []
        assert all(message.get("event") != "changed" for message in rest)


async def _open(
    stack: AsyncExitStack, url: str, seeded: Seeded, session: str, *, last_event_id: str | None = None
) -> AsyncIterator[dict[str, str]]:
    client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, cookies={"session": session}))
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    response = await stack.enter_async_context(
        client.stream("GET", f"/projects/{seeded.project.slug}/events", headers=headers, timeout=SECONDS)
    )
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    return _messages(response)


async def _messages(response: httpx.Response) -> AsyncIterator[dict[str, str]]:
    """Events as {"event", "id", "data"}; comments and the retry time are no events."""
    message: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            message[name] = value
        else:
            if "event" in message:
                yield message
            message = {}


async def _next(stream: AsyncIterator[dict[str, str]]) -> dict[str, str]:
    return await asyncio.wait_for(anext(stream), SECONDS)


async def _notified(
    db: AsyncSession, stream: AsyncIterator[dict[str, str]], project_id: int, **what: int
) -> dict[str, str]:
    """The next change. A notice may come before the server listens, so it is given again after each resync."""
    while True:
        await notify(db, project_id=project_id, **what)
        await db.commit()
        message = await _next(stream)
        if message["event"] == "changed":
            return message
