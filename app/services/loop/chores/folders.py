"""Runs that write a dataset version as a folder, and the files that they have left."""

import asyncio
from pathlib import Path

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, Project, Run
from app.db.tables.runs import TERMINAL_RUN_STATES
from app.errors import Conflict
from app.services import audit
from app.services.data import datasets
from app.services.loop.runs import starting
from app.services.loop.stages.folder import FILE


async def start(db: AsyncSession, actor_id: int | None, project: Project, version: DatasetVersion) -> Run:
    """Queue the writing of it; one that is under way is that one. Raises ErasedFrom."""
    datasets.require_whole(version)
    run = await latest(db, version)
    if run is not None and run.state not in TERMINAL_RUN_STATES:
        return run
    return await starting.start(db, actor_id, project, "folder", inputs={"dataset_version_id": version.id})


async def latest(db: AsyncSession, version: DatasetVersion) -> Run | None:
    """The newest run that writes it, over or not."""
    return await db.scalar(_of(version).limit(1))


async def written(db: AsyncSession, version: DatasetVersion, home: Path) -> tuple[Path, str]:
    """The newest folder's zip, and what it is called. Raises ErasedFrom, and Conflict where there is none."""
    datasets.require_whole(version)
    found = await _written(db, version, home)
    if found is None:
        raise Conflict("The folder of this version isn't written yet: have it written first.")
    subject = f"{version.kind} {version.number}"
    await audit.note(db, "export", subject, {"schema": "folder"}, project_id=version.project_id)
    return found


async def is_written(db: AsyncSession, version: DatasetVersion, home: Path) -> bool:
    return await _written(db, version, home) is not None


async def _written(db: AsyncSession, version: DatasetVersion, home: Path) -> tuple[Path, str] | None:
    run = await db.scalar(_of(version).where(Run.state == "succeeded").limit(1))
    if run is None or run.result is None:
        return None
    file = home / str(run.folder) / FILE
    return (file, f"{run.result['name']}.zip") if await asyncio.to_thread(file.is_file) else None


def _of(version: DatasetVersion) -> Select[Run]:
    ours = Run.settings["dataset_version_id"].as_integer() == version.id
    return select(Run).where(Run.project_id == version.project_id, Run.stage == "folder", ours).order_by(Run.id.desc())
