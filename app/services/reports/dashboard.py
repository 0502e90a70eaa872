"""How a project is getting on: who judges how much, what is left, how long it takes, how far people agree, what is
covered, and which models came of it.

Labels are what people say now of tasks made for labels (docs/figures.md). Days and weeks are those of UTC, weeks begin
on Monday; a report is the same for all its readers, whatever their clocks say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil
from typing import Any

from sqlalchemy import ColumnElement, Date, Float, and_, case, cast, func, null, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.db.tables import Judgement, Project, Prompt, Task
from app.phrases import phrase
from app.services import conditions
from app.services.judging.agreement import sides
from app.services.reports.report import Report
from app.services.reports.versions import Version, versions_of

PACE_DAYS = 7
"""Days with judgements that the pace is of, today not among them, which isn't over."""
FEWEST_DAYS = 2
FEWEST_JUDGEMENTS = 10
"""So many judgements, or pairs of them, make a pace or a share; of fewer none is told."""
LAST_DAYS = 30
MOST_TAGS = 100
LONGEST_DAYS = 3650
"""A finish that is further away is none."""

MS_PER_MINUTE, MS_PER_HOUR = 60_000, 3_600_000


@dataclass(frozen=True)
class Remaining:
    """What open tasks still ask for, and the pace: `judgements_a_day` over the last `active_days` with any, from
    `since` on; None where there is too little to go by. `finish_on` goes by the calendar, days off included.
    """

    tasks: int
    judgements: int
    active_days: int
    since: date | None
    judgements_a_day: float | None
    finish_on: date | None


@dataclass(frozen=True)
class Cost:
    """Labels given here (not imported), and the time that pairs were on screen and looked at; `median_minutes` of those
    whose time is known. `check_hours` went into tasks that check people.
    """

    labels: int
    imported: int
    label_hours: float
    check_hours: float
    median_minutes: float | None


@dataclass(frozen=True)
class Day:
    """Labels of a day by people and by simulated ones, of `annotators` different ones in all."""

    day: date
    by_people: int
    simulated: int
    annotators: int
    median_minutes: float | None
    hours: float


@dataclass(frozen=True)
class Worker:
    """One person's labels; `last_week` are those of the last seven days."""

    person_id: int
    is_simulated: bool
    judgements: int
    last_week: int
    active_days: int
    hours: float
    median_minutes: float | None
    last_day: date


@dataclass(frozen=True)
class WorkerDay:
    """One person's labels of one of the last 30 days."""

    day: date
    person_id: int
    is_simulated: bool
    judgements: int


@dataclass(frozen=True)
class Week:
    """Pairs of labels on two responses of a task whose last label came in this week, and how likely two agree; None of
    too few pairs.
    """

    week: date
    pairs: int
    agreement: float | None


@dataclass(frozen=True)
class Coverage:
    """Prompts of one kind (`of` is a split or a tag, None: without any), those with a task, and those with a label."""

    of: str | None
    prompts: int
    with_tasks: int
    judged: int


@dataclass(frozen=True)
class Dashboard:
    remaining: Remaining
    cost: Cost
    days: tuple[Day, ...]
    workers: tuple[Worker, ...]
    worker_days: tuple[WorkerDay, ...]
    weeks: tuple[Week, ...]
    splits: tuple[Coverage, ...]
    tags: tuple[Coverage, ...]
    versions: tuple[Version, ...]


async def compute(db: AsyncSession, project: Project) -> Dashboard:
    """Each part by one statement that aggregates."""
    days = await _days(db, project.id)
    return Dashboard(
        remaining=await _remaining(db, project.id, days),
        cost=await _cost(db, project.id),
        days=days,
        workers=await _workers(db, project.id),
        worker_days=await _worker_days(db, project.id),
        weeks=await _weeks(db, project.id),
        splits=await _splits(db, project.id),
        tags=await _tags(db, project.id),
        versions=await versions_of(db, project),
    )


DASHBOARD = Report("dashboard", phrase("Figures"), Dashboard, compute)


