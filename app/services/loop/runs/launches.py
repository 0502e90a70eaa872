"""What a run's process is called wherever it works: known before it starts, so that whoever comes later finds it."""

import secrets
from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Run, Site

WORD_BYTES = 4


async def name_of(db: AsyncSession, run: Run) -> str:
    """The name of the run's launch that nobody has seen the end of."""
    return f"{await prefix(db)}{run.id}-{run.launch}"


async def prefix(db: AsyncSession) -> str:
    """What all names of this installation's launches begin with, and no other installation's do."""
    word = await db.scalar(select(Site.word))
    if word is None:
        drawn = insert(Site).values(id=1, word=secrets.token_hex(WORD_BYTES)).on_conflict_do_nothing()
        await db.execute(drawn)
        word = await db.scalar(select(Site.word))
    return f"plumbline-{word}-run-"


async def living(db: AsyncSession) -> Collection[str]:
    """Names under which something may be at work: a run that waits may have been left so by a worker that stopped."""
    begins = await prefix(db)
    runs = await db.execute(select(Run.id, Run.launch).where(Run.state.in_(("queued", "running"))))
    return {f"{begins}{run_id}-{launch}" for run_id, launch in runs}
