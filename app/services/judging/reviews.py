"""Reviews: what divides people is given to one reviewer at a time, the most divided task first.

A review is a copy of the task with one place, so that everything about leases holds of it: two reviewers never have the
same one, a lease that runs out is free again, and the places of the task itself stay what they were. What the reviewer
says is kept as a judgement of the task: its verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Select, case, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.tables import Assignment, Judgement, Project, Task, User
from app.db.tables.judging import REVIEW_SLOT
from app.errors import Conflict, Forbidden, NotFound
from app.security import Principal
from app.services import conditions
from app.services.judging import assignments, check_tasks, statements
from app.services.judging.answers import Answer
from app.services.judging.columns import ANSWER
from app.services.projects import membership
from app.services.projects.projects import require_role
from app.services.projects.question import PAIRWISE
from app.services.projects.review import Review

COUNTED = 1_000
"""Tasks that wait are counted up to so many."""


@dataclass(frozen=True)
class Waiting:
    """`tasks` that this person could decide, at most `COUNTED`; `decided` by them, and of these `today`."""

    tasks: int
    decided: int
    today: int


@dataclass(frozen=True)
class OtherAnswer:
    """What somebody said of a task, by pane of the reviewer's own page."""

    name: str | None
    kind: str
    answer: Answer


async def claim(db: AsyncSession, actor: Principal, project: Project) -> int | None:
    """The assignment of the review that `actor` has under way, else of a task that somebody sent to review, else of the
    most divided one that waits for it.

    None where there is none for them. Blind, they aren't given what they have judged themselves; nobody is given what
    they wrote. Raises Forbidden for annotators.
    """
    member = await membership.locked(db, actor, project.id)
    await require_role(db, actor, project, "owner", "reviewer")
    if member.paused_at is not None:
        raise Forbidden("An owner of this project has paused your work here.")
    lasts = timedelta(seconds=member.lease_seconds)
    held = await _held(db, actor, project, lasts)
    if held is not None:
        return held
    review = Review.of(project.review)
    found = None
    while found is None:
        there = _waiting(actor, project, review)
        sent = there.where(_is_sent()).order_by(Task.id)
        divided = there.where(Task.division > 0).order_by(Task.division.desc(), Task.id)
        original = await _first(db, sent) or await _first(db, divided)
        if original is None:
            return None
        found = await _free_review(db, original)
    order = _shown_order(review, member.side_balance)
    lease = await statements.LEASE_CHECK.first(
        db, project=project.id, actor=actor.user_id, task=found, slot=REVIEW_SLOT, is_served=True, lease=lasts,
        guidelines=member.guidelines_version, order=order, lean=0,
    )  # fmt: skip
    return None if lease is None else lease.id


async def send(db: AsyncSession, project: Project, task_id: int) -> bool:
    """Have a task that people judged decided by a reviewer, however far they agree; False where it was sent before.

    Raises NotFound for a task that isn't one of the project's for labels, Conflict where nobody has judged it.
    """
    original = await db.scalar(
        select(Task)
        .where(Task.id == task_id, Task.project_id == project.id, Task.purpose == "label", Task.state != "retired")
        .with_for_update()
    )
    if original is None:
        raise NotFound
    if not await db.scalar(select(exists().where(Judgement.task_id == task_id, *conditions.labels_of(project.id)))):
        raise Conflict("Nobody has judged this task yet.")
    if await db.scalar(select(exists().where(Task.copy_of == task_id, Task.purpose == "review"))):
        return False
    await check_tasks.copy(db, original, "review", quota=1)
    return True


async def waiting(db: AsyncSession, actor: Principal, project: Project) -> Waiting:
    """How much there is for `actor` to decide, and how much they have decided."""
    some = (
        _waiting(actor, project, Review.of(project.review))
        .where(or_(Task.division > 0, _is_sent()))
        .with_only_columns(Task.id)
        .limit(COUNTED)
        .subquery()
    )
    mine = (
        Judgement.project_id == project.id,
        Judgement.is_verdict,
        Judgement.superseded_by.is_(None),
        Judgement.annotator_id == actor.user_id,
    )
    is_today = Judgement.submitted_at >= func.date_trunc("day", func.now())
    row = await db.execute(
        select(
            select(func.count()).select_from(some).scalar_subquery(),
            select(func.count()).where(*mine).scalar_subquery(),
            select(func.count()).where(*mine, is_today).scalar_subquery(),
        )
    )
    return Waiting(*row.one())


def standing_of() -> ColumnElement[str | None]:
    """Where the review of a Task stands: `decided` by a reviewer, `sent` to one, or null."""
    sent = aliased(Task)
    is_decided = exists().where(Judgement.task_id == Task.id, Judgement.is_verdict, Judgement.superseded_by.is_(None))
    is_sent = exists().where(sent.copy_of == Task.id, sent.purpose == "review")
    return case((is_decided, "decided"), (is_sent, "sent"))


async def has_verdicts(db: AsyncSession, project: Project) -> bool:
    """Whether any reviewer has decided anything."""
    given = exists().where(Judgement.project_id == project.id, Judgement.is_verdict, Judgement.superseded_by.is_(None))
    return bool(await db.scalar(select(given)))


