"""Pack: the whole project as one file, to be downloaded."""

import time

from sqlalchemy import select

from app.db.base import Json
from app.phrases import phrase
from app.services.loop.stages.stage import Work, WorkerStage
from app.services.projects import packing

# The server ends transactions that are silent for a minute; this one waits for files to be written.
ALIVE_SECONDS = 10.0


async def _perform(work: Work) -> Json:
    settings = work.run.settings
    spoken = time.monotonic()

    async def alive() -> None:
        nonlocal spoken
        if time.monotonic() - spoken > ALIVE_SECONDS:
            await work.db.execute(select(1))
            spoken = time.monotonic()

    assert work.run.folder is not None
    packed = await packing.pack(
        work.db,
        work.project.id,
        work.home,
        work.home / work.run.folder / f"{work.project.slug}.zip",
        with_models=bool(settings.get("with_models")),
        with_people=bool(settings.get("with_people")),
        alive=alive,
    )
    return {"size_bytes": packed.size_bytes, "rows_packed": packed.rows}


PACK = WorkerStage(name="pack", fills_disk=True, title=phrase("Write the project into a file"), perform=_perform)
