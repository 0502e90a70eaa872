"""Wait for what another actor does, by looking and not by the clock."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


async def somebody_waits_for_a_lock(db: AsyncSession, *, count: int = 1) -> None:
    """Returns once `count` connections to the database of `db` stand still before a row that others hold."""
    while (await db.scalar(WAITING) or 0) < count:
        await db.commit()  # the view is frozen within a transaction
        await asyncio.sleep(0.01)
    await db.commit()
