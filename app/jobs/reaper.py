"""What brings a run or a round on when the one who should have is gone.

A plain loop in every worker, one at a time across all of them by an advisory lock. Not a job of the queue: such a job
is lost with the worker that had it.
"""

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.errors import DomainError
from app.jobs.context import WorkerContext
from app.jobs.pausing import pause
from app.services import dispatch
from app.services.data import following
from app.services.judging import assignments
from app.services.loop import round_rows
from app.services.loop.chores import errands, lifecycle
from app.services.loop.rounds import rounds, triggering
from app.services.loop.runs import leases, runs
from app.services.loop.settings.round_settings import settings_of
from app.services.reports import reports
from app.services.reports.loop import LOOP

# Any constant will do, as long as nothing else in the database locks the same one.
REAPER_LOCK = 0x52454150

MAX_INTERVAL_SECONDS = 5.0

log = structlog.get_logger(__name__)


async def keep_watch(context: WorkerContext) -> None:
    """Look around until the worker is asked to stop. Raises one of AWAY when the database is gone for too long."""
    interval_seconds = min(MAX_INTERVAL_SECONDS, context.renewal_seconds)
    while not context.stopping.is_set():
        await look_around(context)
        await pause(context.stopping, interval_seconds)


async def look_around(context: WorkerContext) -> None:
    """One look at everything, unless another worker is looking."""
    await context.database.run(lambda db: _look_if_alone(db, context))


async def _look_if_alone(db: AsyncSession, context: WorkerContext) -> None:
    if not await db.scalar(select(func.pg_try_advisory_xact_lock(REAPER_LOCK))):
        return
    # Each in a transaction of its own, while this one holds the lock.
    once = context.database.once
    for run_id in await leases.expired(db, lease_seconds=context.lease_seconds):
        log.warning("lease_expired", run_id=run_id)
        await once(lambda own, run_id=run_id: leases.take_away(own, run_id))  # type: ignore[misc]
    await once(_send_forgotten)
    await once(assignments.reclaim_expired)
    await once(lifecycle.take_up_removals)
    await once(reports.ask_again)
    await once(following.forget_old_changes)
    await once(errands.tidy)
    for round_id in await round_rows.all_active(db):
        await _advance(context, round_id)
    for project_id in await triggering.watched(db):
        await once(lambda own, project_id=project_id: _start_due(own, project_id))  # type: ignore[misc]


async def _send_forgotten(db: AsyncSession) -> None:
    """Give every waiting run a job, if it has none."""
    jobs = await dispatch.waiting_jobs(db)
    for run in await leases.waiting(db):
        if dispatch.lock_of_run(run.id) not in jobs:
            await runs.send(db, run)


async def _start_due(db: AsyncSession, project_id: int) -> None:
    """What only a worker can compute is asked for where it may start a round."""
    project = await db.get_one(Project, project_id)
    known = None
    if settings_of(project).triggers.asks_signs:
        known = (await reports.current(db, project, LOOP)).content
    started = await triggering.start_due(db, project_id, known.signs if known is not None else None)
    if started is not None:
        log.info("round_started", project_id=project_id, number=started.number, trigger=started.trigger)


async def _advance(context: WorkerContext, round_id: int) -> None:
    try:
        await context.database.once(lambda db: rounds.advance(db, round_id))
    except DomainError as error:
        # It stands where it is, for a person to see; the others go on.
        log.warning("round_stands", round_id=round_id, reason=type(error).__name__)
