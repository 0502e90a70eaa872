"""Tasks kept for one person: nobody else is given a place of one until they have judged it, skipped it, or leave.

`tasks.reserved_for_id` says so. It changes under the task's lock, after the membership of whom it names was locked; the
database refuses the lease of anybody else, and forgets it with the membership.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment, Member, Project, Task, User
from app.errors import Invalid
from app.phrases import phrase
from app.services import conditions

MOST_CANDIDATES = 1_000
KNOWN = {
    "leased": phrase("They have it on their desk already."),
    "submitted": phrase("They have judged it already."),
    "skipped": phrase("They have skipped it."),
}
WRITTEN = phrase("They wrote one of its responses.")
NOT_OPEN = phrase("It is not open.")
FULL = phrase("All its places are taken.")


async def require_works(db: AsyncSession, project: Project, user_id: int) -> None:
    """Hold somebody's membership as it is until the transaction ends. Raises Invalid for who isn't given any work."""
    member = await db.scalar(
        select(Member)
        .join(User, User.id == Member.user_id)
        .where(Member.project_id == project.id, Member.user_id == user_id, User.disabled_at.is_(None))
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    )
    if member is None:
        raise Invalid("This person is not in the project.")
    if member.paused_at is not None:
        raise Invalid("This person’s work here is paused.")


async def candidates(db: AsyncSession, project: Project) -> Sequence[User]:
    """Members who can be given tasks, by name; at most `MOST_CANDIDATES`."""
    return (
        await db.scalars(
            select(User)
            .join(Member, Member.user_id == User.id)
            .where(Member.project_id == project.id, Member.paused_at.is_(None), User.disabled_at.is_(None))
            .order_by(func.lower(User.name), User.id)
            .limit(MOST_CANDIDATES)
        )
    ).all()


async def workers(db: AsyncSession, project: Project, user_ids: Collection[int]) -> set[int]:
    """People of these ids who are given work now, with their memberships held as they are."""
    if not user_ids:
        return set()
    of = (Member.project_id == project.id, Member.user_id.in_(user_ids), Member.paused_at.is_(None))
    found = select(Member.user_id).where(*of).order_by(Member.user_id).with_for_update(read=True)
    return set(await db.scalars(found))


async def left_out(db: AsyncSession, tasks: Sequence[Task], user_id: int) -> Mapping[int, str]:
    """Why this person can't be given some of the tasks, by the id of the task."""
    ids = [task.id for task in tasks]
    given = await db.execute(
        select(Assignment.task_id, Assignment.state).where(
            Assignment.task_id.in_(ids), Assignment.annotator_id == user_id, Assignment.state != "expired"
        )
    )
    states = {task_id: state for task_id, state in given}  # noqa: C416 - rows are no pairs to a type checker
    written = set(await db.scalars(select(Task.id).where(Task.id.in_(ids), conditions.has_text_of(user_id))))
    return dict(_reasons(tasks, states, written))


def _reasons(tasks: Sequence[Task], states: Mapping[int, str], written: Collection[int]) -> Iterator[tuple[int, str]]:
    for task in tasks:
        if task.id in states:
            yield task.id, KNOWN[states[task.id]]
        elif task.id in written:
            yield task.id, WRITTEN
        elif task.state != "open" or task.purpose != "label":
            yield task.id, NOT_OPEN
        elif task.taken >= task.quota:
            yield task.id, FULL


async def end(db: AsyncSession, user_id: int, *, project: Project | None = None) -> int:
    """Let anybody have what is kept for this person, in one project or in all; returns how many tasks."""
    kept = select(Task.id).where(Task.reserved_for_id == user_id)
    if project is not None:
        kept = kept.where(Task.project_id == project.id)
    locked = kept.order_by(Task.id).with_for_update().cte("locked")
    ended = await db.execute(
        update(Task)
        .where(Task.id == locked.c.id)
        .values(reserved_for_id=None)
        .execution_options(synchronize_session=False)
    )
    return int(ended.rowcount)  # type: ignore[attr-defined]  # of an UPDATE it has one
