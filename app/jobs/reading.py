"""What puts the words of large imports into the index for search once they are in.

A plain loop in every worker: it takes what waits, some hundred texts in a transaction, so that nobody waits for it.
"""

from app.jobs.context import WorkerContext
from app.jobs.pausing import pause
from app.services.browse import documents

PAUSE_SECONDS = 5.0


async def keep_reading(context: WorkerContext) -> None:
    """Read until the worker is asked to stop. Raises one of AWAY when the database is gone for too long."""
    while not context.stopping.is_set():
        if await context.database.run(documents.read_some):
            continue
        await pause(context.stopping, PAUSE_SECONDS)
