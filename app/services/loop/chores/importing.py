"""Runs that check, store and take back files."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Import, Project, Run
from app.errors import Conflict
from app.services.data.storing import imports, undoing
from app.services.data.storing.loads import Counts
from app.services.loop.runs import runs
from app.services.loop.stages.importing import Action


async def start(db: AsyncSession, actor_id: int | None, project: Project, import_: Import, action: Action) -> Run:
    """Queue a run on the import. Raises Conflict while there is one, and for what can't be done with it now."""
    await db.flush()  # what was chosen for it just now
    await db.refresh(import_, with_for_update=True)
    await imports.require_idle(db, import_)
    match action:
        case "check":
            await _require_readable(db, import_)
        case "load":
            await _require_readable(db, import_)
            _require_usable(import_)
        case "undo":
            await undoing.require_undoable(db, import_)
    run = await runs.queue_run(
        db,
        project_id=project.id,
        stage="import",
        settings={"import_id": import_.id, "action": action},
        started_by_id=actor_id,
    )
    import_.run_id = run.id
    await db.flush()
    return run


async def _require_readable(db: AsyncSession, import_: Import) -> None:
    await imports.require_waiting(db, import_)
    if import_.format is None:
        raise Conflict("Say first what the rows of the file are.")


def _require_usable(import_: Import) -> None:
    """What a check has found already need not be found by a run again."""
    if import_.state != "checked":
        return
    counts = Counts.of(import_)
    if counts.bad and not import_.options.get("skip_bad"):
        raise Conflict("%(bad)s rows can't be used. Choose to leave them out, or mend the file.", bad=f"{counts.bad:,}")
    if not counts.new:
        raise Conflict("Nothing in this file is new.")
