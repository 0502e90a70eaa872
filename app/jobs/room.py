"""The watch on free space: training and imports stop before the disk is gone, and go on by themselves.

A plain loop in every worker. What waits is put off in its row, where people read why, and is looked at again a little
later, until there is room.
"""

import structlog

from app.jobs.context import WorkerContext
from app.jobs.pausing import pause
from app.services import disk

LOOK_SECONDS = 2.0
# How long a run is left alone that there was no room for.
WAIT_SECONDS = 15.0
WAITING = "Waits for room on the disk: less is free than the reserve. It goes on by itself from its last checkpoint."

log = structlog.get_logger(__name__)


async def keep_watch(context: WorkerContext) -> None:
    """Look until the worker is asked to stop."""
    while not context.stopping.is_set():
        try:
            look(context)
        except OSError as error:  # a folder of the network may be away for a moment
            log.warning("disk_not_looked_at", reason=error.strerror)
        await pause(context.stopping, LOOK_SECONDS)


def look(context: WorkerContext) -> None:
    """Say whether there is room from now on."""
    found = disk.look(context.home, context.reserve_bytes)
    if found.is_short and not context.short_of_room.is_set():
        context.short_of_room.set()
        log.warning("disk_short", free_bytes=found.free_bytes, reserve_bytes=found.reserve_bytes)
    elif found.is_enough and context.short_of_room.is_set():
        context.short_of_room.clear()
        log.info("disk_has_room", free_bytes=found.free_bytes)
