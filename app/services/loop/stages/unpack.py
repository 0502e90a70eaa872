"""Unpack: an empty project takes in what a project's file holds."""

import time
from pathlib import Path

from sqlalchemy import select

from app.db.tables import ProjectFile
from app.errors import Conflict, Invalid
from app.phrases import phrase
from app.services.data.storing import uploads
from app.services.loop.stages.figures import Words
from app.services.loop.stages.pack import ALIVE_SECONDS
from app.services.loop.stages.stage import End, Watch, WatchedStage, Work
from app.services.people import trust
from app.services.projects import packed_file, projects, unpacking
from app.services.published.bucket import Away


async def _perform(work: Work, watch: Watch) -> End:
    """A file that is damaged inside leaves nothing but why: the project that was to hold it goes."""
    came = (await work.db.scalars(select(ProjectFile).where(ProjectFile.project_id == work.project.id))).one()
    file = f"{came.folder}/{uploads.FILE}"
    try:
        async with work.db.begin_nested():
            rows = await _fill(work, watch, came, work.home / file)
    except Away:
        raise
    except (Invalid, Conflict) as error:
        await work.db.refresh(came)
        await work.db.refresh(work.project)
        came.project_id, came.problem = None, error.message
        projects.put_out_of_sight(work.project)
        await work.db.flush()
        return End({}, error=error.message, leftovers=(file,))
    return End({"rows_unpacked": rows}, leftovers=(file,))


async def _fill(work: Work, watch: Watch, came: ProjectFile, file: Path) -> int:
    """How many rows came in."""
    said = packed_file.look(file, came.file_name)
    read, spoken = 0, time.monotonic()

    async def told(size_bytes: int) -> None:
        nonlocal read, spoken
        watch.require_wanted()
        read += size_bytes
        watch.tell(min(read, 2 * said.unpacked_bytes), 2 * said.unpacked_bytes, "unpack")
        if time.monotonic() - spoken > ALIVE_SECONDS:
            await work.db.execute(select(1))
            spoken = time.monotonic()

    settings = work.run.settings
    await unpacking.fill(
        work.db,
        work.project,
        file,
        work.home,
        owner_id=came.created_by_id,
        known_id=None if settings["with_accounts"] else came.created_by_id,
        with_source=settings["with_source"],
        told=told,
    )
    await trust.end_in_project(work.db, work.project.id)
    return sum(said.rows.values())


UNPACK = WatchedStage(
    fills_disk=True,
    name="unpack",
    title=phrase("Take in the project"),
    perform=_perform,
    own_figures={"rows_unpacked": Words(phrase("Rows taken in"), "count")},
)
