"""How far a project is, and how far one annotator in it."""

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import ClassVar, get_args

from sqlalchemy import ColumnElement, Select, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import (
    Assignment,
    Completion,
    DatasetVersion,
    Demonstration,
    Judgement,
    Member,
    ModelVersion,
    Project,
    Prompt,
    Task,
)
from app.db.tables.content import Split
from app.security import Principal
from app.services.conditions import (
    counted_in,
    eligible_for,
    has_text_of,
    held_by_a_dataset,
    is_left,
    kept_for,
    labels_of,
)
from app.services.projects.review import Review


@dataclass(frozen=True)
class ProjectOverview:
    """Counts of one project. `judgements` are the current ones, imported ones included, checks and verdicts not; a day
    is a UTC day. `judgements_since_snapshot`: what a dataset version cut now would be the first to hold.
    """

    prompts_by_split: dict[Split, int]
    demonstrations: int
    completions: int
    tasks_open: int
    tasks_closed: int
    judgements: int
    judgements_imported: int
    judgements_since_snapshot: int
    labels_today: int
    annotators: int


@dataclass(frozen=True)
class Glance:
    """What the list of projects says of one. `annotators` are members, whether they have judged or not. Of more open
    tasks than `MOST`, one more than that are counted."""

    MOST: ClassVar = 10_000

    has_prompts: bool
    has_demonstrations: bool
    tasks_open: int
    annotators: int


@dataclass(frozen=True)
class Holdings:
    """What would go with a project that is deleted; of anything more than `MOST`, one more than that."""

    MOST: ClassVar = 10_000

    prompts: int
    completions: int
    judgements: int
    demonstrations: int
    datasets: int
    models: int
    members: int


@dataclass(frozen=True)
class Progress:
    """How far one annotator is: judgements today and in all, and tasks left to them, those on their desk included and
    as many fewer as they were given hidden checks today. Of more than `MOST`, one more than that is told."""

    MOST: ClassVar = 1_000

    today: int
    total: int
    open_for_me: int


@dataclass(frozen=True)
class Unavailable:
    """Why nothing is left for one annotator: how many open tasks they skipped, have judged, or wrote a response of, and
    how many of the others are on somebody else's desk or kept for them. `has_tasks`: whether there ever were any.
    """

    has_tasks: bool
    skipped: int
    judged: int
    written: int
    elsewhere: int


_HOLDINGS = tuple(field.name for field in fields(Holdings))


async def overview(db: AsyncSession, project: Project, *, most: int | None = None) -> ProjectOverview:
    """`most`: of each kind no more rows than these are looked at, so that it is quick whatever the project holds; what
    it tells is then the least that there is."""
    of_project = (Prompt.project_id == project.id,)
    prompts = select(Prompt.split).where(*of_project).limit(most).subquery()
    labels = (
        select(Judgement.kind, Judgement.annotator_id, _today().label("is_of_today"))
        .where(*labels_of(project.id))
        .limit(most)
        .subquery()
    )
    is_imported = labels.c.kind == "imported"
    tasks = select(Task.id).where(Task.project_id == project.id, Task.purpose == "label").limit(most)
    said = select(
        func.count(),
        func.count().filter(is_imported),
        func.count().filter(~is_imported, labels.c.is_of_today),
        func.count(labels.c.annotator_id.distinct()),
    ).select_from(labels)
    held = select(
        _count(select(Demonstration.id).join(Prompt).where(*of_project).limit(most)),
        _count(select(Completion.id).join(Prompt).where(*of_project).limit(most)),
        _count(tasks.where(Task.state == "open")),
        _count(tasks.where(Task.state == "closed")),
        _count(_unused(project, most)),
    )
    splits = await db.execute(select(prompts.c.split, func.count().label("prompts")).group_by(prompts.c.split))
    by_split = dict.fromkeys(get_args(Split), 0) | {row.split: row.prompts for row in splits}
    judgements, imported, today, annotators = (await db.execute(said)).one()
    demonstrations, completions, tasks_open, tasks_closed, unused = (await db.execute(held)).one()
    return ProjectOverview(
        prompts_by_split=by_split,
        demonstrations=demonstrations,
        completions=completions,
        tasks_open=tasks_open,
        tasks_closed=tasks_closed,
        judgements=judgements,
        judgements_imported=imported,
        judgements_since_snapshot=unused,
        labels_today=today,
        annotators=annotators,
    )


def _unused(project: Project, most: int | None) -> Select[int]:
    counted = counted_in(project.id, prefers_verdicts=Review.of(project.review).prefers_verdicts)
    unused = select(Judgement.id).where(*counted, ~held_by_a_dataset(), is_left())
    if most is None:
        return unused
    current = (Judgement.project_id == project.id, Judgement.superseded_by.is_(None))
    newest = select(Judgement.id).where(*current).order_by(Judgement.id.desc()).limit(most)
    return unused.where(Judgement.id.in_(newest))


