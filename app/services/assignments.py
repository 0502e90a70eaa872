"""Leases: a task reserved for one person for a while, and the one after it fetched ahead.

`tasks.taken` counts the places of a task that are gone, live leases and judgements together; it changes only under the
task's row lock and in the same transaction as the lease, and the database refuses it to pass the quota.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql.dml import ReturningUpdate

from app.db.tables import (
    Assignment,
    Demonstration,
    Judgement,
    Member,
    Project,
    Prompt,
    Task,
    TaskCompletion,
)
from app.db.tables.judging import AnswerType, AssignmentState
from app.errors import Conflict, NotFound
from app.security import Principal
from app.services import check_tasks, projects, statements
from app.services.answers import Answer
from app.services.check_tasks import CheckTask, Standing, Verdict
from app.services.checks import Checks, checks_of
from app.services.question import Question, question_of
from training.records import Message

PANE_NAMES = "ABCDEFGHI"
RECLAIM_BATCH = 100
BALANCE_BOUND = 2  # sides are drawn at random until one is this far ahead
EXCERPT_LENGTH = 80
AHEAD_GRACE_SECONDS = 60  # so long nobody in want of a task takes one that somebody else has fetched ahead


@dataclass(frozen=True)
class Desk:
    """What one person has been given: the task to answer, and the one after it if it was asked for."""

    current: Assignment | None
    ahead: Assignment | None


@dataclass(frozen=True)
class Held:
    """An assignment of the person who asks, its task, locked, and what its project asks and checks."""

    task: Task
    assignment: Assignment
    question: Question
    checks: Checks

    @property
    def is_told(self) -> bool:
        """Whether the answer is followed by what the project says, after which nobody can change it."""
        return self.checks.tells(self.task)


@dataclass(frozen=True)
class TaskView:
    """What an annotator sees of a task. Nothing here tells which model wrote what, or what anybody else said.

    `practice`: of a task in the qualification round, how far somebody is who has not passed it. `verdict`: what the
    project says of the answer, where people are told.
    """

    assignment_id: int
    project: str
    messages: tuple[Message, ...]
    panes: tuple[tuple[str, str], ...]
    shown_order: tuple[int, ...]
    state: AssignmentState
    served_at: datetime | None
    lease_expires_at: datetime
    question: Question
    answer: Answer | None
    editable: bool
    is_practice: bool = False
    practice: Standing | None = None
    verdict: Verdict | None = None

    @property
    def is_qualified_by(self) -> bool:
        """Whether it was in the qualification round that this person has passed since."""
        return self.is_practice and self.practice is None

    @property
    def better_pane(self) -> str | None:
        """By its letter, the response that the project says is better."""
        if self.verdict is None or self.verdict.better is None:
            return None
        return PANE_NAMES[self.shown_order.index(self.verdict.better)]

    @property
    def answer_type(self) -> AnswerType:
        """Of an answer that was given, the form in which it was."""
        return self.answer.answer_type if self.answer else self.question.answer_type_for(len(self.panes))

    @property
    def asks_rationale(self) -> bool:
        """Whether this task can't be answered without one, whatever the answer is."""
        return self.question.wants_rationale(self.assignment_id)


@dataclass(frozen=True)
class RecentJudgement:
    assignment_id: int
    judgement_id: int
    answer: Answer
    prompt_excerpt: str
    submitted_at: datetime
    editable: bool


@dataclass(frozen=True)
class _FreeTask:
    """A task with a place for somebody, its number of responses, and whether that person let a lease on it run out.

    `some_ran_out`: other leases of the project did, too, and their tasks may be more urgent.
    """

    task_id: int
    size: int
    was_given_before: bool
    some_ran_out: bool


async def lease_next(db: AsyncSession, actor: Principal, project: Project) -> Assignment | None:
    """The task that `actor` has on the desk already, else a new one, the most urgent that is free, else None."""
    return (await lease(db, actor, project, ahead=False)).current


async def lease(db: AsyncSession, actor: Principal, project: Project, *, ahead: bool) -> Desk:
    """As `lease_next`; `ahead` reserves the task after it, too. Whatever is on the desk is served from now on."""
    # Locked: of two tabs that ask at once, the second waits and then shows what the first got.
    member = await projects.membership(db, actor, project)
    held = await _held_leases(db, actor, project)
    if held:
        current: Assignment | None = await _serve(db, project, held[0])
    else:
        current = await _give(db, actor, project, member, slot=0, is_served=True)
    following = held[1] if len(held) > 1 else None
    if ahead and current is not None and following is None:
        following = await _give(db, actor, project, member, slot=1 - current.slot, is_served=False)
    return Desk(current, following)


