"""Runs that cut dataset versions by an owner's hand."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, Run
from app.db.tables.lineage import DatasetKind
from app.db.tables.runs import TERMINAL_RUN_STATES
from app.errors import Conflict
from app.services.data import datasets
from app.services.loop.runs import runs


async def start(
    db: AsyncSession,
    actor_id: int | None,
    project: Project,
    *,
    kind: DatasetKind = "preferences",
    prefers_verdicts: bool | None = None,
    takes_machines: bool | None = None,
) -> Run:
    """Queue the next version. Raises Conflict while one is cut, and where there is nothing to put in.

    What counts of verdicts and machines is asked of preferences alone."""
    require = datasets.require_demonstrations if kind == "demonstrations" else datasets.require_judgements
    await require(db, project)
    run = await latest(db, project)
    if run is not None and run.state not in TERMINAL_RUN_STATES:
        raise Conflict("A version is being cut already.")
    return await runs.queue_run(
        db,
        project_id=project.id,
        stage="snapshot",
        settings={"kind": kind, "prefers_verdicts": prefers_verdicts, "takes_machines": takes_machines},
        started_by_id=actor_id,
    )


async def latest(db: AsyncSession, project: Project) -> Run | None:
    """The newest one, over or not."""
    by_hand = (Run.project_id == project.id, Run.stage == "snapshot", Run.round_id.is_(None))
    return await db.scalar(select(Run).where(*by_hand).order_by(Run.id.desc()).limit(1))