async def glance(db: AsyncSession, project: Project) -> Glance:
    """Quick however much the project holds: what there is is only looked for, and open tasks are counted so far."""
    prompted = Prompt.project_id == project.id
    open_tasks = select(Task.id).where(
        Task.project_id == project.id, Task.state == "open", Task.purpose == "label", Task.taken < Task.quota
    )
    annotators = select(Member.user_id).where(Member.project_id == project.id, Member.role == "annotator")
    row = await db.execute(
        select(
            exists().where(prompted),
            exists().where(prompted, Demonstration.prompt_id == Prompt.id),
            _count(open_tasks.limit(Glance.MOST + 1)),
            _count(annotators),
        )
    )
    has_prompts, has_demonstrations, tasks_open, members = row.one()
    return Glance(has_prompts, has_demonstrations, tasks_open, members)


async def holdings(db: AsyncSession, project: Project) -> Holdings:
    """Counts everything, judgements that were changed since and checks too, as far as it is told."""
    prompted = Prompt.project_id == project.id
    counted = (
        select(Prompt.id).where(prompted),
        select(Completion.id).join(Prompt).where(prompted),
        select(Judgement.id).where(Judgement.project_id == project.id),
        select(Demonstration.id).join(Prompt).where(prompted),
        select(DatasetVersion.id).where(DatasetVersion.project_id == project.id),
        select(ModelVersion.id).where(ModelVersion.project_id == project.id),
        select(Member.user_id).where(Member.project_id == project.id),
    )
    row = await db.execute(select(*(_count(rows.limit(Holdings.MOST + 1)) for rows in counted)))
    return Holdings(**dict(zip(_HOLDINGS, row.one(), strict=True)))


async def annotator_progress(
    db: AsyncSession, actor: Principal, project: Project, *, utc_offset: timedelta = timedelta()
) -> Progress:
    """`utc_offset`: of the clock that the annotator's day goes by."""
    mine = (
        select(func.count())
        .select_from(Judgement)
        .where(
            Judgement.project_id == project.id,
            Judgement.annotator_id == actor.user_id,
            Judgement.superseded_by.is_(None),
            ~Judgement.is_verdict,
        )
    )
    free = _count(
        select(Task.id)
        .where(
            Task.project_id == project.id,
            Task.purpose == "label",
            Task.taken < Task.quota,
            *eligible_for(actor.user_id),
        )
        .limit(Progress.MOST + 1)
    )
    held = _count(
        select(Assignment.id)
        .join(Task, Task.id == Assignment.task_id)
        .where(
            Assignment.project_id == project.id,
            Assignment.annotator_id == actor.user_id,
            Assignment.state == "leased",
            Task.purpose == "label",
        )
    )
    today = mine.where(_today(utc_offset))
    checks = today.join(Task, Task.id == Judgement.task_id).where(Task.purpose.in_(("gold", "repeat")))
    row = await db.execute(
        select(today.scalar_subquery(), mine.scalar_subquery(), checks.scalar_subquery(), free, held)
    )
    judged_today, total, checked_today, open_for_me, on_desk = row.one()
    # A check takes no place of a task: if what is left stood still after one, it would give itself away.
    left = max(0, open_for_me + on_desk - checked_today) if open_for_me <= Progress.MOST else Progress.MOST + 1
    return Progress(judged_today, total, left)


async def unavailable(db: AsyncSession, actor: Principal, project: Project) -> Unavailable:
    """Why there is nothing to give to `actor` now."""
    of_project = (Task.project_id == project.id, Task.purpose == "label")
    given = exists().where(Assignment.task_id == Task.id, Assignment.annotator_id == actor.user_id)
    skipped, judged = (given.where(Assignment.state == state) for state in ("skipped", "submitted"))
    is_kept = ~kept_for(0) & ~kept_for(actor.user_id)
    row = await db.execute(
        select(
            select(exists().where(*of_project)).scalar_subquery(),
            func.count().filter(skipped),
            func.count().filter(judged),
            func.count().filter(~skipped, ~judged, has_text_of(actor.user_id)),
            func.count().filter(~skipped, ~judged, ~has_text_of(actor.user_id), or_(Task.taken >= Task.quota, is_kept)),
        )
        .select_from(Task)
        .where(*of_project, Task.state == "open")
    )
    return Unavailable(*row.one())


def _count(rows: Select[int]) -> ColumnElement[int]:
    return select(func.count()).select_from(rows.subquery()).scalar_subquery()


def _today(utc_offset: timedelta = timedelta()) -> ColumnElement[bool]:
    of_the_clock = func.timezone("UTC", func.now()) + utc_offset
    return Judgement.submitted_at >= func.timezone("UTC", func.date_trunc("day", of_the_clock) - utc_offset)
