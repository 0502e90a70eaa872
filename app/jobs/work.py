"""A run as the functions of its stage are given it."""

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, Run
from app.services.loop.settings.round_settings import settings_of
from app.services.loop.stages.stage import Work


async def work_of(db: AsyncSession, home: Path, run: Run) -> Work:
    """`run` is held by the caller, in the transaction of `db`."""
    project = await db.get_one(Project, run.project_id)
    return Work(db, home, project, run, settings_of(project))
