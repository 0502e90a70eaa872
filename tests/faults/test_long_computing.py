"""Work of a worker that computes inside a transaction for longer than one may be silent."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import session
from app.db.session import create_engine, session_factory
from app.jobs.transactions import Database, at_length


async def test_what_computes_for_long_in_a_transaction_is_done_once_and_in_full(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SILENT_TRANSACTION_SECONDS", 1)
    engine, tries = create_engine(database_url), []

    async def compute(db: AsyncSession) -> int:
        tries.append(await db.scalar(text("SELECT pg_backend_pid()")))
        await asyncio.sleep(2.5)
        return int(await db.scalar(text("SELECT 7")) or 0)

    try:
        database = Database(session_factory(engine), stopping=asyncio.Event(), patience_seconds=1)
        assert await database.run(at_length(compute)) == 7
    finally:
        await engine.dispose()
    assert len(tries) == 1
