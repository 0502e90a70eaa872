"""How far people agree on what several of them judged: coefficients, pairs of people, and the tasks that divide them.

The units are each two responses of a task, as docs/agreement.md has it; what was said of one task is drawn together.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sqlalchemy import Select, case, func, literal, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judgement, Project, Task, User
from app.phrases import phrase
from app.services import conditions
from app.services.judging.agreement import bootstrap, coefficients, sides
from app.services.judging.agreement.bootstrap import FEWEST_TASKS, Estimate
from app.services.judging.agreement.units import NOBODY, Integers, Meetings, Said
from app.services.reports.report import Report

MOST_PAIRS = 100
MOST_TASKS = 300
ROWS_AT_ONCE = 20_000
PLACES = 9
"""Responses of a task, at most."""

SIDES = 3
LEVELS = 4
"""Of the widest scale, to each side of its middle."""

Name = Literal["per_cent", "cohen", "fleiss", "alpha_nominal", "alpha_ordinal"]
Criterion = Literal["preference", "harm"]


@dataclass(frozen=True)
class Coefficient:
    """From 0 to 1 for per cent, else up to 1, 0 being chance. `low` and `high` bound the interval of 95 %; None where
    too little is known. `tasks`, `judgements` and `people` are what it is of.
    """

    criterion: Criterion
    name: Name
    value: float | None
    low: float | None
    high: float | None
    tasks: int
    judgements: int
    people: int


@dataclass(frozen=True)
class PairOfPeople:
    """Two people and how they agree on the `tasks` that both judged; of fewer than ten only how many these are."""

    first_id: int
    second_id: int
    is_simulated: bool
    tasks: int
    agreement: float | None
    kappa: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class DividedTask:
    """`division` is the share of its pairs of judgements that are opposite, a tie counting half. `for_first`, `ties`
    and `for_second` are judgements of a pair by side, in the stored order; of several responses they are None.
    """

    task_id: int
    division: float
    judgements: int
    for_first: int | None
    ties: int | None
    for_second: int | None


@dataclass(frozen=True)
class Agreement:
    """`pairs`: those who agree least first, then those with too little in common; `all_pairs` is how many there are.
    `divided_tasks` likewise.
    """

    coefficients: tuple[Coefficient, ...]
    pairs: tuple[PairOfPeople, ...]
    all_pairs: int
    tasks: tuple[DividedTask, ...]
    divided_tasks: int

    def named(self, name: Name, criterion: Criterion = "preference") -> Coefficient | None:
        found = (each for each in self.coefficients if (each.name, each.criterion) == (name, criterion))
        return next(found, None)


async def compute(db: AsyncSession, project: Project) -> Agreement:
    """Sums and resampling run in a thread, so that the worker's other jobs go on."""
    said = await _said(db, _preferences(project.id))
    harm = await _said(db, _harm(project.id))
    found = await asyncio.to_thread(_coefficients, said, "preference", project.id)
    found += await asyncio.to_thread(_coefficients, harm, "harm", project.id) if len(harm) else []
    simulated = set(await db.scalars(select(User.id).where(User.is_simulated)))
    pairs, all_pairs = await asyncio.to_thread(_pairs, said, project.id, simulated)
    divided = select(func.count()).where(Task.project_id == project.id, Task.division > 0)
    return Agreement(tuple(found), pairs, all_pairs, await _tasks(db, project.id), await db.scalar(divided) or 0)


AGREEMENT = Report("agreement", phrase("Agreement"), Agreement, compute)


def _preferences(project_id: int) -> Select[*tuple[Any, ...]]:
    """Task, the two responses, person, level from −4 to 4, and the scale that the level is on, empty where only the
    side was said.
    """
    of_two = sides.of_two()
    is_untold = or_(
        Judgement.preference.is_(None), (Judgement.kind == "imported") & ~func.coalesce(Judgement.strength_said, False)
    )
    return (
        select(
            Judgement.task_id,
            of_two.c.first * PLACES + of_two.c.second,
            func.coalesce(Judgement.annotator_id, NOBODY),
            of_two.c.level,
            case((is_untold, 0), (Judgement.answer_type == "six", 6), (Judgement.answer_type == "eight", 8), else_=7),
        )
        .select_from(Judgement)
        .join(Task, Task.id == Judgement.task_id)
        .join(of_two, true())
        .where(*sides.comparable_in(project_id))
    )


def _harm(project_id: int) -> Select[*tuple[Any, ...]]:
    return (
        select(
            Judgement.task_id,
            literal(1),
            func.coalesce(Judgement.annotator_id, NOBODY),
            Judgement.less_harmful,
            literal(0),
        )
        .join(Task, Task.id == Judgement.task_id)
        .where(*sides.comparable_in(project_id), Judgement.less_harmful.is_not(None))
    )


async def _said(db: AsyncSession, statement: Select[*tuple[Any, ...]]) -> Integers:
    """A row of five whole numbers for each thing said; 40 bytes in memory, however long it takes to read."""
    parts = [part async for part in _parts(db, statement)]
    return np.concatenate(parts) if parts else np.empty((0, 5), np.int64)


async def _parts(db: AsyncSession, statement: Select[*tuple[Any, ...]]) -> AsyncIterator[Integers]:
    found = await db.stream(statement.execution_options(yield_per=ROWS_AT_ONCE))
    async for rows in found.partitions(ROWS_AT_ONCE):
        yield np.array([tuple(row) for row in rows], dtype=np.int64)


