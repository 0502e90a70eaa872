"""Leases: a task reserved for one person for a while.

`tasks.taken` counts the places of a task that are gone, live leases and judgements together; it changes only under the
task's row lock and in the same transaction as the lease, and the database refuses it to pass the quota.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Insert, ScalarSelect, Update, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import (
    Assignment,
    Completion,
    Judgement,
    Project,
    Prompt,
    Task,
    TaskCompletion,
)
from app.db.tables.judging import AssignmentState
from app.errors import Conflict, NotFound
from app.security import Principal
from app.services import projects
from training.records import Message

PANE_NAMES = "ABCDEFGHI"
RECLAIM_BATCH = 100
BALANCE_BOUND = 2  # sides are drawn at random until one is this far ahead
EXCERPT_LENGTH = 80


@dataclass(frozen=True)
class TaskView:
    """What an annotator sees of a task. Nothing here tells which model wrote what, or what anybody else said."""

    assignment_id: int
    project: str
    messages: tuple[Message, ...]
    panes: tuple[tuple[str, str], ...]
    state: AssignmentState
    served_at: datetime
    lease_expires_at: datetime
    choice: int | None
    editable: bool


@dataclass(frozen=True)
class RecentJudgement:
    assignment_id: int
    judgement_id: int
    choice: int
    prompt_excerpt: str
    submitted_at: datetime
    editable: bool


@dataclass(frozen=True)
class _FreeTask:
    """A task with a place for somebody, its number of responses, and whether that person let a lease on it run out."""

    task: Task
    size: int
    was_given_before: bool


async def lease_next(db: AsyncSession, actor: Principal, project: Project) -> Assignment | None:
    """The lease that `actor` holds already, else a new one on the most urgent free task, else None."""
    # Locked: of two tabs that ask at once, the second waits and then shows what the first got.
    member = await projects.membership(db, actor, project)
    held = await _held_lease(db, actor, project)
    if held is not None:
        return held
    await reclaim_expired(db, project.id, eligible_for=actor)
    free = await _free_task(db, actor, project)
    if free is None:
        return None
    free.task.taken += 1
    if free.was_given_before:  # the order stays what was drawn for it then
        write: Insert | Update = update(Assignment).where(
            Assignment.task_id == free.task.id, Assignment.annotator_id == actor.user_id
        )
    else:
        order = draw_order(free.size, member.side_balance)
        member.side_balance += _lean(order)
        write = insert(Assignment).values(
            project_id=project.id, task_id=free.task.id, annotator_id=actor.user_id, shown_order=order
        )
    await db.flush()
    return await _start_lease(db, project, write)


async def reclaim_expired(
    db: AsyncSession, project_id: int | None = None, *, eligible_for: Principal | None = None
) -> int:
    """Free the places of leases that ran out, a bounded batch of those that nobody has locked; returns how many.

    `eligible_for` leaves aside tasks that this person can't have: somebody who goes on to wait for a task must hold no
    lock on another one.
    """
    ran_out = (Assignment.state == "leased", Assignment.lease_expires_at <= func.now())
    expired = select(Assignment.task_id).where(*ran_out).order_by(Assignment.lease_expires_at).limit(RECLAIM_BATCH)
    if project_id is not None:
        expired = expired.where(Assignment.project_id == project_id)
    tasks = select(Task.id).where(Task.id.in_(expired.scalar_subquery()))
    if eligible_for is not None:
        tasks = tasks.where(*projects.eligible_for(eligible_for.user_id))
    locked = tasks.with_for_update(skip_locked=True).cte("locked")
    freed = (
        update(Assignment)
        .where(Assignment.task_id == locked.c.id, *ran_out)
        .values(state="expired", closed_at=func.now())
        .returning(Assignment.task_id)
        .cte("freed")
    )
    places = select(freed.c.task_id, func.count().label("count")).group_by(freed.c.task_id).subquery()
    reclaimed = await db.execute(
        update(Task)
        .where(Task.id == places.c.task_id)
        .values(taken=Task.taken - places.c.count)
        .returning(places.c.count)
        .execution_options(synchronize_session=False)
    )
    return sum(reclaimed.scalars())


async def view(db: AsyncSession, actor: Principal, assignment_id: int) -> TaskView:
    """Raises NotFound for an assignment of anybody else."""
    row = (
        await db.execute(
            select(Assignment, Prompt.messages, Project.slug)
            .join(Task, Task.id == Assignment.task_id)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .join(Project, Project.id == Assignment.project_id)
            .where(Assignment.id == assignment_id, Assignment.annotator_id == actor.user_id)
        )
    ).one_or_none()
    if row is None:
        raise NotFound
    assignment, messages, slug = row
    texts = await db.execute(
        select(TaskCompletion.position, Completion.text)
        .join(Completion, Completion.id == TaskCompletion.completion_id)
        .where(TaskCompletion.task_id == assignment.task_id)
    )
    text_at = {row.position: row.text for row in texts}
    said = (
        await db.execute(
            select(Judgement.choice, projects.held_by_a_dataset()).where(
                Judgement.assignment_id == assignment.id, Judgement.superseded_by.is_(None)
            )
        )
    ).one_or_none()
    return TaskView(
        assignment_id=assignment.id,
        project=slug,
        messages=tuple(Message(message["role"], message["content"]) for message in messages),
        panes=tuple(zip(PANE_NAMES, (text_at[position] for position in assignment.shown_order), strict=False)),
        state=cast(AssignmentState, assignment.state),
        served_at=assignment.leased_at,
        lease_expires_at=assignment.lease_expires_at,
        choice=said[0] if said else None,
        editable=not (said and said[1]),
    )


async def skip(db: AsyncSession, actor: Principal, assignment_id: int, *, reason: str) -> None:
    """Give the task back for good: it goes to others and never to `actor` again. Skipping twice is skipping once."""
    task, assignment = await lock(db, actor, assignment_id)
    if assignment.state == "submitted":
        raise Conflict("You have judged this task already; change your judgement instead.")
    if assignment.state == "leased":
        task.taken -= 1
    assignment.state = "skipped"
    assignment.closed_at = func.now()
    assignment.skip_reason = reason.replace("\0", "").strip()[:2000]
    await db.flush()


async def recent(db: AsyncSession, actor: Principal, project: Project, limit: int = 10) -> list[RecentJudgement]:
    """What `actor` said last, newest task first; a change does not move a task."""
    rows = await db.execute(
        select(Assignment.id, Judgement, Prompt.messages, projects.held_by_a_dataset())
        .join(Assignment, Assignment.id == Judgement.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(
            Assignment.project_id == project.id,
            Assignment.annotator_id == actor.user_id,
            Judgement.superseded_by.is_(None),
        )
        .order_by(Assignment.closed_at.desc(), Assignment.id.desc())
        .limit(limit)
    )
    return [
        RecentJudgement(
            assignment_id=assignment_id,
            judgement_id=judgement.id,
            choice=judgement.choice,
            prompt_excerpt=_excerpt(messages[-1]["content"]),
            submitted_at=judgement.submitted_at,
            editable=not held,
        )
        for assignment_id, judgement, messages, held in rows
    ]


async def lock(db: AsyncSession, actor: Principal, assignment_id: int) -> tuple[Task, Assignment]:
    """The task, locked, and the assignment of `actor`, which changes only under that lock. Raises NotFound."""
    mine = select(Assignment).where(Assignment.id == assignment_id, Assignment.annotator_id == actor.user_id)
    task = await _locked_task(db, mine.with_only_columns(Assignment.task_id).scalar_subquery())
    if task is None:
        raise NotFound
    return task, (await db.scalars(mine.execution_options(populate_existing=True))).one()


async def _locked_task(db: AsyncSession, task_id: ScalarSelect[int] | int) -> Task | None:
    locked = select(Task).where(Task.id == task_id).with_for_update(of=Task)
    return await db.scalar(locked.execution_options(populate_existing=True))


async def _held_lease(db: AsyncSession, actor: Principal, project: Project) -> Assignment | None:
    """The lease of `actor`; one that ran out but was given to nobody else goes on."""
    held = (
        select(Assignment, Assignment.lease_expires_at > func.now())
        .where(
            Assignment.project_id == project.id,
            Assignment.annotator_id == actor.user_id,
            Assignment.state == "leased",
        )
        .execution_options(populate_existing=True)
    )
    row = (await db.execute(held)).one_or_none()
    if row is None:
        return None
    assignment, is_live = row
    if is_live:
        return assignment
    await _locked_task(db, assignment.task_id)
    still_held = (await db.execute(held)).one_or_none() is not None
    if not still_held:
        return None
    return await _start_lease(db, project, update(Assignment).where(Assignment.id == assignment.id))


async def _free_task(db: AsyncSession, actor: Principal, project: Project) -> _FreeTask | None:
    """The most urgent task with a free place for `actor`, locked."""
    size = select(func.count()).where(TaskCompletion.task_id == Task.id).scalar_subquery()
    was_given_before = exists().where(Assignment.task_id == Task.id, Assignment.annotator_id == actor.user_id)
    free = (
        select(Task, size, was_given_before)
        .where(Task.project_id == project.id, Task.taken < Task.quota, *projects.eligible_for(actor.user_id))
        .order_by(Task.priority.desc(), Task.id)
        .limit(1)
        .execution_options(populate_existing=True)
    )
    row = (await db.execute(free.with_for_update(of=Task, skip_locked=True))).one_or_none()
    if row is None:
        # Nothing, or others are just choosing from all that is left: wait for them, they may leave a place.
        row = (await db.execute(free.with_for_update(of=Task))).one_or_none()
    return _FreeTask(*row) if row else None


async def _start_lease(db: AsyncSession, project: Project, write: Insert | Update) -> Assignment:
    leased = write.values(
        state="leased",
        closed_at=None,
        leased_at=func.now(),
        lease_expires_at=func.now() + timedelta(seconds=project.lease_seconds),
        guidelines_version=project.guidelines_version,
    ).returning(Assignment)
    return (await db.scalars(leased, execution_options={"populate_existing": True})).one()


def draw_order(size: int, side_balance: int) -> list[int]:
    """The order in which the completions of a task are shown: at random, turned round if that upsets the balance.

    `side_balance` counts for one annotator how often position 0 was shown before position 1 less how often after it.
    """
    order = random.sample(range(size), size)
    too_much = abs(side_balance) >= BALANCE_BOUND and _lean(order) * side_balance > 0
    return order[::-1] if too_much else order


def _lean(order: list[int]) -> int:
    return 1 if order.index(0) < order.index(1) else -1


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT_LENGTH else line[: EXCERPT_LENGTH - 1].rstrip() + "…"