def pace_of(days: Sequence[Day], today: date) -> tuple[Sequence[Day], float, float] | None:
    """The days that the pace is of, judgements a day on which anybody judges, and judgements a day of the calendar;
    None of too little. Days that passed since in which nobody judged count for the calendar, so that work that stopped
    is not said to end soon.
    """
    last = [day for day in days if day.day < today][-PACE_DAYS:]
    done = sum(day.by_people + day.simulated for day in last)
    if len(last) < FEWEST_DAYS or done < FEWEST_JUDGEMENTS:
        return None
    return last, done / len(last), done / (today - last[0].day).days


async def _remaining(db: AsyncSession, project_id: int, days: Sequence[Day]) -> Remaining:
    left = select(
        func.count(),
        func.coalesce(func.sum(Task.quota - Task.judged - Task.skipped), 0),
        cast(func.timezone("UTC", func.now()), Date),
    ).where(
        Task.project_id == project_id,
        Task.purpose == "label",
        Task.state == "open",
        Task.quota > Task.judged + Task.skipped,
    )
    tasks, judgements, today = (await db.execute(left)).one()
    pace = pace_of(days, today)
    if pace is None:
        return Remaining(tasks, judgements, 0, None, None, None)
    last, on_active_days, by_calendar = pace
    days_left = ceil(judgements / by_calendar)
    finish_on = today + timedelta(days=days_left) if judgements and days_left <= LONGEST_DAYS else None
    return Remaining(tasks, judgements, len(last), last[0].day, on_active_days, finish_on)


async def _cost(db: AsyncSession, project_id: int) -> Cost:
    is_label = and_(~Judgement.is_check, ~Judgement.is_verdict, Judgement.kind != "imported")
    row = await db.execute(
        select(
            func.count().filter(is_label),
            func.count().filter(Judgement.kind == "imported"),
            _hours(is_label),
            _hours(Judgement.is_check),
            _median_minutes(is_label),
        ).where(Judgement.project_id == project_id, Judgement.superseded_by.is_(None), Judgement.kind != "machine")
    )
    return Cost(*row.one())


async def _days(db: AsyncSession, project_id: int) -> tuple[Day, ...]:
    day = _day_of(Judgement.submitted_at).label("day")
    is_simulated = Judgement.kind == "simulated"
    rows = await db.execute(
        select(
            day,
            func.count().filter(~is_simulated),
            func.count().filter(is_simulated),
            func.count(Judgement.annotator_id.distinct()),
            _median_minutes(),
            _hours(),
        )
        .where(*_given_here(project_id))
        .group_by(day)
        .order_by(day)
    )
    return tuple(Day(*row) for row in rows)


async def _workers(db: AsyncSession, project_id: int) -> tuple[Worker, ...]:
    day = _day_of(Judgement.submitted_at)
    count = func.count().label("count")
    rows = await db.execute(
        select(
            Judgement.annotator_id,
            func.bool_or(Judgement.kind == "simulated"),
            count,
            func.count().filter(Judgement.submitted_at > func.now() - timedelta(days=7)),
            func.count(day.distinct()),
            _hours(),
            _median_minutes(),
            func.max(day),
        )
        .where(*_given_here(project_id))
        .group_by(Judgement.annotator_id)
        .order_by(count.desc(), Judgement.annotator_id)
    )
    return tuple(Worker(*row) for row in rows)


async def _worker_days(db: AsyncSession, project_id: int) -> tuple[WorkerDay, ...]:
    day = _day_of(Judgement.submitted_at).label("day")
    since = _day_of(func.now()) - LAST_DAYS
    rows = await db.execute(
        select(day, Judgement.annotator_id, func.bool_or(Judgement.kind == "simulated"), func.count())
        .where(*_given_here(project_id), day > since)
        .group_by(day, Judgement.annotator_id)
        .order_by(day, Judgement.annotator_id)
    )
    return tuple(WorkerDay(*row) for row in rows)