def _coefficients(rows: Integers, criterion: Criterion, seed: int) -> list[Coefficient]:
    by_side = _by_side(rows)
    units = coefficients.unit_sums(by_side)
    per_cent, fleiss = bootstrap.estimates(units, [coefficients.per_cent, coefficients.fleiss], seed)
    nominal = bootstrap.estimates(coefficients.coincidences(by_side), [coefficients.alpha_nominal], seed)[0]
    named = _named(by_side)
    cohen = bootstrap.mean_cohen(Meetings.of(by_side), seed)
    by_level = _by_level(rows)
    ordinal = bootstrap.estimates(coefficients.coincidences(by_level), [coefficients.alpha_ordinal], seed)[0]
    found: list[tuple[Name, Estimate, Said]] = [
        ("per_cent", per_cent, by_side),
        ("cohen", cohen, named),
        ("fleiss", fleiss, by_side),
        ("alpha_nominal", nominal, by_side),
        ("alpha_ordinal", ordinal, by_level),
    ]
    return [
        Coefficient(
            criterion, name, estimate.value, estimate.low, estimate.high,
            tasks=len(np.unique(of.task)),
            judgements=_judgements(of),
            people=len(np.unique(of.person[of.person != NOBODY])),
        )
        for name, estimate, of in found
    ]  # fmt: skip


def _by_side(rows: Integers) -> Said:
    return _said_of(rows, 1 - np.sign(rows[:, 3]), SIDES)


def _by_level(rows: Integers) -> Said:
    """Levels can be compared on one scale alone: on the one that most was said on."""
    scales, counts = np.unique(rows[:, 4], return_counts=True)
    if not len(scales):
        return _by_side(rows)
    scale = scales[counts.argmax()]
    of_scale = rows[rows[:, 4] == scale]
    return _by_side(of_scale) if scale == 0 else _said_of(of_scale, LEVELS - of_scale[:, 3], 2 * LEVELS + 1)


def _said_of(rows: Integers, category: Integers, categories: int) -> Said:
    return Said.of(np.column_stack([rows[:, :3], category]), categories).comparable()


def _named(said: Said) -> Said:
    """What people said who are known, where two of them did."""
    known = said.person != NOBODY
    return Said(
        said.task[known], said.unit[known], said.person[known], said.category[known], said.categories
    ).comparable()


def _judgements(said: Said) -> int:
    """Of each task as many as the unit has people that most of them said something of."""
    people = np.bincount(said.unit)
    fullest = np.zeros(said.task.max(initial=-1) + 1, np.int64)
    np.maximum.at(fullest, said.task, people[said.unit])
    return int(fullest.sum())


def _pairs(rows: Integers, seed: int, simulated: set[int]) -> tuple[tuple[PairOfPeople, ...], int]:
    met = Meetings.of(_by_side(rows))
    number = len(met.people)
    if not number:
        return (), 0
    size = met.categories
    tables = np.bincount(met.cell, minlength=number * size * size).reshape(number, size, size).astype(np.float64)
    tasks = int(met.task.max()) + 1
    common = np.bincount(np.unique(met.pair * tasks + met.task) // tasks, minlength=number)
    agreement = np.trace(tables, axis1=1, axis2=2) / tables.sum(axis=(1, 2))
    is_ranked = common >= FEWEST_TASKS
    order = np.lexsort((-common, np.where(is_ranked, agreement, 0), ~is_ranked))[:MOST_PAIRS]
    by_pair = np.argsort(met.pair, kind="stable")
    ends = np.searchsorted(met.pair[by_pair], np.arange(number + 1))
    found = []
    for pair in order.tolist():
        first, second = met.people[pair]
        kappa = Estimate(None)
        if is_ranked[pair]:
            theirs = by_pair[ends[pair] : ends[pair + 1]]
            _, task = np.unique(met.task[theirs], return_inverse=True)
            cell = (task.reshape(-1) * size + met.first[theirs]) * size + met.second[theirs]
            of_task = np.bincount(cell, minlength=(int(task.max()) + 1) * size * size).reshape(-1, size, size)
            kappa = bootstrap.cohen(of_task.astype(np.float64), seed)
        found.append(
            PairOfPeople(
                first, second, bool(simulated & {first, second}), int(common[pair]),
                float(agreement[pair]) if is_ranked[pair] else None, kappa.value, kappa.low, kappa.high,
            )
        )  # fmt: skip
    return tuple(found), number


async def _tasks(db: AsyncSession, project_id: int) -> tuple[DividedTask, ...]:
    worst = (
        select(Task.id, Task.division)
        .where(Task.project_id == project_id, Task.division > 0)
        .order_by(Task.division.desc(), Task.id)
        .limit(MOST_TASKS)
        .subquery()
    )
    is_pair = func.bool_and(Judgement.preference.is_not(None))
    sides = [func.count().filter(func.sign(Judgement.preference) == side) for side in (1, 0, -1)]
    rows = await db.execute(
        select(worst.c.id, worst.c.division, func.count(), *(case((is_pair, side)) for side in sides))
        .join(Judgement, Judgement.task_id == worst.c.id)
        .where(*conditions.labels_of(project_id))
        .group_by(worst.c.id, worst.c.division)
        .order_by(worst.c.division.desc(), worst.c.id)
    )
    return tuple(DividedTask(*row) for row in rows)
