"""The watch on copies of what is in the storage: they stay within their bound, and those of what is gone go, too.

A plain loop in every worker, for the home folder that it works in.
"""

import asyncio
import time

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, ModelVersion
from app.jobs.context import WorkerContext
from app.jobs.pausing import pause
from app.services.published.bucket import Away
from app.services.published.shelf import shelf_of

LOOK_SECONDS = 60.0
SWEEP_SECONDS = 86_400.0

log = structlog.get_logger(__name__)


async def keep_watch(context: WorkerContext) -> None:
    """Look until the worker is asked to stop, where there is a storage. Raises one of AWAY when the database is gone
    for too long."""
    if shelf_of(context.home).bucket is None:
        await context.stopping.wait()
    swept_at = -SWEEP_SECONDS
    while not context.stopping.is_set():
        await look(context)
        if time.monotonic() - swept_at > SWEEP_SECONDS and await _sweep(context):
            swept_at = time.monotonic()
        await pause(context.stopping, LOOK_SECONDS)


async def look(context: WorkerContext) -> None:
    """Once: what was begun by who was killed goes, copies of what is gone, and so many others that the bound holds."""
    named = await context.database.run(_named)
    shelf = shelf_of(context.home)
    try:
        await asyncio.to_thread(shelf.copies.sweep)
        gone = await asyncio.to_thread(shelf.drop_unnamed, named)
        gone += await asyncio.to_thread(shelf.make_room)
    except OSError as error:  # of a disk that is full or away: the next look finds it again
        log.warning("copies_not_looked_at", reason=error.strerror)
        return
    if gone:
        log.info("copies_dropped", count=gone)


async def _sweep(context: WorkerContext) -> bool:
    """Whether the storage was there."""
    try:
        gone = await asyncio.to_thread(shelf_of(context.home).remove_unfinished)
    except Away as away:
        log.warning("storage_away", reason=away.message)
        return False
    if gone:
        log.info("storage_swept", folders=len(gone))
    return True


async def _named(db: AsyncSession) -> set[str]:
    """Paths of all that there is."""
    models = await db.scalars(select(ModelVersion.folder))
    datasets = await db.scalars(select(DatasetVersion.path).where(DatasetVersion.file_removed_at.is_(None)))
    return {*models, *datasets}
