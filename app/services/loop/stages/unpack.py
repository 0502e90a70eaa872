"""Unpack: an empty project takes in what a project's file holds."""

import time

from sqlalchemy import select

from app.db.tables import ProjectFile
from app.phrases import phrase
from app.services.data.storing import uploads
from app.services.loop.stages.figures import Words
from app.services.loop.stages.pack import ALIVE_SECONDS
from app.services.loop.stages.stage import End, Watch, WatchedStage, Work
from app.services.projects import packed_file, unpacking


async def _perform(work: Work, watch: Watch) -> End:
    came = (await work.db.scalars(select(ProjectFile).where(ProjectFile.project_id == work.project.id))).one()
    file = f"{came.folder}/{uploads.FILE}"
    said = packed_file.look(work.home / file, came.file_name)
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
        work.home / file,
        work.home,
        owner_id=came.created_by_id,
        known_id=None if settings["with_accounts"] else came.created_by_id,
        with_source=settings["with_source"],
        told=told,
    )
    return End({"rows_unpacked": sum(said.rows.values())}, leftovers=(file,))


UNPACK = WatchedStage(
    name="unpack",
    title=phrase("Take in the project"),
    perform=_perform,
    own_figures={"rows_unpacked": Words(phrase("Rows taken in"), "count")},
)