async def _weeks(db: AsyncSession, project_id: int) -> tuple[Week, ...]:
    """Agreement as the report of that name has it, the mean over units. Pairs are counted by how often each side was
    taken, so that a task with many labels costs no more than they.
    """
    of_two = sides.of_two()
    side = func.sign(of_two.c.level).label("side")
    taken = (
        select(
            Judgement.task_id,
            of_two.c.first,
            of_two.c.second,
            side,
            func.count().label("times"),
            func.max(Judgement.submitted_at).label("last"),
        )
        .select_from(Judgement)
        .join(Task, Task.id == Judgement.task_id)
        .join(of_two, true())
        .where(*sides.comparable_in(project_id))
        .group_by(Judgement.task_id, of_two.c.first, of_two.c.second, side)
        .subquery()
    )
    given, same = func.sum(taken.c.times), func.sum(taken.c.times * (taken.c.times - 1))
    units = (
        select(
            taken.c.task_id,
            func.max(taken.c.last).label("last"),
            (given * (given - 1) / 2).label("pairs"),
            (cast(same, Float) / func.nullif(given * (given - 1), 0)).label("agreement"),
        )
        .group_by(taken.c.task_id, taken.c.first, taken.c.second)
        .subquery()
    )
    tasks = (
        select(
            cast(func.date_trunc("week", func.timezone("UTC", func.max(units.c.last))), Date).label("week"),
            func.sum(units.c.pairs).label("pairs"),
            func.sum(units.c.agreement).label("agreement"),
            func.count(units.c.agreement).label("units"),
        )
        .group_by(units.c.task_id)
        .having(func.count(units.c.agreement) > 0)
        .subquery()
    )
    pairs = func.sum(tasks.c.pairs)
    share = case((pairs >= FEWEST_JUDGEMENTS, func.sum(tasks.c.agreement) / func.sum(tasks.c.units)))
    rows = await db.execute(select(tasks.c.week, pairs, share).group_by(tasks.c.week).order_by(tasks.c.week))
    return tuple(Week(week, int(count), agreement) for week, count, agreement in rows)


async def _splits(db: AsyncSession, project_id: int) -> tuple[Coverage, ...]:
    return await _coverage(db, project_id, Prompt.split)


async def _tags(db: AsyncSession, project_id: int) -> tuple[Coverage, ...]:
    """The most frequent ones; of prompts without a tag, the row of None."""
    none = func.array_append(Prompt.tags, null())
    tags = func.unnest(case((func.cardinality(Prompt.tags) == 0, none), else_=Prompt.tags))
    found = await _coverage(db, project_id, tags, limit=MOST_TAGS)
    return found if any(coverage.of is not None for coverage in found) else ()


async def _coverage(
    db: AsyncSession, project_id: int, of: ColumnElement[Any] | InstrumentedAttribute[Any], *, limit: int | None = None
) -> tuple[Coverage, ...]:
    asked = (
        select(Task.prompt_id, func.bool_or(Task.judged > 0).label("judged"))
        .where(Task.project_id == project_id, Task.purpose == "label", Task.state != "retired")
        .group_by(Task.prompt_id)
        .subquery()
    )
    kinds = (
        select(of.label("of"), asked.c.prompt_id, asked.c.judged)
        .select_from(Prompt)
        .outerjoin(asked, asked.c.prompt_id == Prompt.id)
        .where(Prompt.project_id == project_id)
        .subquery()
    )
    count = func.count().label("count")
    rows = await db.execute(
        select(kinds.c.of, count, func.count(kinds.c.prompt_id), func.count().filter(kinds.c.judged))
        .group_by(kinds.c.of)
        .order_by(count.desc(), kinds.c.of)
        .limit(limit)
    )
    return tuple(Coverage(*row) for row in rows)


def _given_here(project_id: int) -> tuple[ColumnElement[bool], ...]:
    return (*conditions.labels_of(project_id), Judgement.kind != "imported")


def _day_of(moment: ColumnElement[datetime] | InstrumentedAttribute[datetime]) -> ColumnElement[date]:
    return cast(func.timezone("UTC", moment), Date)


def _median_minutes(of: ColumnElement[bool] | None = None) -> ColumnElement[Any]:
    median = func.percentile_cont(0.5).within_group(Judgement.active_ms)
    return cast(median if of is None else median.filter(of), Float) / MS_PER_MINUTE


def _hours(of: ColumnElement[bool] | InstrumentedAttribute[bool] | None = None) -> ColumnElement[Any]:
    total = func.sum(Judgement.active_ms)
    return cast(func.coalesce(total if of is None else total.filter(of), 0), Float) / MS_PER_HOUR
