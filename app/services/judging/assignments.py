"""Leases: a task reserved for one person for a while, and those after it fetched ahead.

`tasks.taken` counts the places of a task that are gone, live leases and judgements together; it changes only under the
task's row lock and in the same transaction as the lease, and the database refuses it to pass the quota.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import cast

from sqlalchemy import ColumnElement, exists, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.tables import Assignment, Demonstration, Judgement, Member, Project, Task, TaskCompletion
from app.db.tables.judging import LEASE_SLOTS, AnswerType, AssignmentState
from app.db.tables.projects import Role
from app.errors import Conflict, Erased, Forbidden, NotFound
from app.security import Principal
from app.services import conditions
from app.services.judging import check_tasks, statements
from app.services.judging.answers import WITH_RESPONSE, Answer
from app.services.judging.check_tasks import Standing, Verdict
from app.services.judging.statements import Held, Lease
from app.services.projects import membership
from app.services.projects.checks import Checks
from app.services.projects.membership import Membership
from app.services.projects.question import Question
from training.records import Message

PANE_NAMES = "ABCDEFGHI"
RECLAIM_BATCH = 100
BALANCE_BOUND = 2  # sides are drawn at random until one is this far ahead
# So long nobody in want of a task takes the next one of somebody else. What is fetched ahead beyond that one waits only
# for a connection to be lost, and goes at once.
AHEAD_GRACE_SECONDS = 60


@dataclass(frozen=True)
class Desk:
    """What one person has been given: the task to answer, and one after it if it was asked for.

    `before_ahead`: what comes just before `ahead`, the current one or another that is fetched ahead.
    """

    current: Lease | None
    ahead: Lease | None = None
    before_ahead: Lease | None = None


@dataclass(frozen=True)
class TaskView:
    """What an annotator sees of a task. Nothing here tells which model wrote what, or what anybody else said.

    `judgement_id`: of `answer`. `practice`: of a task in the qualification round, how far somebody is who has not
    passed it. `verdict`: what the project says of the answer, where people are told.
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
    judgement_id: int | None
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
        """The letter of the response that the project says is better; None while nothing is said, or neither is."""
        if self.verdict is None or self.verdict.better is None:
            return None
        return PANE_NAMES[self.shown_order.index(self.verdict.better)]

    @property
    def answer_type(self) -> AnswerType:
        """The form of the answer that was given, before one the form that the question asks for."""
        return self.answer.answer_type if self.answer else self.question.answer_type_for(len(self.panes))

    @property
    def asks_harm(self) -> bool:
        """Whether this task can't be answered without saying which responses are safe."""
        return self.question.asks_harm and len(self.panes) == 2

    @property
    def asks_rationale(self) -> bool:
        """Whether this task can't be answered without one, whatever the answer is."""
        return self.question.wants_rationale(self.assignment_id)


async def lease_next(db: AsyncSession, actor: Principal, project: Project) -> Lease | None:
    """The task that `actor` has on the desk already, else a new one, the most urgent that is free, else None."""
    return (await lease(db, actor, project.id, ahead=False)).current


async def lease(
    db: AsyncSession, actor: Principal, project_id: int, *, ahead: bool, known: Collection[int] = ()
) -> Desk:
    """The desk of `actor`, filled as `lease_next` does; `ahead` reserves a task after it, too.

    That is the first one not `known`, an assignment that the page has at hand already, as long as there is a free slot.
    Whatever is on the desk is served from now on.

    Raises NotFound for a project that `actor` is not in, Forbidden while an owner gives them no work.
    """
    # Locked: of two tabs that ask at once, the second waits and then shows what the first got.
    member = await membership.locked(db, actor, project_id)
    if member.paused_at is not None:
        raise Forbidden("An owner of this project has paused your work here.")
    held = await _held_leases(db, actor, project_id, member)
    if not held:
        first = await _give(db, actor, project_id, member, slot=0, is_served=True)
        if first is None:
            return Desk(None)
        held = [first]
        if ahead:
            member = await membership.locked(db, actor, project_id)  # that one moved the balance
    if not ahead:
        return Desk(held[0])
    if all(lease.id in known for lease in held[1:]) and len(held) < LEASE_SLOTS:
        slot = min(set(range(LEASE_SLOTS)) - {lease.slot for lease in held})
        following = await _give(db, actor, project_id, member, slot=slot, is_served=False)
        held += [following] if following else []
    return next(
        (Desk(held[0], lease, before) for before, lease in pairwise(held) if lease.id not in known), Desk(held[0])
    )


async def reclaim_expired(
    db: AsyncSession, project_id: int | None = None, *, eligible_for: Principal | None = None
) -> int:
    """Free the places of leases that ran out, a bounded batch of those that nobody has locked; returns how many.

    `eligible_for` leaves aside tasks that this person can't have: somebody who goes on to wait for a task must hold no
    lock on another one.
    """
    ran_out = Assignment.lease_expires_at <= func.now()
    return await _reclaim(db, ran_out, project_id, eligible_for=eligible_for, at_most=RECLAIM_BATCH)


