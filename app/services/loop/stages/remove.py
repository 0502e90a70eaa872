"""Remove: a project that nobody is to see again goes, files first, rows last."""

import asyncio
import shutil
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import select

from app.db.base import Json
from app.db.tables import Import, ProjectFile, Run
from app.errors import Conflict
from app.phrases import phrase
from app.services.loop.stages.stage import Work, WorkerStage
from app.services.projects import contents
from app.services.published.shelf import shelf_of


async def _perform(work: Work) -> Json:
    """Whatever breaks off half-way is done again from the start: the project is out of sight already."""
    if work.project.removal_asked_at is None:
        raise Conflict("Nobody asked to remove this project.")
    folders = await work.db.scalars(select(Run.folder).where(Run.project_id == work.project.id))
    uploads = await work.db.scalars(select(Import.folder).where(Import.project_id == work.project.id))
    came = await work.db.scalars(select(ProjectFile.folder).where(ProjectFile.project_id == work.project.id))
    slug = work.project.slug
    shared = [f"datasets/{slug}", f"models/{slug}"]
    for path in shared:
        await asyncio.to_thread(shelf_of(work.home).remove, path)
    own = [*shared, *(folder for folder in (*folders, *uploads, *came) if folder)]
    await asyncio.to_thread(_remove, [work.home / folder for folder in own])
    await contents.remove(work.db, work.project.id)
    return {}


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)


REMOVE = WorkerStage(name="remove", title=phrase("Remove the project"), perform=_perform)