async def _give(
    db: AsyncSession, actor: Principal, project: Project, member: Member, *, slot: int, is_served: bool
) -> Assignment | None:
    """A new lease on the most urgent free task, if there is one."""
    free = await _choose(db, actor, project, member, is_served=is_served)
    if free is None:
        return None
    values: dict[str, object] = {"task": free.task_id, "actor": actor.user_id, "slot": slot, "is_served": is_served}
    values |= {"lease": _lease_time(project), "guidelines": project.guidelines_version}
    if free.was_given_before:  # the order stays what was drawn for it then
        return (await db.scalars(statements.LEASE_AGAIN, values)).one()
    order = draw_order(free.size, member.side_balance)
    set_committed_value(member, "side_balance", member.side_balance + _lean(order))
    values |= {"project": project.id, "order": order, "balance": member.side_balance}
    return (await db.scalars(statements.LEASE, values)).one()


async def _choose(
    db: AsyncSession, actor: Principal, project: Project, member: Member, *, is_served: bool
) -> _FreeTask | CheckTask | None:
    """The most urgent free task, or now and then a check in its place. Until somebody is qualified there is nothing
    but checks, and none is fetched ahead: each is talked over before the next.
    """
    checks = checks_of(project)
    practice = await check_tasks.standing(db, project, member, checks)
    if practice is not None and practice.has_passed:
        member.qualified_at = datetime.now(UTC)
    elif practice is not None:
        return await check_tasks.for_practice(db, actor, project) if is_served and practice.can_go_on else None
    free = await _most_urgent(db, actor, project, is_served=is_served)
    return (free and await check_tasks.in_place_of(db, actor, project, checks)) or free


async def _most_urgent(db: AsyncSession, actor: Principal, project: Project, *, is_served: bool) -> _FreeTask | None:
    free = await _free_task(db, actor, project, waits=False)
    if free is None or free.some_ran_out:
        await reclaim_expired(db, project.id, eligible_for=actor)
        free = await _free_task(db, actor, project, waits=True)
    if free is None and is_served and await _reclaim(db, _fetched_ahead_long_ago(), project.id, eligible_for=actor):
        free = await _free_task(db, actor, project, waits=True)
    return free


async def reclaim_expired(
    db: AsyncSession, project_id: int | None = None, *, eligible_for: Principal | None = None
) -> int:
    """Free the places of leases that ran out, a bounded batch of those that nobody has locked; returns how many.

    `eligible_for` leaves aside tasks that this person can't have: somebody who goes on to wait for a task must hold no
    lock on another one.
    """
    return await _reclaim(db, Assignment.lease_expires_at <= func.now(), project_id, eligible_for=eligible_for)


def _fetched_ahead_long_ago() -> ColumnElement[bool]:
    grace = timedelta(seconds=AHEAD_GRACE_SECONDS)
    return Assignment.served_at.is_(None) & (Assignment.leased_at <= func.now() - grace)


async def _reclaim(
    db: AsyncSession, condition: ColumnElement[bool], project_id: int | None, *, eligible_for: Principal | None
) -> int:
    ran_out = (Assignment.state == "leased", condition)
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
    named = {"assignment": assignment_id, "actor": actor.user_id}
    row = (await db.execute(statements.VIEW, named)).one_or_none()
    if row is None:
        raise NotFound
    assignment, task, messages, project, text_at = row
    is_answered = assignment.state == "submitted"
    checks = checks_of(project)
    answer, is_held = await _said(db, assignment) if is_answered else (None, False)
    verdict = await check_tasks.verdict(db, assignment) if is_answered and checks.tells(task) else None
    standing = None
    is_practice = task.purpose == "qualification"
    if is_practice:
        standing = await practice(db, actor, project)
    return TaskView(
        assignment_id=assignment.id,
        project=project.slug,
        messages=tuple(Message(message["role"], message["content"]) for message in messages),
        panes=tuple(zip(PANE_NAMES, (text_at[position] for position in assignment.shown_order), strict=False)),
        shown_order=tuple(assignment.shown_order),
        state=cast(AssignmentState, assignment.state),
        served_at=assignment.served_at,
        lease_expires_at=assignment.lease_expires_at,
        question=question_of(project),
        answer=answer,
        editable=not is_held and verdict is None,
        is_practice=is_practice,
        practice=standing,
        verdict=verdict,
    )


async def _said(db: AsyncSession, assignment: Assignment) -> tuple[Answer, bool]:
    """The current answer, and whether a dataset version holds it."""
    judgement, is_held, response, position = (
        await db.execute(
            select(Judgement, projects.held_by_a_dataset(), Demonstration.text, TaskCompletion.position)
            .outerjoin(Demonstration, Demonstration.judgement_id == Judgement.id)
            .outerjoin(
                TaskCompletion,
                (TaskCompletion.task_id == Judgement.task_id)
                & (TaskCompletion.completion_id == Demonstration.completion_id),
            )
            .where(Judgement.assignment_id == assignment.id, Judgement.superseded_by.is_(None))
        )
    ).one()
    return Answer.of(judgement, response or "", position), is_held


