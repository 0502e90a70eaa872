"""Work taken from a person: leases that others may have at once, and tasks that somebody else is to judge again."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment, Judgement, Project, Task
from app.services.judging import reservations

REOPENED_AT_ONCE = 10_000


async def release(db: AsyncSession, user_id: int, *, project: Project | None = None) -> int:
    """Let others have what this person holds and what is kept for them, in one project or in all; returns how many
    tasks. An answer that is sent for one of them later counts if its place is still free.
    """
    held = select(Assignment.task_id).where(Assignment.annotator_id == user_id, Assignment.state == "leased")
    if project is not None:
        held = held.where(Assignment.project_id == project.id)
    # Under the tasks' locks, as everything that moves a lease: an answer just now is either before or after us.
    locked = select(Task.id, Task.reserved_for_id).where(Task.id.in_(held)).order_by(Task.id).with_for_update()
    tasks = (await db.execute(locked)).all()
    freed = await _free(db, Assignment.task_id.in_([task.id for task in tasks]), Assignment.annotator_id == user_id)
    kept = await reservations.end(db, user_id, project=project)
    return freed + kept - len([task for task in tasks if task.reserved_for_id == user_id])


async def release_tasks(db: AsyncSession, task_ids: Sequence[int]) -> int:
    """Take these tasks, whose locks the caller has, from whoever holds a lease on one; returns how many leases."""
    return await _free(db, Assignment.task_id.in_(task_ids))


async def reopen(db: AsyncSession, project: Project, user_id: int) -> int:
    """Have somebody else judge again what this person judged and nobody is judging now; returns how many tasks.

    The judgements stay. A bounded number at once, the newest first.
    """
    judged = exists().where(
        Judgement.task_id == Task.id,
        Judgement.annotator_id == user_id,
        Judgement.superseded_by.is_(None),
        ~Judgement.is_verdict,
    )
    closed = (
        select(Task.id)
        .where(Task.project_id == project.id, Task.purpose == "label", Task.state == "closed", judged)
        .order_by(Task.id.desc())
        .limit(REOPENED_AT_ONCE)
        .with_for_update()
    )
    reopened = await db.scalars(
        update(Task)
        .where(Task.id.in_(closed.scalar_subquery()))
        .values(state="open", quota=Task.quota + 1)
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    return len(reopened.all())


async def _free(db: AsyncSession, *of: ColumnElement[bool]) -> int:
    """End these leases and free their places, under the locks of their tasks; how many there were."""
    freed = await db.scalars(
        update(Assignment)
        .where(*of, Assignment.state == "leased")
        .values(state="expired", closed_at=func.now())
        .returning(Assignment.task_id)
    )
    places = Counter(freed)
    for count in sorted(set(places.values())):
        some = [task_id for task_id, held in places.items() if held == count]
        await db.execute(
            update(Task)
            .where(Task.id.in_(some))
            .values(taken=Task.taken - count)
            .execution_options(synchronize_session=False)
        )
    return places.total()