async def view(db: AsyncSession, actor: Principal, assignment_id: int) -> TaskView:
    """Raises NotFound for an assignment of anybody else, Erased where something in it was erased."""
    seen = await statements.VIEW.first(db, assignment=assignment_id, actor=actor.user_id)
    if seen is None:
        raise NotFound
    if seen.is_erased:
        raise Erased
    is_answered = seen.state == "submitted"
    answer, judgement_id, is_held = await _said(db, seen.id) if is_answered else (None, None, False)
    verdict = await check_tasks.verdict(db, seen.id) if is_answered and seen.shows_verdict else None
    is_practice = seen.purpose == "qualification"
    return TaskView(
        assignment_id=seen.id,
        project=seen.project,
        messages=tuple(Message(message["role"], message["content"]) for message in seen.messages),
        panes=tuple(zip(PANE_NAMES, (seen.texts[position] for position in seen.shown_order), strict=False)),
        shown_order=tuple(seen.shown_order),
        state=cast(AssignmentState, seen.state),
        served_at=seen.served_at,
        lease_expires_at=seen.lease_expires_at,
        question=Question.model_validate(seen.asked),
        answer=answer,
        judgement_id=judgement_id,
        editable=not is_held and verdict is None,
        is_practice=is_practice,
        practice=await practice_of(db, actor, seen.project_id) if is_practice else None,
        verdict=verdict,
    )


async def practice_of(db: AsyncSession, actor: Principal, project_id: int) -> Standing | None:
    """How far `actor` is in the qualification round; None for who may work."""
    row = await db.execute(
        select(Member.role, Member.qualified_at, Project.checks)
        .join(Project, Project.id == Member.project_id)
        .where(Member.project_id == project_id, Member.user_id == actor.user_id)
    )
    found = row.one_or_none()
    if found is None:
        return None
    role, qualified_at, checked = found
    standing = await check_tasks.standing(
        db, project_id, actor.user_id, Checks.of(checked), role=cast(Role, role), qualified_at=qualified_at
    )
    return None if standing is None or standing.has_passed else standing


async def skip(db: AsyncSession, actor: Principal, assignment_id: int, *, reason: str) -> None:
    """Give the task back for good: it never comes back to `actor`. Skipping twice is skipping once.

    What becomes of its place is the project's policy: somebody else's, used up, or gone with the task.
    """
    held = await lock(db, actor, assignment_id)
    if held.state == "submitted":
        raise Conflict("You have judged this task already; change your judgement instead.")
    if held.state == "skipped":
        return
    if held.purpose == "qualification":
        raise Conflict("The tasks of the qualification round can't be skipped.")
    policy = held.question.skip_policy if held.purpose == "label" else "requeue"
    task = await db.get_one(Task, held.task_id, populate_existing=True)
    assignment = await db.get_one(Assignment, assignment_id, populate_existing=True)
    assignment.state = "skipped"
    assignment.closed_at = func.now()
    assignment.skip_reason = reason.replace("\0", "").strip()[:2000]
    had_place = held.state == "leased"
    if had_place and policy == "count":
        assignment.keeps_place = True
        task.skipped += 1
        task.state = held.task_state_with(task.judged, task.skipped)
    elif had_place:
        task.taken -= 1
    if task.reserved_for_id == actor.user_id:
        task.reserved_for_id = None
    await db.flush()
    if policy == "retire" and await _skips(db, task) >= held.question.retire_after:
        task.state = "retired"
        await db.flush()


async def lock(db: AsyncSession, actor: Principal, assignment_id: int) -> Held:
    """The assignment of `actor`, which changes only under its task's lock. Raises NotFound."""
    held = await statements.LOCK.first(db, assignment=assignment_id, actor=actor.user_id)
    if held is None:
        raise NotFound
    return held


def draw_order(size: int, side_balance: int) -> list[int]:
    """The order in which the completions of a task are shown: at random, turned round if that upsets the balance.

    `side_balance` counts for one annotator how often position 0 was shown before position 1 less how often after it.
    """
    order = random.sample(range(size), size)
    too_much = abs(side_balance) >= BALANCE_BOUND and _lean(order) * side_balance > 0
    return order[::-1] if too_much else order


async def _give(
    db: AsyncSession, actor: Principal, project_id: int, member: Membership, *, slot: int, is_served: bool
) -> Lease | None:
    """A new lease on a check that is due, else on the most urgent free task, if there is one."""
    order = draw_order(len(PANE_NAMES), member.side_balance)
    wanted: dict[str, object] = {"project": project_id, "actor": actor.user_id, "slot": slot, "is_served": is_served}
    wanted |= {"lease": _lease_time(member), "guidelines": member.guidelines_version}
    wanted |= {"order": order, "lean": _lean(order)}
    checks = Checks.of(member.checked)
    practice = await _practice(db, actor, project_id, member, checks)
    if practice is not None:
        # One at a time, none ahead: each answer is talked over before the next.
        is_ready = is_served and practice.can_go_on
        task_id = await check_tasks.for_practice(db, actor, project_id) if is_ready else None
    else:
        task_id = await check_tasks.in_place_of_work(db, actor, project_id, checks)
    if task_id is not None:
        return await statements.LEASE_CHECK.first(db, **wanted, task=task_id)
    if practice is not None:
        return None
    kept = await statements.LEASE_KEPT.first(db, **wanted) if member.has_kept else None
    return kept or await _most_urgent(db, actor, project_id, wanted)


