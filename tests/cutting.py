"""What a worker does about dataset versions that were asked for, in the test's own process."""

from pathlib import Path

from sqlalchemy import select

from app.db.session import SessionFactory
from app.db.tables import Run
from app.jobs import execution
from tests.jobs.conftest import make_context


async def cut_what_waits(sessions: SessionFactory, home: Path) -> None:
    """Cut every version that waits for a worker; the site's other runs stay as they are."""
    await work_off(sessions, home, "snapshot")


async def work_off(sessions: SessionFactory, home: Path, stage: str) -> None:
    """Do every run of a stage that waits for a worker."""
    async with sessions() as db:
        waiting = list(await db.scalars(select(Run.id).where(Run.stage == stage, Run.state == "queued")))
    for run_id in waiting:
        await execution.execute(make_context(sessions, home), run_id)
