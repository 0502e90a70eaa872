"""Which pairs a machine judges: some that people judged, to be measured by, and the open ones where a person would add
least.

A coin says of every task, before anything is looked at, whether machines may judge it at all.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Numeric,
    case,
    cast,
    exists,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.tables import Judge, JudgeAnswer, Judgement, Project, Prompt, Task, TaskCompletion
from app.db.tables.judges import ChosenAs
from app.services import conditions
from app.services.loop.asking import features as embedded
from app.services.loop.asking import said
from app.services.loop.asking.features import Features
from app.services.selection import posterior
from app.services.selection.posterior import Judged

FEWEST_LABELS = 20
"""Judged pairs with features below which no head is asked where people add least."""
MOST_CANDIDATES = 20_000
COINS_AT_ONCE = 2_000


@dataclass(frozen=True)
class Chosen:
    """A task for the machine; `probability`: the head's that position 0 is better, where it was asked."""

    task_id: int
    chosen_as: ChosenAs
    probability: float | None = None


@dataclass(frozen=True)
class Wanted:
    """How many pairs that people judged, how many open ones at most, and which share of the open ones in all."""

    shared: int
    open: int
    open_share: float


async def draw_arms(db: AsyncSession, project_id: int, *, off_share: float) -> int:
    """Toss the coin for some of the tasks that haven't had one; how many those are. To be done again until there are
    none: people wait for the rows of one transaction only.

    It is the task's own, so that tossed twice it falls the same way: a digest of its id that no one chose.
    """
    drawn = func.hashint8extended(Task.id, cast(project_id, BigInteger)).op("&")(literal(2**30 - 1)) / float(2**30)
    is_off = cast(drawn, Double) < off_share
    arm = case(
        (is_off, func.jsonb_build_object("machines", "off", "machines_propensity", cast(1 - off_share, Numeric))),
        else_=func.jsonb_build_object("machines", "on", "machines_propensity", cast(1 - off_share, Numeric)),
    )
    waiting = (
        select(Task.id)
        .where(Task.project_id == project_id, Task.purpose == "label", ~Task.selection.has_key("machines"))
        .order_by(Task.id)
        .limit(COINS_AT_ONCE)
        .with_for_update()
    )
    tossed = await db.execute(
        update(Task)
        .where(Task.id.in_(list(await db.scalars(waiting))))
        .values(selection=Task.selection.op("||")(arm))
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    return len(tossed.all())


async def choose(
    db: AsyncSession, project: Project, judge: Judge, home: Path, wanted: Wanted, rng: np.random.Generator
) -> list[Chosen]:
    """Pairs in the order in which they are to be judged. Those that people judged come first, by chance."""
    shared = await _ids(db, project.id, judge, _by_people(project.id))
    shared_ids = [int(task_id) for task_id in rng.permutation(shared)[: wanted.shared]]
    chosen = [Chosen(task_id, "shared") for task_id in shared_ids]
    is_for_anybody = (Task.state == "open", Task.taken == 0, conditions.kept_for(0), Prompt.split == "train")
    # What chance drew is measured on: people are to judge all of it.
    is_chosen = func.coalesce(Task.selection["slice"].astext, "") != "random"
    untouched = await _ids(db, project.id, judge, *is_for_anybody, is_chosen)
    # Those that any machine has taken already count, too: the rest stays for people, however often this is asked.
    taken = await _taken(db, project.id)
    left = int(wanted.open_share * len(taken.union(untouched))) - len(taken)
    if left <= 0:
        untouched = [task_id for task_id in untouched if task_id in taken]
    ranked = await _open(db, project, home, untouched, rng)
    return chosen + list(islice(_within(ranked, taken, left), wanted.open))


def _within(ranked: Iterable[Chosen], taken: Collection[int], left: int) -> Iterator[Chosen]:
    """At most `left` that no machine has taken yet."""
    for one in ranked:
        if one.task_id in taken or left > 0:
            left -= one.task_id not in taken
            yield one


async def put_back(db: AsyncSession, task_ids: Sequence[int]) -> None:
    """Show people these after the other pairs of their round: they stay open, and nothing tells them from others."""
    is_open = (Task.id.in_(task_ids), Task.state == "open")
    # Without the key: another run of the judge may hold it, and wait for what this one has said.
    tasks = select(Task.id).where(*is_open).order_by(Task.id).with_for_update(key_share=True)
    await db.execute(
        update(Task)
        .where(Task.id.in_(list(await db.scalars(tasks))))
        .values(priority=Task.priority - 1)
        .execution_options(synchronize_session=False)
    )


async def _open(
    db: AsyncSession, project: Project, home: Path, untouched: Sequence[int], rng: np.random.Generator
) -> list[Chosen]:
    """The surest first where a head can be asked, else by chance."""
    probabilities = await _probabilities(db, project.id, home, untouched)
    if not probabilities:
        return [Chosen(int(task_id), "chance") for task_id in rng.permutation(untouched)]
    surest = sorted(probabilities, key=lambda task_id: (-abs(probabilities[task_id] - 0.5), task_id))
    return [Chosen(task_id, "sure", probabilities[task_id]) for task_id in surest]


async def _probabilities(db: AsyncSession, project_id: int, home: Path, task_ids: Sequence[int]) -> dict[int, float]:
    """That position 0 is better, of the tasks whose responses have features; of none where too little was said."""
    folder = await embedded.folder_of_latest(db, project_id)
    found = None if folder is None else await asyncio.to_thread(embedded.read_features, home / folder)
    if found is None or not task_ids:
        return {}
    judged = await said.judged_pairs(db, project_id, found)
    if len(judged) < FEWEST_LABELS:
        return {}
    first, second = aliased(TaskCompletion), aliased(TaskCompletion)
    rows = await db.execute(
        select(first.task_id, first.completion_id, second.completion_id)
        .join(second, (second.task_id == first.task_id) & (second.position == 1))
        .where(first.task_id.in_(task_ids), first.position == 0)
    )
    pairs = [tuple(row) for row in rows if row[1] in found.row_of and row[2] in found.row_of]
    if not pairs:
        return {}
    likely = await asyncio.to_thread(_likely, judged, found, [pair[1] for pair in pairs], [pair[2] for pair in pairs])
    return {pair[0]: probability for pair, probability in zip(pairs, likely, strict=True)}


def _likely(judged: Judged, found: Features, first: Sequence[int], second: Sequence[int]) -> list[float]:
    """The posterior's mean probabilities."""
    head = posterior.learn(judged)
    difference_PF = found.of(first).astype(np.float64) - found.of(second)  # noqa: N806 - its shape
    likely: list[float] = posterior.sigmoid(head.margins(difference_PF)).tolist()
    return likely


async def _ids(db: AsyncSession, project_id: int, judge: Judge, *more: ColumnElement[bool]) -> list[int]:
    """Pairs that machines may judge and this one hasn't, the newest."""
    answered = exists().where(JudgeAnswer.judge_id == judge.id, JudgeAnswer.task_id == Task.id)
    size = select(func.count()).where(TaskCompletion.task_id == Task.id).correlate(Task).scalar_subquery()
    return list(
        await db.scalars(
            select(Task.id)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .where(
                Task.project_id == project_id,
                Task.purpose == "label",
                Task.erased_at.is_(None),
                Task.selection["machines"].astext == "on",
                Prompt.erased_at.is_(None),
                Prompt.split != "held_out",
                ~conditions.is_duel(),
                ~answered,
                size == 2,
                *more,
            )
            .order_by(Task.id.desc())
            .limit(MOST_CANDIDATES)
        )
    )


def _by_people(project_id: int) -> ColumnElement[bool]:
    """Condition on Task: people said something of it."""
    return exists().where(Judgement.task_id == Task.id, *conditions.labels_of(project_id))


async def _taken(db: AsyncSession, project_id: int) -> set[int]:
    """Open pairs that nobody judged and a machine did."""
    answered = exists().where(JudgeAnswer.task_id == Task.id, JudgeAnswer.chosen_as != "shared")
    of_project = (Task.project_id == project_id, Task.purpose == "label", Task.state == "open", Task.taken == 0)
    return set(await db.scalars(select(Task.id).where(*of_project, answered)))
