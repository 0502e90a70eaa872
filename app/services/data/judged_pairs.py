"""What is learnt from judgements: a record for each two responses that one says something of."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, func, null, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.base import Json
from app.db.tables import (
    Completion,
    DatasetJudgement,
    DatasetVersion,
    Judgement,
    Prompt,
    Task,
    TaskCompletion,
)
from app.services.data.beliefs import Beliefs
from training.records import Message, PreferenceRecord, Split

# A server-side cursor's rows, so that a version of any size takes little memory.
ROWS_AT_ONCE = 2_000

# Of a scale to each side, the tie in the middle not among them.
LEVELS = {"seven": 3, "six": 3, "eight": 4}

Learnt = list[float]
"""Two positions, how likely the first is better, and how much that weighs."""


@dataclass(frozen=True)
class JudgedPair:
    """Two responses of a judgement, as they are learnt from. `learnt` is None where that is as it was said."""

    judgement_id: int
    kind: str
    record: PreferenceRecord
    learnt: Learnt | None


Pairs = AsyncGenerator[list[JudgedPair], None]
"""In the order of the judgements and of the responses' positions, some at a time."""


async def counted(
    db: AsyncSession,
    conditions: Sequence[ColumnElement[bool]],
    weight_of: Mapping[int, float],
    beliefs: Beliefs | None,
) -> Pairs:
    """What is learnt from judgements under these conditions on Judgement and Prompt, as far as their texts are there.

    `weight_of` says how much a judgement of a machine weighs, by its user.
    """
    first, second = aliased(Completion), aliased(Completion)
    statement = _statement(first, second, split=Prompt.split, learnt=null()).where(
        *conditions,
        Prompt.erased_at.is_(None),
        first.erased_at.is_(None),
        second.erased_at.is_(None),
    )
    async for rows in (await db.stream(statement)).partitions(ROWS_AT_ONCE):
        yield list(_pairs(rows, lambda row: _counted_as(row, weight_of, beliefs)))


async def held(db: AsyncSession, version: DatasetVersion) -> Pairs:
    """What a version holds, counted as it was when it was cut.

    Of one that was cut before that was kept, the splits are those of today.
    """
    first, second = aliased(Completion), aliased(Completion)
    split = func.coalesce(DatasetJudgement.split, Prompt.split)
    statement = (
        _statement(first, second, split=split, learnt=DatasetJudgement.learnt)
        .join(DatasetJudgement, DatasetJudgement.judgement_id == Judgement.id)
        .where(DatasetJudgement.dataset_version_id == version.id)
    )
    async for rows in (await db.stream(statement)).partitions(ROWS_AT_ONCE):
        yield list(_pairs(rows, _kept_as))


def first_is_better(
    answer_type: str, preference: int | None, ranks: tuple[int | None, int | None] | None
) -> float | None:
    """The probability that the first of two is better; None where nothing was said of the two.

    How much better says nothing about how sure, so strength doesn't enter. Unranked is not last, and of two that are
    not the best nobody said which is better.
    """
    if preference is not None:
        return 0.5 if preference == 0 else float(preference > 0)
    assert ranks is not None
    rank_a, rank_b = ranks
    if answer_type == "best":
        return None if rank_a is rank_b is None else float(rank_a == 1)
    if rank_a is None or rank_b is None:
        return None
    return 0.5 if rank_a == rank_b else float(rank_a < rank_b)


def conversation(messages: list[Json]) -> tuple[Message, ...]:
    """A prompt's turns, from its row."""
    return tuple(Message.from_json(message) for message in messages)


def _statement(first: Any, second: Any, *, split: Any, learnt: Any) -> Select[*tuple[Any, ...]]:
    at_first, at_second = aliased(TaskCompletion), aliased(TaskCompletion)
    return (
        select(
            Judgement.id, Judgement.kind, Judgement.annotator_id, Judgement.answer_type, Judgement.preference,
            Judgement.ranks, Judgement.criteria, Judgement.safe, Judgement.less_harmful, Judgement.strength_said,
            at_first.position.label("position_a"), at_second.position.label("position_b"),
            Prompt.id.label("prompt_id"), Prompt.messages, split.label("split"), learnt.label("learnt"),
            first.text.label("text_a"), second.text.label("text_b"),
        )
        .join(Task, Task.id == Judgement.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .join(at_first, at_first.task_id == Task.id)
        .join(at_second, (at_second.task_id == Task.id) & (at_second.position > at_first.position))
        .join(first, first.id == at_first.completion_id)
        .join(second, second.id == at_second.completion_id)
        .order_by(Judgement.id, at_first.position, at_second.position)
    )  # fmt: skip


def _pairs(rows: Sequence[Any], counted_as: Any) -> Iterator[JudgedPair]:
    for row in rows:
        record = _record(row)
        if record is None:
            continue
        learnt = counted_as(row)
        if learnt is not None:
            record = replace(record, preference=learnt[2], weight=learnt[3])
        yield JudgedPair(row.id, row.kind, record, learnt)


def _counted_as(row: Any, weight_of: Mapping[int, float], beliefs: Beliefs | None) -> Learnt | None:
    """Records to train on alone are soft labels; what models are measured on stays what was said."""
    weight = weight_of[row.annotator_id] if row.kind == "machine" else 1.0
    belief = beliefs.of_pairs.get((row.id, row.position_a, row.position_b)) if beliefs is not None else None
    if belief is not None and row.split == "train":
        return [row.position_a, row.position_b, float(belief.preference), float(belief.weight)]
    if weight == 1.0:
        return None
    said = _said(row)
    assert said is not None
    return [row.position_a, row.position_b, said, weight]


def _kept_as(row: Any) -> Learnt | None:
    for learnt in row.learnt or ():
        if (learnt[0], learnt[1]) == (row.position_a, row.position_b):
            return [*learnt[:2], float(learnt[2]), float(learnt[3])]
    return None


def _said(row: Any) -> float | None:
    ranks = row.ranks and (row.ranks[row.position_a], row.ranks[row.position_b])
    return first_is_better(row.answer_type, row.preference, ranks)


def _record(row: Any) -> PreferenceRecord | None:
    """What was said in a judgement of two responses; None where nothing was."""
    probability = _said(row)
    if probability is None:
        return None
    is_alone = row.ranks is None or row.kind == "machine"
    return PreferenceRecord(
        prompt_id=str(row.prompt_id),
        prompt=conversation(row.messages),
        response_a=row.text_a,
        response_b=row.text_b,
        preference=probability,
        weight=1.0,
        split=cast(Split, row.split),
        source=f"{row.kind}:{row.id}",
        group="" if is_alone else f"{row.kind}:{row.id}",
        strength=_strength(row.answer_type, row.preference) if _is_strength_said(row) else None,
        criteria={name: (side + 1) / 2 for name, side in sorted(row.criteria.items())},
        safe_a=None if row.safe is None else row.safe[0],
        safe_b=None if row.safe is None else row.safe[1],
        less_harmful=None if row.less_harmful is None else (row.less_harmful + 1) / 2,
    )


def _is_strength_said(row: Any) -> bool:
    """Of an imported pair only where its file said it."""
    return row.kind != "imported" or bool(row.strength_said)


def _strength(answer_type: str, preference: int | None) -> float | None:
    """How much better, between the least and the most of the scale's levels."""
    if not preference:
        return None
    return (abs(preference) - 1) / (LEVELS[answer_type] - 1)
