"""The watch on files that came in and that no row names: whoever took them in was killed before it could say so.

A plain loop in every worker, for the home folder that it works in.
"""

import asyncio
from collections.abc import Collection

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Import, ProjectFile
from app.jobs.context import WorkerContext
from app.jobs.pausing import pause
from app.services.data.storing import uploads

LOOK_SECONDS = 3600.0
# A file that still comes in was written to a moment ago.
FORGOTTEN_SECONDS = 86_400.0

log = structlog.get_logger(__name__)


async def keep_watch(context: WorkerContext) -> None:
    """Look until the worker is asked to stop. Raises one of AWAY when the database is gone for too long."""
    while not context.stopping.is_set():
        await look(context)
        await pause(context.stopping, LOOK_SECONDS)


async def look(context: WorkerContext) -> None:
    """Remove what nobody names and nobody has written to for a day."""
    old = await asyncio.to_thread(uploads.untouched, context.home, FORGOTTEN_SECONDS)
    if not old:
        return
    forgotten = old - await context.database.run(lambda db: _named(db, old))
    for folder in forgotten:
        await asyncio.to_thread(uploads.remove, context.home, folder)
    if forgotten:
        log.info("uploads_removed", count=len(forgotten))


async def _named(db: AsyncSession, folders: Collection[str]) -> set[str]:
    """Those that a row names."""
    imports = await db.scalars(select(Import.folder).where(Import.folder.in_(folders)))
    return {*imports, *await db.scalars(select(ProjectFile.folder).where(ProjectFile.folder.in_(folders)))}
