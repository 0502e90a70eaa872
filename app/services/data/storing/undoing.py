"""The way back: an import leaves as a whole, with all that came with it and nothing that people did since."""

from sqlalchemy import exists, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.base import Json
from app.db.tables import (
    Assignment,
    DatasetJudgement,
    DatasetVersion,
    Demonstration,
    GoldAnswer,
    Import,
    JudgeAnswer,
    Judgement,
    Project,
    Prompt,
    Task,
)
from app.errors import Conflict
from app.services.data.storing.loads import Watch, lock

# In the order of what points at what. Completions go in one statement with what holds them.
REMOVALS = {
    "demonstrations": "DELETE FROM demonstrations WHERE import_id = :import",
    "judgements": """
        DELETE FROM judgements USING tasks
        WHERE tasks.id = judgements.task_id AND tasks.import_id = :import AND judgements.kind = 'imported'""",
    "responses": """
        WITH gone AS (
            DELETE FROM task_completions USING tasks
            WHERE tasks.id = task_completions.task_id AND tasks.import_id = :import
            RETURNING completion_id
        )
        DELETE FROM completions WHERE id IN (SELECT completion_id FROM gone)""",
    "tasks": "DELETE FROM tasks WHERE import_id = :import",
    "prompts": """
        DELETE FROM prompts WHERE import_id = :import
        AND NOT EXISTS (SELECT FROM tasks WHERE tasks.prompt_id = prompts.id)
        AND NOT EXISTS (SELECT FROM completions WHERE completions.prompt_id = prompts.id)
        AND NOT EXISTS (SELECT FROM demonstrations WHERE demonstrations.prompt_id = prompts.id)""",
    "prompts_kept": "UPDATE prompts SET import_id = NULL WHERE import_id = :import",
}


async def undo(db: AsyncSession, project: Project, import_: Import, watch: Watch) -> Json:
    """Remove what the import brought; how much that was. Raises Conflict where something holds on to it.

    Prompts that something else uses by now stay.
    """
    await lock(db, project)
    await require_undoable(db, import_)
    now = await db.scalar(select(func.now()))
    import_.state, import_.undone_at = "undone", now
    await db.flush()  # from here on the database lets its judgements go
    removed: Json = {}
    for done, (name, statement) in enumerate(REMOVALS.items()):
        watch.tell(done, len(REMOVALS), "removing")
        watch.require_wanted()
        result = await db.execute(text(statement), {"import": import_.id})
        removed[name] = result.rowcount  # type: ignore[attr-defined]  # of a DELETE it has one
    return removed


async def require_undoable(db: AsyncSession, import_: Import) -> None:
    """Raises Conflict with what holds on to the import: a dataset version, or people's work."""
    if import_.state != "imported":
        raise Conflict("Only what was imported can be undone.")
    numbers = await versions_that_hold(db, import_)
    if numbers:
        raise Conflict(
            "Dataset version %(numbers)s holds some of it. A version is never changed, so this import stays.",
            numbers=", ".join(map(str, numbers)),
        )
    if await _judgements_in(db, import_) != import_.counts.get("judgements", 0):
        raise Conflict(
            "Its judgements and those of another import belong to the same tasks: neither goes by itself, so both stay."
        )
    worked_on = await _tasks_worked_on(db, import_)
    if worked_on:
        raise Conflict(
            "People have worked on %(count)s of its tasks. Their work would go with it, so this import stays.",
            count=f"{worked_on:,}",
        )


async def versions_that_hold(db: AsyncSession, import_: Import) -> list[int]:
    """Numbers of the dataset versions with any of its judgements or demonstrations in them."""
    since = (DatasetVersion.project_id == import_.project_id, DatasetVersion.created_at >= import_.imported_at)
    holds_a_judgement = exists().where(
        DatasetJudgement.dataset_version_id == DatasetVersion.id,
        Judgement.id == DatasetJudgement.judgement_id,
        Task.id == Judgement.task_id,
        Task.import_id == import_.id,
    )
    # A version of demonstrations holds all that there were when it was cut.
    brought_a_demonstration = exists().where(
        Demonstration.import_id == import_.id, Prompt.id == Demonstration.prompt_id, Prompt.split == "train"
    )
    found = await db.scalars(
        select(DatasetVersion.number).where(
            *since,
            or_(holds_a_judgement, (DatasetVersion.kind == "demonstrations") & brought_a_demonstration),
        )
    )
    return sorted(set(found))


async def _judgements_in(db: AsyncSession, import_: Import) -> int:
    """How many imported judgements its tasks have, whichever import brought them."""
    found = select(func.count()).select_from(Judgement).join(Task, Task.id == Judgement.task_id)
    return await db.scalar(found.where(Task.import_id == import_.id, Judgement.kind == "imported")) or 0


async def _tasks_worked_on(db: AsyncSession, import_: Import) -> int:
    """Tasks of the import that somebody has or had on screen, that check people, or that machines judged."""
    copy = aliased(Task)
    touched = or_(
        exists().where(Assignment.task_id == Task.id, Assignment.state != "expired"),
        exists().where(GoldAnswer.task_id == Task.id),
        exists().where(JudgeAnswer.task_id == Task.id),
        exists().where(copy.copy_of == Task.id),
    )
    found = select(func.count()).select_from(Task).where(Task.import_id == import_.id, touched)
    return await db.scalar(found) or 0
