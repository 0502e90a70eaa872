"""Which check somebody is given next, if one is due, and what the project says of their answer to it."""

import random
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, all_, and_, case, exists, func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.tables import Assignment, GoldAnswer, Judgement, Task, TaskCompletion
from app.db.tables.judging import TaskPurpose
from app.db.tables.projects import Role
from app.security import Principal
from app.services import conditions
from app.services.projects.checks import Checks

REPEAT_DISTANCE = 50  # judgements between a task and its repeat: nobody remembers so far back
REPEAT_REACH = 500


@dataclass(frozen=True)
class Standing:
    """Somebody in the qualification round. An attempt is `size` answers of which `needed` have to be right.

    `answered`: of the attempt under way. `right`: in the attempt before it. `can_go_on`: tasks are left for
    all of it.
    """

    size: int
    needed: int
    answered: int
    right: int | None
    can_go_on: bool

    @property
    def has_passed(self) -> bool:
        return self.right is not None and self.right >= self.needed


@dataclass(frozen=True)
class Verdict:
    """What the project says of an answer to a gold task: the better response is at `better`; None: neither is."""

    is_right: bool
    better: int | None
    explanation: str


async def standing(
    db: AsyncSession, project_id: int, user_id: int, checks: Checks, *, role: Role, qualified_at: datetime | None
) -> Standing | None:
    """None for who may work: those who qualified, were let in or have another role, and all where there is no round."""
    if not checks.qualification_size or role != "annotator" or qualified_at is not None:
        return None
    there = select(func.count()).where(*_of(project_id, "qualification"), Task.state == "open")
    size = min(checks.qualification_size, await db.scalar(there) or 0)
    if not size:
        return None
    answers = await _practised(db, project_id, user_id)
    needed = -(-size * checks.qualification_percent // 100)
    attempts, answered = divmod(len(answers), size)
    right = sum(answers[(attempts - 1) * size : attempts * size]) if attempts else None
    left = select(func.count()).where(*_open_to(project_id, user_id, "qualification"))
    return Standing(size, needed, answered, right, (await db.scalar(left) or 0) >= size - answered)


async def for_practice(db: AsyncSession, actor: Principal, project_id: int) -> int | None:
    """Any task of the qualification round that is new to `actor`, locked."""
    return await _gold(db, actor, project_id, "qualification", waits=True)


async def in_place_of_work(db: AsyncSession, actor: Principal, project_id: int, checks: Checks) -> int | None:
    """A check, locked, to be given instead of a task for a label on a share of occasions; none where there is no work.

    Waits for no lock: another one may be held.
    """
    drawn = random.uniform(0, 100)
    if drawn >= checks.gold_percent + checks.repeat_percent:
        return None
    work = exists().where(*_open_to(project_id, actor.user_id, "label"))
    if not await db.scalar(select(work)):
        return None
    if drawn < checks.gold_percent:
        return await _gold(db, actor, project_id, "gold", waits=False)
    return await _repeat(db, actor, project_id)


async def verdict(db: AsyncSession, assignment_id: int) -> Verdict:
    """What the project says of the current answer to a gold task."""
    row = await db.execute(
        select(is_right(), GoldAnswer.better, GoldAnswer.explanation)
        .select_from(Judgement)
        .join(GoldAnswer, GoldAnswer.task_id == Judgement.task_id)
        .where(Judgement.assignment_id == assignment_id, Judgement.superseded_by.is_(None))
    )
    return Verdict(*row.one())


def is_right() -> ColumnElement[bool]:
    """Condition on Judgement and GoldAnswer: the same response is better, by whatever strength. Where neither is, a
    tie is right, or on a scale without one, the weakest choice.
    """
    weakest = case((Judgement.answer_type == "seven", 0), else_=1)
    rank = Judgement.ranks[GoldAnswer.better + 1]
    is_first = and_(
        rank <= all_(func.array_remove(Judgement.ranks, None)),
        func.cardinality(func.array_positions(Judgement.ranks, rank)) == 1,
    )
    return func.coalesce(
        case(
            (Judgement.ranks.is_not(None), is_first),
            (GoldAnswer.better.is_(None), func.abs(Judgement.preference) <= weakest),
            (GoldAnswer.better == 0, Judgement.preference > 0),
            else_=Judgement.preference < 0,
        ),
        False,
    )


async def copy(db: AsyncSession, original: Task, purpose: TaskPurpose, *, quota: int) -> tuple[int, int]:
    """The id of a new task with the same prompt and responses, and how many these are."""
    task = Task(
        project_id=original.project_id, prompt_id=original.prompt_id, purpose=purpose, copy_of=original.id, quota=quota
    )
    db.add(task)
    await db.flush()
    responses = select(literal(task.id), TaskCompletion.position, TaskCompletion.completion_id).where(
        TaskCompletion.task_id == original.id
    )
    positions = await db.scalars(
        insert(TaskCompletion)
        .from_select(["task_id", "position", "completion_id"], responses)
        .returning(TaskCompletion.position)
    )
    return task.id, len(positions.all())


async def _practised(db: AsyncSession, project_id: int, user_id: int) -> list[bool]:
    """Whether each answer in the qualification round was right, oldest first."""
    rows = await db.scalars(
        select(is_right())
        .select_from(Judgement)
        .join(Task, Task.id == Judgement.task_id)
        .join(GoldAnswer, GoldAnswer.task_id == Task.id)
        .where(
            Judgement.project_id == project_id,
            Judgement.annotator_id == user_id,
            Judgement.is_check,
            Judgement.superseded_by.is_(None),
            Task.purpose == "qualification",
        )
        .order_by(Judgement.id)
    )
    return list(rows)


def _of(project_id: int, purpose: TaskPurpose) -> tuple[ColumnElement[bool], ...]:
    return (Task.project_id == project_id, Task.purpose == purpose)


def _open_to(project_id: int, user_id: int, purpose: TaskPurpose) -> tuple[ColumnElement[bool], ...]:
    """Conditions on Task: somebody who has judged the task that it is a copy of knows it already."""
    knows_original = exists().where(Assignment.task_id == Task.copy_of, Assignment.annotator_id == user_id)
    return (*_of(project_id, purpose), Task.taken < Task.quota, *conditions.eligible_for(user_id), ~knows_original)


async def _gold(
    db: AsyncSession, actor: Principal, project_id: int, purpose: TaskPurpose, *, waits: bool
) -> int | None:
    return await db.scalar(
        select(Task.id)
        .where(*_open_to(project_id, actor.user_id, purpose))
        .order_by(func.random())
        .limit(1)
        .with_for_update(of=Task, skip_locked=not waits)
    )


async def _repeat(db: AsyncSession, actor: Principal, project_id: int) -> int | None:
    """A new task like one that `actor` answered long ago: nobody else is ever given it."""
    copied, given = aliased(Task), aliased(Assignment)
    asked_again = exists().where(
        copied.copy_of == Task.id,
        copied.purpose == "repeat",
        given.task_id == copied.id,
        given.annotator_id == actor.user_id,
    )
    mine = (
        select(Task.id)
        .join(Assignment, Assignment.task_id == Task.id)
        .where(
            *_of(project_id, "label"),
            Assignment.annotator_id == actor.user_id,
            Assignment.project_id == project_id,
            Assignment.state == "submitted",
            ~asked_again,
        )
        .order_by(Assignment.closed_at.desc())
        .offset(REPEAT_DISTANCE)
        .limit(REPEAT_REACH)
        .subquery()
    )
    original = await db.scalar(select(Task).join(mine, mine.c.id == Task.id).order_by(func.random()).limit(1))
    if original is None:
        return None
    task_id, _ = await copy(db, original, "repeat", quota=1)
    return task_id
