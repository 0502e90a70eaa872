"""A worker's hold on a run: claim, renew, record, finish, give back.

Every write carries the token that the claim returned, and changes nothing once somebody else has claimed the run: a
worker that was paused, cut off or thought dead finds out by a False, and publishes nothing. Time is the database's,
never the worker's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Update, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Metric, Project, Run
from app.services import dispatch
from app.services.loop import round_rows
from app.services.loop.runs import runs, starting
from app.services.loop.stages.registry import STAGES

FinalState = Literal["succeeded", "failed", "cancelled"]


class LeaseLost(Exception):
    """Somebody else holds this run by now; whoever sees this must leave it alone. Rolls the transaction back."""


@dataclass(frozen=True)
class StepMetrics:
    """What a stage measured at one step. `figures` are means over the step."""

    step: int
    total_steps: int
    phase: str
    figures: Json
    samples: list[Json] | None = None


@dataclass(frozen=True)
class Standing:
    """How a run looks to the worker that holds a token of it."""

    held: bool
    cancel_requested: bool


async def claim(db: AsyncSession, run_id: int, *, owner: str, lease_seconds: float) -> int | None:
    """Take a run that waits or whose lease ran out: its new token, or None if it is over, somebody else's, or is to be
    left alone for now."""
    return await db.scalar(
        update(Run)
        .where(
            Run.id == run_id,
            or_((Run.state == "queued") & _due(), (Run.state == "running") & (Run.lease_expires_at < func.now())),
            Run.cancel_requested_at.is_(None),
            Run.attempt < Run.max_attempts,
        )
        .values(
            state="running",
            attempt=Run.attempt + 1,
            lease_token=Run.lease_token + 1,
            lease_owner=owner,
            lease_expires_at=func.now() + timedelta(seconds=lease_seconds),
            started_at=func.coalesce(Run.started_at, func.now()),
            error=None,
            retry_at=None,
        )
        .returning(Run.lease_token)
    )


async def renew(db: AsyncSession, run_id: int, token: int, *, lease_seconds: float) -> Standing:
    """Hold the run for `lease_seconds` more, even if the lease ran out, as long as nobody else has taken it."""
    expires = func.now() + timedelta(seconds=lease_seconds)
    row = (
        await db.execute(
            _held(run_id, token)
            .values(lease_expires_at=expires)
            .returning(Run.cancel_requested_at.is_not(None).label("cancel_requested"))
        )
    ).one_or_none()
    return Standing(held=row is not None, cancel_requested=bool(row and row.cancel_requested))


async def standing(db: AsyncSession, run_id: int, token: int) -> Standing:
    """Whether the run is still held under `token` and whether its end was asked for, without renewing the lease."""
    row = (
        await db.execute(
            select(Run.cancel_requested_at.is_not(None).label("cancel_requested")).where(
                Run.id == run_id, Run.lease_token == token, Run.state == "running"
            )
        )
    ).one_or_none()
    return Standing(held=row is not None, cancel_requested=bool(row and row.cancel_requested))


async def hold(db: AsyncSession, run_id: int, token: int) -> Run:
    """The run, locked until the transaction ends, so that nobody claims it meanwhile. Raises LeaseLost."""
    run = await db.scalar(
        select(Run)
        .where(Run.id == run_id, Run.lease_token == token, Run.state == "running")
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if run is None:
        raise LeaseLost
    return run


async def record_metrics(db: AsyncSession, run_id: int, token: int, steps: Sequence[StepMetrics]) -> bool:
    """Store what was measured and how far the run is; a step that is measured again replaces the first."""
    last = steps[-1]
    progress = _held(run_id, token).values(phase=last.phase, step=last.step, total_steps=last.total_steps)
    run = await db.scalar(progress.returning(Run))
    if run is None:
        return False
    rows = {(step.phase, step.step): step for step in steps}.values()
    statement = insert(Metric).values(
        [
            {"run_id": run_id, "phase": row.phase, "step": row.step, "figures": row.figures, "samples": row.samples}
            for row in rows
        ]
    )
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["run_id", "phase", "step"],
            set_={"figures": statement.excluded.figures, "samples": statement.excluded.samples},
        )
    )
    await runs.announce(db, run)
    return True


async def finish(
    db: AsyncSession,
    run_id: int,
    token: int,
    state: FinalState,
    *,
    result: Json | None = None,
    error: str | None = None,
) -> bool:
    """Bring the run to its final state and wake its round. False, and nothing changed, for a stale token."""
    over = {"launch": Run.launch + 1, "result": result, "error": error}
    run = await db.scalar(_held(run_id, token).values(**_released(state), **over).returning(Run))
    if run is None:
        return False
    await _wake(db, run)
    return True


async def give_back(
    db: AsyncSession,
    run_id: int,
    token: int,
    *,
    error: str | None = None,
    counts: bool = True,
    has_ended: bool = False,
    wait_seconds: float = 0,
) -> bool:
    """Put the run back into the queue, for `wait_seconds` from now on, or fail it with `error` if this was its last
    attempt. One that was asked to end meanwhile has ended, since nobody would take it up again.

    `counts=False` where the attempt is not the run's fault: its worker was asked to stop, or the disk is full.
    `has_ended` where its process's end was seen: the next one has another name.
    """
    left = {"attempt": Run.attempt - (0 if counts else 1), "launch": Run.launch + (1 if has_ended else 0)}
    run = await db.scalar(_held(run_id, token).values(**left).returning(Run))
    if run is None:
        return False
    await db.refresh(run)
    if run.cancel_requested_at is not None:
        return await finish(db, run_id, token, "cancelled")
    if run.attempt >= run.max_attempts:
        tries = "once" if run.attempt == 1 else f"{run.attempt} times"
        return await finish(db, run_id, token, "failed", error=f"Tried {tries}. The last time: {error}")
    await _requeue(db, run, error, wait_seconds)
    return True


async def put_off(db: AsyncSession, run_id: int, *, error: str, wait_seconds: float) -> None:
    """Leave a run that waits alone for so long, and say why."""
    later = func.now() + timedelta(seconds=wait_seconds)
    waiting_run = update(Run).where(Run.id == run_id, Run.state == "queued").values(error=error, retry_at=later)
    run = await db.scalar(waiting_run.returning(Run).execution_options(populate_existing=True))
    if run is not None:
        await runs.announce(db, run)


async def expired(db: AsyncSession, *, lease_seconds: float) -> list[int]:
    """Runs whose worker has been silent for too long.

    A server that started a moment ago has kept every worker from renewing: they get one lease's time to come back.
    """
    back_long_enough = text("pg_postmaster_start_time() < now() - make_interval(secs => :seconds)")
    return list(
        await db.scalars(
            select(Run.id)
            .where(Run.state == "running", Run.lease_expires_at < func.now(), back_long_enough)
            .params(seconds=lease_seconds)
            .order_by(Run.id)
        )
    )


async def take_away(db: AsyncSession, run_id: int) -> None:
    """Requeue a run whose lease ran out, cancel it if that was asked for, fail it after its last attempt."""
    run = await db.scalar(
        select(Run)
        .where(Run.id == run_id, Run.state == "running", Run.lease_expires_at < func.now())
        .with_for_update(skip_locked=True)
    )
    if run is None:
        return
    if run.cancel_requested_at is not None:
        await finish(db, run.id, run.lease_token, "cancelled")
    elif run.attempt >= run.max_attempts:
        times = "once" if run.attempt == 1 else f"{run.attempt} times"
        await finish(db, run.id, run.lease_token, "failed", error=f"The worker was lost {times} during this run.")
    else:
        await _requeue(db, run, "The worker was lost.")


async def waiting(db: AsyncSession) -> list[Run]:
    """Runs that wait for a worker, and not for anything else."""
    return list(await db.scalars(select(Run).where(Run.state == "queued", _due()).order_by(Run.id)))


def _due() -> ColumnElement[bool]:
    return or_(Run.retry_at.is_(None), Run.retry_at <= func.now())


def _held(run_id: int, token: int) -> Update:
    return (
        update(Run)
        .where(Run.id == run_id, Run.lease_token == token, Run.state == "running")
        .execution_options(populate_existing=True)
    )


def _released(state: str) -> dict[str, Any]:
    over = None if state == "queued" else func.now()
    return {"state": state, "lease_expires_at": None, "lease_owner": None, "finished_at": over}


async def _requeue(db: AsyncSession, run: Run, error: str | None, wait_seconds: float = 0) -> None:
    """It waits from now on, or for a while not even that: then who watches over the queue gives it its job."""
    later = func.now() + timedelta(seconds=wait_seconds)
    await db.execute(update(Run).where(Run.id == run.id).values(**_released("queued"), error=error, retry_at=later))
    if not wait_seconds:
        await runs.send(db, run)
    await runs.announce(db, run)


async def _wake(db: AsyncSession, run: Run) -> None:
    if run.round_id is not None:
        await dispatch.defer_round(db, run.round_id)
    elif run.state != "succeeded" and STAGES[run.stage].pairs_wait:
        await _serve_pairs_without(db, run)
    await runs.announce(db, run)


async def _serve_pairs_without(db: AsyncSession, run: Run) -> None:
    project = await db.get_one(Project, run.project_id)
    if project.archived_at is None and await round_rows.active(db, project.id) is None:
        await starting.serve_pairs(db, project)