async def others(db: AsyncSession, actor: Principal, assignment_id: int) -> Sequence[OtherAnswer]:
    """What people said of the task under review; nothing before the verdict where reviewers decide blind."""
    found = (
        await db.execute(
            select(Task.copy_of, Assignment.shown_order, Assignment.state, Project.review)
            .join(Task, Task.id == Assignment.task_id)
            .join(Project, Project.id == Assignment.project_id)
            .where(Assignment.id == assignment_id, Assignment.annotator_id == actor.user_id, Task.purpose == "review")
        )
    ).one_or_none()
    if found is None or not (found.state == "submitted" or Review.of(found.review).shows_judgements):
        return ()
    rows = await db.execute(
        select(Judgement, User.name)
        .outerjoin(User, User.id == Judgement.annotator_id)
        .where(
            Judgement.task_id == found.copy_of,
            ~Judgement.is_verdict,
            Judgement.kind != "machine",
            Judgement.superseded_by.is_(None),
        )
        .order_by(Judgement.id)
    )
    return [
        OtherAnswer(name or said.source_annotator, said.kind, _seen_in(said, found.shown_order)) for said, name in rows
    ]


def _waiting(actor: Principal, project: Project, review: Review) -> Select[Task]:
    """Tasks that nobody has decided or is deciding, and that `actor` may decide, if there is anything to decide."""
    copied, given, mine = aliased(Task), aliased(Assignment), aliased(Assignment)
    is_under_review = exists().where(
        copied.copy_of == Task.id,
        copied.purpose == "review",
        or_(
            copied.state != "open",
            exists().where(given.task_id == copied.id, given.state == "leased", given.lease_expires_at > func.now()),
            exists().where(mine.task_id == copied.id, mine.annotator_id == actor.user_id, mine.state == "skipped"),
        ),
    )
    statement = select(Task).where(
        Task.project_id == project.id,
        Task.state != "retired",
        ~is_under_review,
        ~conditions.has_text_of(actor.user_id),
    )
    return statement if review.shows_judgements else statement.where(~_is_known_to(actor))


async def _first(db: AsyncSession, statement: Select[Task]) -> Task | None:
    """The first that nobody else is taking, locked; not against keys, because a verdict that is just being written
    points at its task and holds the review."""
    found: Task | None = await db.scalar(
        statement.limit(1)
        .with_for_update(of=Task, skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    return found


def _is_sent() -> ColumnElement[bool]:
    """Condition on Task: its review is there and open."""
    sent = aliased(Task)
    return exists().where(sent.copy_of == Task.id, sent.purpose == "review", sent.state == "open")


def _is_known_to(actor: Principal) -> ColumnElement[bool]:
    """Condition on Task: this person has it on the desk or has judged it."""
    return exists().where(
        Assignment.task_id == Task.id,
        Assignment.annotator_id == actor.user_id,
        Assignment.state.in_(("leased", "submitted")),
    )


async def _held(db: AsyncSession, actor: Principal, project: Project, lasts: timedelta) -> int | None:
    """The review on the desk of `actor`; one that ran out but was given to nobody else goes on."""
    mine = (
        Assignment.project_id == project.id,
        Assignment.annotator_id == actor.user_id,
        Assignment.state == "leased",
        Assignment.slot == REVIEW_SLOT,
    )
    task_id = await db.scalar(select(Assignment.task_id).where(*mine))
    if task_id is None:
        return None
    await db.execute(select(Task.id).where(Task.id == task_id).with_for_update())
    # What is left of it after the wait is ours.
    return await db.scalar(
        update(Assignment)
        .where(*mine)
        .values(lease_expires_at=func.greatest(Assignment.lease_expires_at, func.now() + lasts / 2))
        .returning(Assignment.id)
        .execution_options(synchronize_session=False)
    )


async def _free_review(db: AsyncSession, original: Task) -> int | None:
    """The review of a task that is locked, locked itself and with its place free; None where somebody was faster."""
    review = await db.scalar(
        select(Task)
        .where(Task.copy_of == original.id, Task.purpose == "review")
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if review is None:
        task_id, _ = await check_tasks.copy(db, original, "review", quota=1)
        return task_id
    if review.state != "open":
        return None
    if review.taken:
        ran_out = await db.execute(
            update(Assignment)
            .where(
                Assignment.task_id == review.id,
                Assignment.state == "leased",
                Assignment.lease_expires_at <= func.now(),
            )
            .values(state="expired", closed_at=func.now())
            .returning(Assignment.id)
            .execution_options(synchronize_session=False)
        )
        if not ran_out.all():
            return None
        review.taken = 0
        await db.flush()
    return review.id


def _shown_order(review: Review, side_balance: int) -> list[int]:
    """Beside what others said, as they are stored; blind, as an annotator gets them."""
    size = len(assignments.PANE_NAMES)
    return list(range(size)) if review.shows_judgements else assignments.draw_order(size, side_balance)


def _seen_in(judgement: Judgement, order: Sequence[int]) -> Answer:
    """What was said, by pane of somebody who sees the responses in `order`."""
    said = {column.name: column.read_of(judgement, order) for column in ANSWER if not column.follows}
    if judgement.choice is not None and judgement.shown_order[0] != order[0]:
        said["choice"] = PAIRWISE[judgement.answer_type] + 1 - judgement.choice  # type: ignore[index]
    return Answer(**said)