async def _most_urgent(db: AsyncSession, actor: Principal, project_id: int, wanted: dict[str, object]) -> Lease | None:
    given = await statements.LEASE.first(db, **wanted)
    if given is None:
        await reclaim_expired(db, project_id, eligible_for=actor)
        given = await _any_or_in_turn(db, wanted)
    if given is None and wanted["is_served"]:
        # One task and no more: whoever else is in want just now passes over what is locked and takes back another one.
        took_back = await _reclaim(db, _can_be_spared(), project_id, eligible_for=actor, at_most=1)
        given = await _any_or_in_turn(db, wanted) if took_back else None
    return given


async def _practice(
    db: AsyncSession, actor: Principal, project_id: int, member: Membership, checks: Checks
) -> Standing | None:
    """How far `actor` is, as `practice_of` says it, and whoever has passed is qualified from here on."""
    standing = await check_tasks.standing(
        db, project_id, actor.user_id, checks, role=member.role, qualified_at=member.qualified_at
    )
    if standing is None or not standing.has_passed:
        return standing
    await db.execute(
        update(Member)
        .where(Member.project_id == project_id, Member.user_id == actor.user_id)
        .values(qualified_at=func.now())
    )
    return None


async def _any_or_in_turn(db: AsyncSession, wanted: dict[str, object]) -> Lease | None:
    return await statements.LEASE_ANY.first(db, **wanted) or await statements.LEASE_IN_TURN.first(db, **wanted)


def _can_be_spared() -> ColumnElement[bool]:
    """Condition on Assignment: fetched ahead, and long ago or not the next one of whoever has it."""
    grace = timedelta(seconds=AHEAD_GRACE_SECONDS)
    sooner = aliased(Assignment)
    comes_later = exists().where(
        sooner.project_id == Assignment.project_id,
        sooner.annotator_id == Assignment.annotator_id,
        sooner.state == "leased",
        sooner.served_at.is_(None),
        tuple_(sooner.leased_at, sooner.id) < tuple_(Assignment.leased_at, Assignment.id),
    )
    return Assignment.served_at.is_(None) & or_(Assignment.leased_at <= func.now() - grace, comes_later)


async def _reclaim(
    db: AsyncSession,
    condition: ColumnElement[bool],
    project_id: int | None,
    *,
    eligible_for: Principal | None,
    at_most: int,
) -> int:
    ran_out = (Assignment.state == "leased", condition)
    expired = select(Assignment.task_id).where(*ran_out).order_by(Assignment.lease_expires_at).limit(RECLAIM_BATCH)
    if project_id is not None:
        expired = expired.where(Assignment.project_id == project_id)
    tasks = select(Task.id).where(Task.id.in_(expired.scalar_subquery()))
    if eligible_for is not None:
        tasks = tasks.where(*conditions.eligible_for(eligible_for.user_id))
    locked = tasks.limit(at_most).with_for_update(skip_locked=True).cte("locked")
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


async def _said(db: AsyncSession, assignment_id: int) -> tuple[Answer, int, bool]:
    """The current answer, the judgement that it is, and whether its author can't change it any more."""
    judgement, is_settled, response, position = (
        await db.execute(
            select(Judgement, conditions.is_settled(), Demonstration.text, TaskCompletion.position)
            .select_from(WITH_RESPONSE)
            .where(Judgement.assignment_id == assignment_id, Judgement.superseded_by.is_(None))
        )
    ).one()
    return Answer.of(judgement, response or "", position), judgement.id, is_settled


async def _skips(db: AsyncSession, task: Task) -> int:
    skips = select(func.count()).where(Assignment.task_id == task.id, Assignment.state == "skipped")
    return await db.scalar(skips) or 0


async def _held_leases(db: AsyncSession, actor: Principal, project_id: int, member: Membership) -> list[Lease]:
    """The leases of `actor`, the one on the desk first; one that ran out but was given to nobody else goes on."""
    mine = {"project": project_id, "actor": actor.user_id, "lease": _lease_time(member)}
    held = await statements.HELD.all(db, **mine)
    while held and not (held[0].served_at and all(lease.is_live for lease in held)):
        # Somebody may be taking it back just now: what is left of them after the wait is ours.
        ran_out = [lease.task_id for lease in held if not lease.is_live]
        await db.execute(select(Task.id).where(Task.id.in_(ran_out)).order_by(Task.id).with_for_update())
        await db.execute(
            update(Assignment)
            .where(Assignment.task_id.in_(ran_out), Assignment.annotator_id == actor.user_id)
            .where(Assignment.state == "leased")
            .values(lease_expires_at=func.now() + _lease_time(member))
        )
        held = await statements.HELD.all(db, **mine)
    return held


def _lease_time(member: Membership) -> timedelta:
    return timedelta(seconds=member.lease_seconds)


def _lean(order: list[int]) -> int:
    return 1 if order.index(0) < order.index(1) else -1
