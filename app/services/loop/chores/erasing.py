"""Runs that erase a text for good."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, Run
from app.errors import Conflict, Invalid
from app.services.erasure.targets import Target, reach_of
from app.services.erasure.touched import Touched, look
from app.services.loop.runs import runs

LONGEST_REASON = 500


async def start(
    db: AsyncSession,
    actor_id: int | None,
    project: Project,
    target: Target,
    *,
    files: bool,
    reason: str = "",
    touched: Touched | None = None,
) -> Run:
    """Queue the erasure; with `files` of dataset versions and what was derived of it, too. `touched` is what `look` has
    just found, None: nobody has looked.

    Raises NotFound, Invalid for a reason that is too long, Conflict where nothing is left to erase.
    """
    said = " ".join(reason.split())
    if len(said) > LONGEST_REASON or not said.isprintable():
        raise Invalid("A reason has at most %(size)s printable characters.", size=LONGEST_REASON)
    touched = touched or await look(db, project, await reach_of(db, project, target))
    if not touched.texts and not (files and touched.has_files):
        raise Conflict("Nothing of it is left to erase.")
    return await runs.queue_run(
        db,
        project_id=project.id,
        stage="erase",
        settings={"kind": target.kind, "id": target.id, "files": files, "reason": said},
        started_by_id=actor_id,
    )


async def failed(db: AsyncSession, project: Project, target: Target) -> Run | None:
    """The last erasure of a text if that was given up: then all of it is still there."""
    last = await db.scalar(
        select(Run)
        .where(
            Run.project_id == project.id,
            Run.stage == "erase",
            Run.settings["kind"].as_string() == target.kind,
            Run.settings["id"].as_integer() == target.id,
        )
        .order_by(Run.id.desc())
        .limit(1)
    )
    return last if last is not None and last.state == "failed" else None


async def require_sure(db: AsyncSession, project: Project, target: Target, *, sure: bool, name: str) -> None:
    """Raises Invalid unless somebody said that they are sure: of a person by typing their name."""
    if target.kind != "person":
        if not sure:
            raise Invalid("Tick that you are sure, to go on.")
        return
    wanted = (await reach_of(db, project, target)).name
    if name.strip() != wanted:
        raise Invalid("Type the name %(name)s to go on.", name=wanted)
