"""Everything that people said of the tasks in a dataset version, one row for each judgement, as it was given."""

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import select
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
from app.services.data.exports.annotations import pseudonyms
from app.services.data.exports.schema import JudgementSchema
from app.services.judging.answers import WITH_RESPONSE
from app.services.judging.columns import EXPORTED

BATCH = 500


async def rows(db: AsyncSession, version: DatasetVersion) -> AsyncIterator[Json]:
    """In the order of the judgements. All of it is by response, in the task's own order: `responses[0]` is position 0.

    `shown_order[0]` is the position that was shown as A; `annotator` is a pseudonym within the project.
    """
    names = await pseudonyms(db, version.project_id)
    after = 0
    while batch := await _batch(db, version.id, after):
        responses = await _responses(db, [judgement.task_id for judgement, *_ in batch])
        for judgement, messages, written, origin in batch:
            yield {
                "judgement_id": judgement.id,
                "annotator": names[judgement.annotator_id],
                "prompt": messages,
                "responses": responses[judgement.task_id],
                **{column: getattr(judgement, column) for column in EXPORTED},
                "better_response": written,
                "better_response_of": origin,
                "served_at": judgement.served_at and judgement.served_at.isoformat(),
                "submitted_at": judgement.submitted_at.isoformat(),
            }
        after = batch[-1][0].id


async def _batch(db: AsyncSession, version_id: int, after: int) -> list[Any]:
    """The next judgements with prompt, the better response that came with each, and the position it was made of."""
    found = await db.execute(
        select(Judgement, Prompt.messages, Demonstration.text, TaskCompletion.position)
        .select_from(WITH_RESPONSE)
        .join(DatasetJudgement, DatasetJudgement.judgement_id == Judgement.id)
        .join(Task, Task.id == Judgement.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(DatasetJudgement.dataset_version_id == version_id, Judgement.id > after)
        .order_by(Judgement.id)
        .limit(BATCH)
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
