"""The hub: what Postgres says reaches every open page of the project, and no page believes that it missed nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.services.events import notify
from app.web.serving.events import QUEUE_LENGTH, Change, Event, Hub, Resync, Subscription

SECONDS = 10


@pytest.fixture
async def hub(database_url: str) -> AsyncIterator[Hub]:
    hub = Hub(database_url)
    async with hub.listening():
        await _until_listening(hub)
        yield hub


async def test_a_change_reaches_the_pages_of_its_project_and_no_others(hub: Hub, db: AsyncSession) -> None:
    async with _current(hub, 1) as mine, _current(hub, 2) as theirs:
        await notify(db, project_id=1, run_id=7)
        await notify(db, project_id=2, round_id=3)
        await db.commit()
        change, other = await _next(mine), await _next(theirs)
    assert change == Change(change.id, run_id=7)
    assert other == Change(other.id, round_id=3)


async def test_a_change_that_is_rolled_back_is_never_told(hub: Hub, db: AsyncSession) -> None:
    async with _current(hub, 1) as page:
        await notify(db, project_id=1, run_id=7)
        await db.rollback()
        await notify(db, project_id=1, run_id=8)
        await db.commit()
        change = await _next(page)
    assert isinstance(change, Change)
    assert change.run_id == 8


async def test_a_page_that_reads_too_slowly_is_told_to_read_everything_again(hub: Hub) -> None:
    async with _current(hub, 1) as page:
        for run_id in range(QUEUE_LENGTH + 1):
            hub.publish(json.dumps({"project": 1, "run": run_id, "round": None}))
        assert await _next(page) == Resync(hub.latest_id)


async def test_a_page_that_comes_back_reads_everything_again_unless_it_saw_the_latest(hub: Hub) -> None:
    async with hub.subscribe(1, last_event_id="from-another-process") as page:
        assert await _next(page) == Resync(hub.latest_id)
    async with hub.subscribe(1, last_event_id=hub.latest_id) as page:
        hub.publish('{"project": 1, "run": 4, "round": null}')
        assert await _next(page) == Change(hub.latest_id, run_id=4)


async def test_ids_grow_with_every_event_and_never_repeat(hub: Hub) -> None:
    async with _current(hub, 1) as page:
        for run_id in range(5):
            hub.publish(json.dumps({"project": 1, "run": run_id, "round": None}))
        ids = [(await _next(page)).id for _ in range(5)]
    assert len(set(ids)) == 5
    assert ids[-1] == hub.latest_id


async def test_after_the_database_dropped_the_connection_every_page_reads_again(hub: Hub, database_url: str) -> None:
    async with _current(hub, 1) as page, _current(hub, 2) as other:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE 'LISTEN %' AND datname = current_database()"
            )
            assert isinstance(await _next(page), Resync)
            assert isinstance(await _next(other), Resync)
            await connection.execute("""SELECT pg_notify('plumbline', '{"project": 1, "run": 9, "round": null}')""")
        assert await _next(page) == Change(hub.latest_id, run_id=9)


@pytest.mark.parametrize("payload", ["", "rubbish", "[1]", '"text"', '{"project": "1"}', '{"project": 1, "run": "x"}'])
async def test_a_notice_that_is_not_ours_is_dropped(hub: Hub, payload: str) -> None:
    async with _current(hub, 1) as page:
        hub.publish(payload)
        hub.publish('{"project": 1, "run": 2, "round": null}')
        assert await _next(page) == Change(hub.latest_id, run_id=2)


async def test_a_closed_page_leaves_nothing_behind(hub: Hub) -> None:
    async with _current(hub, 1), _current(hub, 1):
        assert hub.open_subscriptions == 2
    assert hub.open_subscriptions == 0


def _current(hub: Hub, project_id: int) -> AbstractAsyncContextManager[Subscription]:
    return hub.subscribe(project_id, last_event_id=hub.latest_id)


async def _next(subscription: Subscription) -> Event:
    return await asyncio.wait_for(subscription.next(), SECONDS)


async def _until_listening(hub: Hub) -> None:
    """The first thing the hub does once it listens is to say that everything before is unknown."""
    async with hub.subscribe(0, last_event_id=hub.latest_id) as any_page:
        assert isinstance(await _next(any_page), Resync)
