"""Processes elsewhere that nobody waits for: of runs that are over, or were cancelled while no worker lived."""

import structlog

from app.jobs.context import WorkerContext
from app.jobs.launch import EngineAway
from app.jobs.pausing import pause
from app.services.loop.runs import launches

LOOK_SECONDS = 60.0

log = structlog.get_logger(__name__)


async def keep_watch(context: WorkerContext) -> None:
    """Look until the worker is asked to stop. Raises one of AWAY when the database is gone for too long."""
    while not context.stopping.is_set():
        await look(context)
        await pause(context.stopping, LOOK_SECONDS)


async def look(context: WorkerContext) -> None:
    """End what is called as this installation's and is no run's that waits or works."""
    for executor in set(context.elsewhere.values()):
        prefix = await context.database.run(launches.prefix)
        try:
            await executor.sweep(prefix, lambda: context.database.run(launches.living))
        except EngineAway as away:
            log.warning("engine_away", reason=str(away))