async def practice(db: AsyncSession, actor: Principal, project: Project) -> Standing | None:
    """How far `actor` is in the qualification round; None for who may work."""
    member = await db.get(Member, (project.id, actor.user_id))
    if member is None:
        return None
    standing = await check_tasks.standing(db, project, member, checks_of(project))
    return None if standing is None or standing.has_passed else standing


async def skip(db: AsyncSession, actor: Principal, assignment_id: int, *, reason: str) -> None:
    """Give the task back for good: it never comes back to `actor`. Skipping twice is skipping once.

    What becomes of its place is the project's policy: somebody else's, used up, or gone with the task.
    """
    held = await lock(db, actor, assignment_id)
    task, assignment = held.task, held.assignment
    if assignment.state == "submitted":
        raise Conflict("You have judged this task already; change your judgement instead.")
    if assignment.state == "skipped":
        return
    if task.purpose == "qualification":
        raise Conflict("The tasks of the qualification round can't be skipped.")
    policy = held.question.skip_policy if task.purpose == "label" else "requeue"
    had_place = assignment.state == "leased"
    assignment.state = "skipped"
    assignment.closed_at = func.now()
    assignment.skip_reason = reason.replace("\0", "").strip()[:2000]
    if had_place and policy == "count":
        assignment.keeps_place = True
        task.skipped += 1
        task.state = state_with(task, task.judged, task.skipped)
    elif had_place:
        task.taken -= 1
    await db.flush()
    if policy == "retire" and await _skips(db, task) >= held.question.retire_after:
        task.state = "retired"
        await db.flush()


def state_with(task: Task, judged: int, skipped: int) -> str:
    """The task's state with so many places used: an open one is closed by its last."""
    return "closed" if task.state == "open" and judged + skipped == task.quota else task.state


async def _skips(db: AsyncSession, task: Task) -> int:
    skips = select(func.count()).where(Assignment.task_id == task.id, Assignment.state == "skipped")
    return await db.scalar(skips) or 0


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
            answer=Answer.of(judgement),
            prompt_excerpt=_excerpt(messages[-1]["content"]),
            submitted_at=judgement.submitted_at,
            editable=not held,
        )
        for assignment_id, judgement, messages, held in rows
    ]


async def lock(db: AsyncSession, actor: Principal, assignment_id: int) -> Held:
    """The assignment of `actor`, which changes only under its task's lock. Raises NotFound."""
    named = {"assignment": assignment_id, "actor": actor.user_id}
    row = (await db.execute(statements.LOCK, named)).one_or_none()
    if row is None:
        raise NotFound
    task, assignment, project = row
    return Held(task, assignment, question_of(project), checks_of(project))


async def _held_leases(db: AsyncSession, actor: Principal, project: Project) -> list[Assignment]:
    """The leases of `actor`, the one on the desk first; one that ran out but was given to nobody else goes on."""
    mine = {"project": project.id, "actor": actor.user_id}
    rows = (await db.execute(statements.HELD, mine)).all()
    if all(is_live for _, is_live in rows):
        return [assignment for assignment, _ in rows]
    for assignment, is_live in sorted(rows, key=lambda row: row[0].task_id):
        if not is_live:
            await db.execute(select(Task.id).where(Task.id == assignment.task_id).with_for_update())
    return [
        assignment if is_live else await _extend(db, project, assignment, statements.EXTEND)
        for assignment, is_live in (await db.execute(statements.HELD, mine)).all()
    ]


async def _free_task(db: AsyncSession, actor: Principal, project: Project, *, waits: bool) -> _FreeTask | None:
    """The most urgent task with a free place for `actor`, locked."""
    whose = {"project": project.id, "actor": actor.user_id}
    row = (await db.execute(statements.FREE_TASK, whose)).one_or_none()
    if row is None and waits:
        # Nothing, or others are just choosing from all that is left: wait for them, they may leave a place.
        row = (await db.execute(statements.FREE_TASK_IN_TURN, whose)).one_or_none()
    return _FreeTask(*row) if row else None


async def _serve(db: AsyncSession, project: Project, assignment: Assignment) -> Assignment:
    """The one that was fetched ahead is on the desk now: from here its time runs."""
    if assignment.served_at is not None:
        return assignment
    return await _extend(db, project, assignment, statements.SERVE)


async def _extend(
    db: AsyncSession, project: Project, assignment: Assignment, statement: ReturningUpdate[Assignment]
) -> Assignment:
    return (await db.scalars(statement, {"assignment": assignment.id, "lease": _lease_time(project)})).one()


def _lease_time(project: Project) -> timedelta:
    return timedelta(seconds=project.lease_seconds)


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
