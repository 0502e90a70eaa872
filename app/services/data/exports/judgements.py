"""Everything that people said of the tasks in a dataset version, one row for each judgement, as it was given.

Every column has a value of one type in every row, for whoever loads them infers types from the first ones.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import (
    Completion,
    DatasetJudgement,
    DatasetVersion,
    Demonstration,
    Judgement,
    Prompt,
    Task,
    TaskCompletion,
)
from app.services.data.exports.annotations import called, pseudonyms
from app.services.data.exports.schema import JudgementSchema
from app.services.data.exports.trl_preference import yes_or_no
from app.services.judging.answers import WITH_RESPONSE
from app.services.judging.columns import EXPORTED

BATCH = 500
# Where a number is missing that may well be 0.
NO_NUMBER = -1
SIDES = {1: "first", 0: "tie", -1: "second", None: ""}


async def rows(db: AsyncSession, version: DatasetVersion) -> AsyncIterator[Json]:
    """In the order of the judgements. All of it is by response, in the task's own order: `responses[0]` is position 0.

    `shown_order[0]` is the position that was shown as A; `annotator` is a pseudonym within the project. `choice` and
    `preference` are 0 where there was no scale; `ranks` are there of pairs, as well, and 0 for what is unranked.
    `criteria` and `flags` are objects as text, since their names differ by project. A time or number that wasn't taken
    is -1, a text empty.
    """
    names = await pseudonyms(db, version.project_id)
    held = exists().where(
        DatasetJudgement.judgement_id == Judgement.id, DatasetJudgement.dataset_version_id == version.id
    )
    after = 0
    while batch := await _batch(db, held & (Judgement.id > after)):
        for row in await _rows(db, batch, names):
            yield row
        after = batch[-1][0].id


async def rows_of(db: AsyncSession, project_id: int, judgement_ids: Sequence[int]) -> dict[int, Json]:
    """Rows of some judgements, by judgement, whether or not a version holds them."""
    if not judgement_ids:
        return {}
    batch = await _batch(db, Judgement.id.in_(judgement_ids), most=len(judgement_ids))
    found = await _rows(db, batch, await pseudonyms(db, project_id))
    return {row["judgement_id"]: row for row in found}


async def _rows(db: AsyncSession, batch: Sequence[Any], names: Mapping[int, str]) -> list[Json]:
    responses = await _responses(db, [judgement.task_id for judgement, *_ in batch])
    return [
        {
            "judgement_id": judgement.id,
            "annotator": called(names, judgement.annotator_id, judgement.source_annotator),
            "prompt": messages,
            "responses": responses[judgement.task_id],
            **{column: _typed(judgement, column) for column in EXPORTED},
            "better_response": written or "",
            "better_response_of": _number(origin),
            "served_at": judgement.served_at.isoformat() if judgement.served_at else "",
            "submitted_at": judgement.submitted_at.isoformat(),
        }
        for judgement, messages, written, origin in batch
    ]


def _typed(judgement: Judgement, column: str) -> object:
    """A column's value. Of an imported pair no file said how much better: it is given as a ranking of two."""
    value = getattr(judgement, column)
    if column == "ranks":
        return _ranks(value, judgement.preference)
    is_ranked = judgement.kind == "imported" and judgement.choice is not None and not judgement.strength_said
    if column in ("choice", "preference"):
        return 0 if is_ranked else value or 0
    if column == "answer_type" and is_ranked:
        return "ranking"
    if column in ("acceptable", "safe"):
        return [yes_or_no(truth) for truth in value or [None] * len(judgement.shown_order)]
    return _TYPED[column](value) if column in _TYPED else value


def _ranks(ranks: Sequence[int | None] | None, preference: int | None) -> list[int]:
    if ranks is not None:
        return [rank or 0 for rank in ranks]
    return [1, 1] if not preference else [1, 2] if preference > 0 else [2, 1]


def _number(value: int | None) -> int:
    return NO_NUMBER if value is None else value


def _text(value: str | None) -> str:
    return value or ""


def _object(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _side(value: int | None) -> str:
    return SIDES[value]


_TYPED: Mapping[str, Callable[[Any], object]] = {
    "criteria": _object,
    "flags": _object,
    "less_harmful": _side,
    "rationale": _text,
    "first_action_ms": _number,
    "active_ms": _number,
    "visits": _number,
}


async def _batch(db: AsyncSession, condition: ColumnElement[bool], *, most: int = BATCH) -> list[Any]:
    """The next judgements with prompt, the better response that came with each, and the position it was made of."""
    found = await db.execute(
        select(Judgement, Prompt.messages, Demonstration.text, TaskCompletion.position)
        .select_from(WITH_RESPONSE)
        .join(Task, Task.id == Judgement.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(condition)
        .order_by(Judgement.id)
        .limit(most)
    )
    return list(found.all())


async def _responses(db: AsyncSession, task_ids: list[int]) -> dict[int, list[str]]:
    texts = await db.execute(
        select(TaskCompletion.task_id, Completion.text)
        .join(Completion, Completion.id == TaskCompletion.completion_id)
        .where(TaskCompletion.task_id.in_(set(task_ids)))
        .order_by(TaskCompletion.task_id, TaskCompletion.position)
    )
    found: dict[int, list[str]] = {}
    for task_id, text in texts:
        found.setdefault(task_id, []).append(text)
    return found


SCHEMA = JudgementSchema(name="judgements", called="judgements", kind="preferences", rows=rows)
