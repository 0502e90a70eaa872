"""Changes of all rows that match: a few at once, as many as there may be by a run."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import BulkChange, Project, Run
from app.db.tables.runs import TERMINAL_RUN_STATES
from app.errors import Conflict
from app.services.browse import changes
from app.services.browse.changes import AT_ONCE, Outcome
from app.services.browse.kinds import ChangeName
from app.services.browse.listing import Filters
from app.services.loop.runs import runs


async def change_matching(
    db: AsyncSession, actor_id: int | None, project: Project, name: ChangeName, filters: Filters, value: str = ""
) -> Outcome | Run:
    """Change all rows that match, or queue a run that does. Raises Invalid, Conflict where nothing matches."""
    kept = await changes.begin(db, actor_id, project, name, filters, value)
    matching = await changes.count(db, project, kept, most=AT_ONCE)
    if not matching:
        raise Conflict("Nothing matches.")
    if matching == AT_ONCE:
        return await _queue(db, actor_id, project, kept, "change")
    done = await changes.step(db, project, kept.id)
    return Outcome(kept.id, done.changed, done.left)


async def undo(db: AsyncSession, actor_id: int | None, project: Project, change_id: int) -> Outcome | Run:
    """Undo a change, or queue a run that does. Raises NotFound, Conflict for one that is undone or under way."""
    kept = await changes.claim_undo(db, project, change_id)
    run = await db.get(Run, kept.run_id, populate_existing=True) if kept.run_id is not None else None
    if run is not None and run.state not in TERMINAL_RUN_STATES:
        raise Conflict("This change is under way: cancel its run first.")
    if kept.changed > AT_ONCE:
        return await _queue(db, actor_id, project, kept, "undo")
    done = await changes.put_back(db, project, kept.id)
    return Outcome(kept.id, done.changed, done.left)


async def _queue(db: AsyncSession, actor_id: int | None, project: Project, kept: BulkChange, action: str) -> Run:
    run = await runs.queue_run(
        db,
        project_id=project.id,
        stage="change",
        settings={"change_id": kept.id, "action": action, "name": kept.name, "value": kept.value},
        started_by_id=actor_id,
    )
    kept.run_id = run.id
    await db.flush()
    return run
