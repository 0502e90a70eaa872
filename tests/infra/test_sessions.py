"""Sessions on the database: a process that falls silent holds nobody up."""

from dataclasses import dataclass

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db import session
from app.db.away import AWAY
from app.db.prepared import Prepared
from app.db.session import create_engine, session_factory, transaction

LOCK = "SELECT pg_advisory_xact_lock(7)"


async def hold_a_lock_until_another_has_it(paused: AsyncEngine, other: AsyncEngine) -> None:
    async with transaction(session_factory(paused)) as holding:
        await holding.execute(text(LOCK))
        async with transaction(session_factory(other)) as waiting:
            await waiting.execute(text(LOCK))
        await holding.execute(text("SELECT 1"))


async def test_a_process_that_is_paused_in_a_transaction_loses_its_locks(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SILENT_TRANSACTION_SECONDS", 1)
    paused, other = create_engine(database_url), create_engine(database_url)
    try:
        with pytest.raises(AWAY, match="silent"):  # what a worker tries again
            await hold_a_lock_until_another_has_it(paused, other)
        async with transaction(session_factory(paused)) as again:
            assert await again.scalar(text("SELECT 1")) == 1
    finally:
        await paused.dispose()
        await other.dispose()


@dataclass(frozen=True)
class Backend:
    pid: int


BACKEND = Prepared(Backend, select(func.pg_backend_pid().label("pid")))


async def lose_the_connection(ours: AsyncEngine, other: AsyncEngine, backends: list[Backend | None]) -> None:
    async with transaction(session_factory(ours)) as db:
        backends.append(await BACKEND.first(db))
        async with transaction(session_factory(other)) as ending:
            await ending.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), vars(backends[0]))
        await BACKEND.first(db)


async def test_after_a_connection_was_lost_in_a_prepared_statement_the_next_transaction_has_another(
    database_url: str,
) -> None:
    ours, other = create_engine(database_url), create_engine(database_url)
    backends: list[Backend | None] = []
    try:
        with pytest.raises(OperationalError):
            await lose_the_connection(ours, other, backends)
        async with transaction(session_factory(ours)) as db:
            backends.append(await BACKEND.first(db))
    finally:
        await ours.dispose()
        await other.dispose()
    assert len(set(backends) - {None}) == 2
