"""How a reward model scores the pairs that it was measured on, stored with the judgements that say which is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from sqlalchemy import Select, insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.base import Json
from app.db.tables import Judgement, ModelVersion, ScoredPair, Task
from app.services import conditions
from app.services.data.judged_pairs import first_is_better
from app.services.loop.comparisons.comparisons import score
from app.services.loop.comparisons.resampling import Integers, Interval, Numbers, mean_interval, share_interval
from training.records import ScoredPairRecord

MOST_PAIRS = 5_000
"""Of a model, those of the newest judgements."""
ROWS_AT_ONCE = 2_000


@dataclass(frozen=True)
class Scored:
    """Parallel columns, a row for each pair of which people said which is better: by how much the model has the first
    ahead, by how much the model before it (nan where there was none), and 1 where people said so, else 0."""

    prompt: Integers
    is_drawn: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]"
    difference: Numbers
    previous: Numbers
    said: Numbers

    @classmethod
    def of(cls, rows: Sequence[Any]) -> "Scored":
        """From rows of `read`, ties left out."""
        decided = [row for row in rows if row.said in (0, 1)]
        previous = [np.nan if row.previous_difference is None else row.previous_difference for row in decided]
        return cls(
            np.array([row.prompt_id for row in decided], dtype=np.int64),
            np.array([bool(row.is_drawn) for row in decided], dtype=np.bool_),
            np.array([row.difference for row in decided], dtype=np.float64),
            np.array(previous, dtype=np.float64),
            np.array([row.said for row in decided], dtype=np.float64),
        )

    def only(self, kept: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> "Scored":
        return Scored(
            self.prompt[kept], self.is_drawn[kept], self.difference[kept], self.previous[kept], self.said[kept]
        )

    @property
    def right(self) -> Numbers:
        """How far the model is right: 1 where it agrees, one half where it has no opinion."""
        return right(self.difference, self.said)

    @property
    def losses(self) -> Numbers:
        """Nats per pair."""
        return losses(self.difference, self.said)

    @property
    def accuracy(self) -> Interval | None:
        return share_interval(self.right, self.prompt)

    @property
    def gained_accuracy(self) -> Interval | None:
        """Over the model before it, on the same pairs; None where there was none."""
        known = self.only(~np.isnan(self.previous))
        return mean_interval(known.right - right(known.previous, known.said), known.prompt)

    @property
    def added_loss(self) -> Interval | None:
        """Nats per pair beyond those of the model before it."""
        known = self.only(~np.isnan(self.previous))
        return mean_interval(known.losses - losses(known.previous, known.said), known.prompt)


def right(difference: Numbers, said: Numbers) -> Numbers:
    return np.where(difference == 0, 0.5, (difference > 0) == (said > 0.5)).astype(np.float64)


def losses(difference: Numbers, said: Numbers) -> Numbers:
    """-log of the chance that the model gave to what people said."""
    return np.asarray(np.logaddexp(0.0, np.where(said > 0.5, -difference, difference)), dtype=np.float64)


async def store(db: AsyncSession, version: ModelVersion, records: Sequence[ScoredPairRecord]) -> None:
    """Enter what a training process left. A record's source names the judgement, its place which two responses."""
    ids = sorted({_judgement_of(record) for record in records})
    pairs: dict[int, list[tuple[int, int]]] = {}
    for start in range(0, len(ids), ROWS_AT_ONCE):
        found = await db.execute(
            select(Judgement.id, Judgement.answer_type, Judgement.preference, Judgement.ranks).where(
                Judgement.id.in_(ids[start : start + ROWS_AT_ONCE]), Judgement.project_id == version.project_id
            )
        )
        pairs |= {row.id: _pairs_of(row) for row in found}
    rows = [
        {
            "model_version_id": version.id,
            "judgement_id": judgement_id,
            "position_a": pairs[judgement_id][record.place][0],
            "position_b": pairs[judgement_id][record.place][1],
            "difference": record.difference,
            "previous_difference": record.previous_difference,
        }
        for record in records
        if record.place < len(pairs.get(judgement_id := _judgement_of(record), ()))
    ]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        await db.execute(insert(ScoredPair).values(rows[start : start + ROWS_AT_ONCE]))


def of_version(version_id: int) -> Select[*tuple[Any, ...]]:
    """A row for each scored pair of the newest judgements, with what was said of it and how its task was chosen."""
    judgement = aliased(Judgement)
    return (
        select(
            ScoredPair.judgement_id,
            ScoredPair.position_a,
            ScoredPair.position_b,
            ScoredPair.difference,
            ScoredPair.previous_difference,
            score(judgement, ScoredPair.position_a, ScoredPair.position_b).label("said"),
            Task.id.label("task_id"),
            Task.prompt_id,
            conditions.is_drawn().label("is_drawn"),
        )
        .join(judgement, judgement.id == ScoredPair.judgement_id)
        .join(Task, Task.id == judgement.task_id)
        .where(ScoredPair.model_version_id == version_id)
        .order_by(ScoredPair.judgement_id.desc(), ScoredPair.position_a, ScoredPair.position_b)
        .limit(MOST_PAIRS)
    )


async def standing(db: AsyncSession, version_id: int) -> Json:
    """Figures for the gate: on all pairs and on those that chance chose, by how much its loss and its accuracy differ
    from those of the model that it is to replace."""
    scored = Scored.of((await db.execute(of_version(version_id))).all())
    drawn = scored.only(scored.is_drawn)
    return {
        "drawn_pairs": len(drawn.said),
        **_told("drawn_accuracy", drawn.accuracy),
        **_told("drawn_accuracy_difference", drawn.gained_accuracy),
        **_told("drawn_nll_difference", drawn.added_loss),
        **_told("nll_difference", scored.added_loss),
    }


def _told(name: str, found: Interval | None) -> Json:
    return {} if found is None else {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def _judgement_of(record: ScoredPairRecord) -> int:
    """Sources are “kind:id”, as dataset versions have them."""
    return int(record.source.partition(":")[2] or 0)


def _pairs_of(row: Any) -> list[tuple[int, int]]:
    """The positions that a dataset version holds a record of, in its order."""
    if row.ranks is None:
        return [(0, 1)]
    return [
        (one, other)
        for one, other in combinations(range(len(row.ranks)), 2)
        if first_is_better(row.answer_type, row.preference, (row.ranks[one], row.ranks[other])) is not None
    ]
