"""Whole projects that come in as files: sent in, looked at, and made by a worker."""

import asyncio
from collections.abc import AsyncIterable
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, ProjectFile, Run
from app.errors import Conflict, Forbidden, Invalid, NotFound
from app.security import Principal
from app.services.data.storing import uploads
from app.services.loop.runs import base_models, runs
from app.services.loop.settings.round_settings import RoundSettings
from app.services.people import trust
from app.services.projects import addresses, packed_file, projects, setup
from app.services.projects.packed_file import Contents
from app.settings import ProjectCreation, Settings

KEPT = timedelta(days=1)
"""How long a file waits for somebody to make a project of it."""


def require_may(actor: Principal, creation: ProjectCreation) -> None:
    """Raises Forbidden for who may not make projects here."""
    if not setup.may_begin(actor, creation):
        raise Forbidden("Only admins of this site may make projects here.")


async def keep(
    home: Path, name: str, chunks: AsyncIterable[bytes], *, most_bytes: int, reserve_bytes: int
) -> uploads.Upload:
    """Store the file as it comes in. Raises Invalid for what is no project's, TooLarge and NoRoom; nothing is left
    then."""
    stored = await uploads.keep(home, name, chunks, most_bytes=most_bytes, reserve_bytes=reserve_bytes)
    try:
        await asyncio.to_thread(packed_file.look, home / stored.folder / uploads.FILE, stored.name)
    except Invalid:
        uploads.remove(home, stored.folder)
        raise
    return stored


async def enter(db: AsyncSession, actor: Principal, home: Path, stored: uploads.Upload) -> ProjectFile:
    """A file that was kept; others that nobody has made a project of for a day go."""
    forgotten = delete(ProjectFile).where(ProjectFile.project_id.is_(None), ProjectFile.created_at < func.now() - KEPT)
    for folder in await db.scalars(forgotten.returning(ProjectFile.folder)):
        uploads.remove(home, folder)
    file = ProjectFile(
        folder=stored.folder, file_name=stored.name, size_bytes=stored.size_bytes, created_by_id=actor.user_id
    )
    db.add(file)
    await db.flush()
    await db.refresh(file)
    return file


async def get(db: AsyncSession, actor: Principal, file_id: int, *, for_update: bool = False) -> ProjectFile:
    """A file of one's own. Raises NotFound."""
    wanted = select(ProjectFile).where(ProjectFile.id == file_id, ProjectFile.created_by_id == actor.user_id)
    file = await db.scalar(wanted.with_for_update() if for_update else wanted)
    if file is None:
        raise NotFound
    return file


async def look(home: Path, file: ProjectFile) -> Contents:
    """What the file holds by its own account. Raises Invalid, also for one that could not be taken in."""
    if file.problem is not None:
        raise Invalid("The file could not be taken in: %(why)s.", why=file.problem.rstrip("."))
    return await asyncio.to_thread(packed_file.look, home / file.folder / uploads.FILE, file.file_name)


async def takes_model(settings: Settings, actor: Principal, said: Contents) -> bool:
    """Whether policies can start here from the model that they started from there."""
    source = said.project.get("policy_source")
    if not isinstance(source, str):
        return source is None
    try:
        await base_models.check(settings, actor, source)
    except Invalid:
        return False
    return True


async def made(db: AsyncSession, file: ProjectFile) -> tuple[Project, Run] | None:
    """What was made of a file, and the run that fills it; None of one that nobody has made a project of."""
    if file.project_id is None:
        return None
    project = await db.get_one(Project, file.project_id)
    run = await db.scalar(select(Run).where(Run.project_id == project.id, Run.stage == "unpack"))
    assert run is not None
    return project, run


async def make(
    db: AsyncSession, actor: Principal, settings: Settings, file: ProjectFile, *, name: str = "", slug: str = ""
) -> tuple[Project, Run]:
    """A new project of `actor` that a run fills with what the file holds; the same again, where that was done.

    People of the file are accounts of here for admins alone: nobody else may say in others' names what these judged.
    Raises Invalid, and Conflict for a slug that is taken.
    """
    there = await made(db, file)
    if there is not None:
        return there
    said = await look(settings.home, file)
    chosen = said.project.get("round_settings", {})
    with packed_file.damage(file.file_name):
        RoundSettings().overridden(chosen)
    project = await projects.create(
        db,
        slug=slug.strip() or await addresses.free(db, said.slug),
        name=name.strip() or said.name,
        owner_id=actor.user_id,
    )
    file.project_id = project.id
    await trust.begin_own(db, actor, project.id)
    run = await runs.queue_run(
        db,
        project_id=project.id,
        stage="unpack",
        settings={"with_accounts": actor.is_admin, "with_source": await takes_model(settings, actor, said)},
        started_by_id=actor.user_id,
    )
    return project, run


async def discard(db: AsyncSession, file: ProjectFile) -> str:
    """Forget a file; its folder, which is to be removed once that is certain. Raises Conflict for one that was used."""
    if file.project_id is not None:
        raise Conflict("A project was made of this file.")
    await db.delete(file)
    await db.flush()
    return file.folder
