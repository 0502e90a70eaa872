"""How far a project is, and how far one annotator in it."""

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import get_args

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
    """What the list of projects says of one. `annotators` are members, whether they have judged or not."""

    has_prompts: bool
    has_demonstrations: bool
    tasks_open: int
    annotators: int


@dataclass(frozen=True)
class Holdings:
    """What would go with a project that is deleted."""

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
    as many fewer as they were given hidden checks today."""

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


async def overview(db: AsyncSession, project: Project) -> ProjectOverview:
    labels = labels_of(project.id)
    tasks = select(func.count()).select_from(Task).where(Task.project_id == project.id, Task.purpose == "label")
    judgements = select(func.count()).select_from(Judgement).where(*labels)
    counted = counted_in(project.id, prefers_verdicts=Review.of(project.review).prefers_verdicts)
    unused = select(func.count()).select_from(Judgement).where(*counted)
    of_project = (Prompt.project_id == project.id,)
    splits = await db.execute(
        select(Prompt.split, func.count().label("prompts")).where(*of_project).group_by(Prompt.split)
    )
    figures = (
        await db.execute(
            select(
                _count(select(Demonstration.id).join(Prompt).where(*of_project)).label("demonstrations"),
                _count(select(Completion.id).join(Prompt).where(*of_project)).label("completions"),
                tasks.where(Task.state == "open").scalar_subquery().label("tasks_open"),
                tasks.where(Task.state == "closed").scalar_subquery().label("tasks_closed"),
                judgements.scalar_subquery().label("judgements"),
                judgements.where(Judgement.kind == "imported").scalar_subquery().label("judgements_imported"),
                unused.where(~held_by_a_dataset(), is_left()).scalar_subquery().label("judgements_since_snapshot"),
                judgements.where(_today(), Judgement.kind != "imported").scalar_subquery().label("labels_today"),
                select(func.count(Judgement.annotator_id.distinct()))
                .where(*labels)
                .scalar_subquery()
                .label("annotators"),
            )
        )
    ).one()
    by_split = dict.fromkeys(get_args(Split), 0) | {row.split: row.prompts for row in splits}
    return ProjectOverview(prompts_by_split=by_split, **figures._mapping)


async def glance(db: AsyncSession, project: Project) -> Glance:
    """Quick however much the project holds: what there is is only looked for, and open tasks have an index."""
    prompted = Prompt.project_id == project.id
    open_tasks = select(Task.id).where(
        Task.project_id == project.id, Task.state == "open", Task.purpose == "label", Task.taken < Task.quota
    )
    annotators = select(Member.user_id).where(Member.project_id == project.id, Member.role == "annotator")
    row = await db.execute(
        select(
            exists().where(prompted),
            exists().where(prompted, Demonstration.prompt_id == Prompt.id),
            _count(open_tasks),
            _count(annotators),
        )
    )
    has_prompts, has_demonstrations, tasks_open, members = row.one()
    return Glance(has_prompts, has_demonstrations, tasks_open, members)


async def holdings(db: AsyncSession, project: Project) -> Holdings:
    """Counts everything, judgements that were changed since and checks too."""
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
    row = await db.execute(select(*(_count(rows) for rows in counted)))
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
        select(Task.id).where(
            Task.project_id == project.id,
            Task.purpose == "label",
            Task.taken < Task.quota,
            *eligible_for(actor.user_id),
        )
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
    return Progress(judged_today, total, max(0, open_for_me + on_desk - checked_today))


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
    return func.timezone("UTC", Judgement.submitted_at) + utc_offset >= func.date_trunc("day", of_the_clock)
