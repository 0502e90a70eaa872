"""Runs as people see them: queue, look, cancel, retry. What a worker does with a run it holds is in `leases`."""

from pathlib import Path

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Metric, Project, Round, Run
from app.db.tables.runs import TERMINAL_RUN_STATES
from app.errors import Conflict, NotFound
from app.security import Principal
from app.services import dispatch, events
from app.services.loop.stages.registry import queue_of
from app.services.projects import projects
from app.settings import settings as application_settings

LOG = "log.txt"


async def queue_run(
    db: AsyncSession,
    *,
    project_id: int,
    stage: str,
    settings: Json,
    round_id: int | None = None,
    round_step: str | None = None,
    started_by_id: int | None = None,
) -> Run:
    """A new run with its job in the queue, both in the caller's transaction.

    Raises IntegrityError when the round's step already has a run that waits, works or is done.
    """
    run = Run(
        project_id=project_id,
        stage=stage,
        settings=settings,
        round_id=round_id,
        round_step=round_step,
        started_by_id=started_by_id,
        max_attempts=application_settings().run_attempts,
    )
    db.add(run)
    await db.flush()
    run.folder = f"runs/{run.id}"
    await db.flush()
    await db.refresh(run)
    await send(db, run)
    await announce(db, run)
    return run


async def send(db: AsyncSession, run: Run) -> None:
    """Ask for a worker for the run."""
    await dispatch.defer_run(db, run.id, queue=queue_of(run.stage))


async def get(db: AsyncSession, actor: Principal, run_id: int) -> Run:
    """Raises NotFound for an unknown run and for one of a project that `actor` may not see alike."""
    visible = projects.visible_to(actor).with_only_columns(Project.id)
    run = await db.scalar(select(Run).where(Run.id == run_id, Run.project_id.in_(visible)))
    if run is None:
        raise NotFound
    return run


async def list_runs(db: AsyncSession, project_id: int, *, limit: int = 50) -> list[Run]:
    """Newest first."""
    return list(await db.scalars(select(Run).where(Run.project_id == project_id).order_by(Run.id.desc()).limit(limit)))


def metrics_since(run_id: int, step: int = -1) -> Select[Metric]:
    """What the run measured after `step`; steps count up over the whole stage, whatever the phase."""
    return select(Metric).where(Metric.run_id == run_id, Metric.step > step).order_by(Metric.step, Metric.phase)


def log_tail(run: Run, home: Path, max_bytes: int = 65_536) -> str:
    """The end of what the training process printed, from a whole line on if one begins there; empty without a log."""
    if run.folder is None:
        return ""
    try:
        with (home / run.folder / LOG).open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - max_bytes))
            tail = log.read()
    except FileNotFoundError:
        return ""
    if size > max_bytes:
        tail = tail.partition(b"\n")[2] or tail
    return tail.decode(errors="replace")


async def request_cancel(db: AsyncSession, actor: Principal | None, run: Run) -> None:
    """Cancel a waiting run at once, ask the worker of a running one. Raises Conflict if it is over.

    The round of a cancelled run stands still until the run is retried or the round is cancelled.
    """
    await _require_owner(db, actor, run)
    waiting = (
        update(Run)
        .where(Run.id == run.id, Run.state == "queued")
        .values(state="cancelled", finished_at=func.now(), cancel_requested_at=func.now())
    )
    running = update(Run).where(Run.id == run.id, Run.state == "running").values(cancel_requested_at=func.now())
    for statement in (waiting, running):
        if await db.scalar(statement.returning(Run.id)) is not None:
            await announce(db, run)
            return
    raise Conflict("This run is over already.")


async def retry(db: AsyncSession, actor: Principal | None, run: Run) -> Run:
    """Put a failed or cancelled run back into the queue; it goes on from its last checkpoint, with all its attempts.

    Raises Conflict for a run that is not over, has succeeded, or whose round is over.
    """
    await _require_owner(db, actor, run)
    await _require_active_round(db, run)
    await db.refresh(run, with_for_update=True)
    if run.state not in ("failed", "cancelled"):
        raise Conflict(f"Only a failed or cancelled run can be retried; this one is {run.state}.")
    run.state = "queued"
    run.attempt = 0
    run.error = run.finished_at = run.cancel_requested_at = run.retry_at = None
    run.queued_at = func.now()
    await db.flush()
    await db.refresh(run)
    await send(db, run)
    await announce(db, run)
    return run


async def announce(db: AsyncSession, run: Run) -> None:
    """Tell the pages that this run changed."""
    await events.notify(db, project_id=run.project_id, run_id=run.id, round_id=run.round_id)


def is_over(run: Run) -> bool:
    return run.state in TERMINAL_RUN_STATES


async def _require_owner(db: AsyncSession, actor: Principal | None, run: Run) -> None:
    """Without an actor it is the system or the machine's own command line that asks."""
    if actor is not None:
        await projects.require_role(db, actor, await db.get_one(Project, run.project_id), "owner")


async def _require_active_round(db: AsyncSession, run: Run) -> None:
    """Locks the round before its run, as cancelling a round does."""
    if run.round_id is None:
        return
    status = await db.scalar(select(Round.status).where(Round.id == run.round_id).with_for_update(read=True))
    if status != "active":
        raise Conflict(f"The round of this run is {status}: start a new one.")
