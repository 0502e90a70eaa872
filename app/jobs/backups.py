"""Backups that are made by themselves: a worker looks whether one is due and has a process of its own make it.

`python -m app.jobs.backups` is that process: it reads the same settings, steps back behind everything else, and ends
with the worker.
"""

import asyncio
import os
import sys
from contextlib import suppress

import structlog

from app.db.away import AWAY
from app.db.session import plain_url
from app.errors import DomainError
from app.jobs.context import WorkerContext
from app.jobs.pausing import first_of, pause
from app.processes import bound_to_us, give_way, open_log
from app.services.backups import making, standing
from app.services.backups.places import place_at
from app.settings import Settings, SettingsError, load_settings

LOOK_SECONDS = 60.0
NICENESS = 10
LOG = "backup"

log = structlog.get_logger(__name__)


async def keep_backing_up(context: WorkerContext, settings: Settings, database_url: str) -> None:
    """Look every minute until the worker is asked to stop."""
    while not context.stopping.is_set():
        if settings.backup_to is not None and "steps" in settings.queues:
            with suppress(*AWAY):  # the next look finds it again
                await _back_up_if_due(context, settings, database_url)
        await pause(context.stopping, LOOK_SECONDS)


async def _back_up_if_due(context: WorkerContext, settings: Settings, database_url: str) -> None:
    place = standing.scheduled_place(settings)
    if place is not None and await context.database.once(lambda db: standing.is_due(db, settings, place)):
        code = await _back_up(context, settings, database_url)
        log.info("backup_ended", place=place, code=code)


async def _back_up(context: WorkerContext, settings: Settings, database_url: str) -> int:
    """The exit code of the process. It is killed when the worker stops: the next one begins it anew."""
    own = {
        "DATABASE_URL": plain_url(database_url),
        "PLUMBLINE_HOME": str(settings.home),
        "PLUMBLINE_BACKUP_TO": str(settings.backup_to),
    }
    with open_log(settings.home / "logs", LOG) as file:
        child = await asyncio.create_subprocess_exec(
            *bound_to_us([sys.executable, "-m", "app.jobs.backups"]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=os.environ | own | {"PLUMBLINE_BACKUPS_KEPT": str(settings.backups_kept)},
            start_new_session=True,
        )
    ended = asyncio.create_task(child.wait())
    try:
        await first_of(ended, context.stopping)
    finally:
        if not ended.done():
            child.kill()
    return await ended


def main() -> int:
    give_way(NICENESS)
    try:
        settings = load_settings()
        assert settings.database_url is not None
        assert settings.backup_to is not None
        place = place_at(settings.backup_to, of_many=True)
        made = making.make(settings.database_url, settings, place, lambda _line: None, kept=settings.backups_kept)
    except (DomainError, SettingsError, OSError) as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    sys.stdout.write(f"{made.name} is in {place.called}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
