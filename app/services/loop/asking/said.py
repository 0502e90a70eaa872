"""What people have said of responses that have features, as the head on them learns it."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judgement, Task, TaskCompletion
from app.services import conditions
from app.services.data.judged_pairs import first_is_better
from app.services.loop.asking.features import Features
from app.services.selection.arrays import Whole
from app.services.selection.posterior import Judged

MOST = 5_000
"""Judgements; the newest. A head on some hundred features learns little from more, and is to be there in a second."""

Pair = tuple[int, int, float, float]
"""Two positions, how likely the first is the better one, and the weight of that."""


async def judged_pairs(db: AsyncSession, project_id: int, features: Features) -> Judged:
    """Labels of tasks whose responses have features; of a ranking every two that it ranks."""
    return (await pairs_by_judgement(db, project_id, features))[0]


async def pairs_by_judgement(db: AsyncSession, project_id: int, features: Features) -> tuple[Judged, Whole]:
    """The same, newest first, with the id of the judgement that each pair is of."""
    return await _pairs(db, features, conditions.labels_of(project_id), {})


async def judged_by_machines(db: AsyncSession, features: Features, weight_of: Mapping[int, float]) -> Judged:
    """What machines said, as pairs of features, by the weight of each by the id of its user."""
    theirs = (
        Judgement.kind == "machine", Judgement.annotator_id.in_(weight_of), Judgement.superseded_by.is_(None)
    )  # fmt: skip
    return (await _pairs(db, features, theirs, weight_of))[0]


async def _pairs(
    db: AsyncSession, features: Features, said_by: Sequence[ColumnElement[bool]], weight_of: Mapping[int, float]
) -> tuple[Judged, Whole]:
    said = (
        await db.execute(
            select(
                Judgement.id,
                Judgement.task_id,
                Task.prompt_id,
                Task.selection["slice"].astext,
                Judgement.answer_type,
                Judgement.preference,
                Judgement.ranks,
                Judgement.annotator_id,
            )
            .join(Task, Task.id == Judgement.task_id)
            .where(*said_by)
            .order_by(Judgement.id.desc())
            .limit(MOST)
        )
    ).all()
    shown = await responses_of(db, {row.task_id for row in said})
    rows: list[tuple[int, int, float, float, int, bool]] = []
    judgement_ids: list[int] = []
    for judgement_id, task_id, prompt_id, slice_, answer_type, preference, ranks, annotator_id in said:
        trusted = 1.0 if annotator_id is None else weight_of.get(annotator_id, 1.0)
        for a, b, better, weight in pairs_of(answer_type, preference, ranks):
            first, second = features.row_of.get(shown[task_id][a]), features.row_of.get(shown[task_id][b])
            if first is not None and second is not None:
                rows.append((first, second, better, weight * trusted, prompt_id, slice_ == "random"))
                judgement_ids.append(judgement_id)
    return _judged(features, rows), np.array(judgement_ids, dtype=np.int64)


async def responses_of(db: AsyncSession, task_ids: Collection[int]) -> dict[int, list[int]]:
    """Ids of the responses of each task, by position."""
    found: dict[int, list[int]] = defaultdict(list)
    for task_id, completion_id in await db.execute(
        select(TaskCompletion.task_id, TaskCompletion.completion_id)
        .where(TaskCompletion.task_id.in_(task_ids))
        .order_by(TaskCompletion.task_id, TaskCompletion.position)
    ):
        found[task_id].append(completion_id)
    return found


def pairs_of(answer_type: str, preference: int | None, ranks: Sequence[int | None] | None) -> Iterator[Pair]:
    """What one answer says of pairs, as datasets read it.

    All pairs of a ranking of n weigh n / 2 together: they follow from one another.
    """
    if preference is not None or ranks is None:
        compared, ranks = [0, 1], (None, None)
    else:
        compared = [position for position, rank in enumerate(ranks) if rank is not None or answer_type == "best"]
    for a, b in combinations(compared, 2):
        better = first_is_better(answer_type, preference, (ranks[a], ranks[b]))
        if better is not None:
            yield a, b, better, 1 / (len(compared) - 1)


def _judged(features: Features, rows: Sequence[tuple[int, int, float, float, int, bool]]) -> Judged:
    a, b, preference, weight, group, is_random = zip(*rows, strict=True) if rows else ((),) * 6
    difference = features.feature_NF[list(a)].astype(np.float64) - features.feature_NF[list(b)]
    return Judged(
        difference,
        np.array(preference, dtype=np.float64),
        np.array(weight, dtype=np.float64),
        np.array(group, dtype=np.int64),
        np.array(is_random, dtype=bool),
    )
