"""The way into the queue: jobs are put in on the caller's own connection, so that a rolled-back request leaves none
behind.

A job says only that somebody should look at a run, a round or a report; what is to be done stands in their rows. The
handlers are `app.jobs.queue`'s; this side knows their names alone.
"""

from typing import Literal

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

RUN_TASK = "plumbline.run"
ROUND_TASK = "plumbline.round"
REPORT_TASK = "plumbline.report"
ERRAND_TASK = "plumbline.errand"
WAKE_TASK = "plumbline.wake"

# A training run takes minutes and most of the machine; rounds and the short stages pass it on a queue of their own.
TRAINING_QUEUE = "training"
STEPS_QUEUE = "steps"
# Somebody waits for an errand at their screen: it passes both, and needs torch.
ERRANDS_QUEUE = "errands"

QueueName = Literal["training", "steps", "errands"]

# Never opened: every job goes in through a connection that the caller holds.
_queue = App(connector=PsycopgConnector())


async def defer_run(db: AsyncSession, run_id: int, *, queue: QueueName) -> None:
    """Ask for a worker for this run. While a job for it waits, another adds nothing."""
    await _defer(db, RUN_TASK, queue=queue, queueing_lock=lock_of_run(run_id), run_id=run_id)


async def defer_round(db: AsyncSession, round_id: int) -> None:
    """Ask for somebody to see whether this round can go on."""
    await _defer(db, ROUND_TASK, queue="steps", queueing_lock=f"round:{round_id}", round_id=round_id)


async def defer_report(db: AsyncSession, project_id: int, name: str) -> None:
    """Ask for somebody to write this report anew."""
    lock = f"report:{project_id}:{name}"
    await _defer(db, REPORT_TASK, queue="steps", queueing_lock=lock, project_id=project_id, name=name)


async def defer_errand(db: AsyncSession, errand_id: int) -> None:
    """Ask for somebody to do this errand."""
    lock = f"errand:{errand_id}"
    await _defer(db, ERRAND_TASK, queue="errands", queueing_lock=lock, errand_id=errand_id)


async def defer_waking(db: AsyncSession) -> None:
    """Ask for the process that does errands to be there before the first of them."""
    await _defer(db, WAKE_TASK, queue="errands", queueing_lock="wake")


async def _defer(db: AsyncSession, task: str, *, queue: QueueName, queueing_lock: str, **arguments: int | str) -> None:
    try:
        # The savepoint keeps the caller's transaction alive when the job is there already.
        async with db.begin_nested():
            # Asked for in here, because only the session's own use of the connection makes it set the savepoint.
            connection = (await (await db.connection()).get_raw_connection()).driver_connection
            deferrer = _queue.configure_task(task, queue=queue, queueing_lock=queueing_lock, connection=connection)
            await deferrer.defer_async(**arguments)
    except AlreadyEnqueued:
        return


async def waiting_jobs(db: AsyncSession) -> set[str]:
    """Queueing locks of the jobs that wait for a worker."""
    rows = await db.scalars(text("SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo'"))
    return set(rows)


def lock_of_run(run_id: int) -> str:
    return f"run:{run_id}"
