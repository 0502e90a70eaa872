"""The judgements of a dataset version with all that they are about, read from the database."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.db.base import Json
from app.db.tables import (
    Completion,
    DatasetJudgement,
    Demonstration,
    Judgement,
    ModelVersion,
    Prompt,
    Round,
    ServedModel,
    Task,
    TaskCompletion,
)
from app.services.data import datasets
from app.services.data.exports.annotations import called, pseudonyms
from app.services.data.exports.filters import SPLIT_THEN, narrowed
from app.services.data.exports.schema import Reading
from app.services.judging.answers import WITH_RESPONSE

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Written:
    """A response and who wrote it: a policy or a served model by its name, what a file called it, `person` or
    `starter`; empty where a file didn't say.
    """

    text: str
    model: str


@dataclass(frozen=True, slots=True)
class Said:
    """A judgement. `responses` are by position; `annotator` is a pseudonym within the project. `selection` is how its
    task was chosen, `round` the number of the round that chose it. A better response that came with the judgement is
    `written`, made of the one at position `edited_from`.
    """

    judgement: Judgement
    annotator: str
    prompt: list[Json]
    split: str
    topic: str
    tags: tuple[str, ...]
    responses: tuple[Written, ...]
    selection: Json
    round: int | None
    written: str | None
    edited_from: int | None

    @property
    def preference(self) -> int | None:
        """How much better the first of two is: above 0 where it is better, 0 for a tie. None where nobody said."""
        judgement = self.judgement
        if len(self.responses) != 2:
            return None
        if judgement.preference is not None:
            return judgement.preference
        first, second = judgement.ranks or (None, None)
        if first is None or second is None:
            return None if first is second else 1 if second is None else -1
        return (second > first) - (second < first)


async def said(reading: Reading) -> AsyncGenerator[list[Said]]:
    """In the order of the judgements. Raises ErasedFrom."""
    async with aclosing(_said(reading, Judgement.id)) as found:
        async for some in found:
            yield some


async def said_of_tasks(reading: Reading) -> AsyncGenerator[list[list[Said]]]:
    """What was said of each task, in the order of the tasks and of the judgements."""
    held: list[Said] = []
    async with aclosing(_said(reading, Judgement.task_id, Judgement.id)) as found:
        async for some in found:
            held += some
            tasks = [list(of_one) for _, of_one in groupby(held, lambda one: one.judgement.task_id)]
            held = tasks.pop()
            yield tasks
    if held:
        yield [held]


async def said_in(db: AsyncSession, project_id: int, judgement_ids: Sequence[int]) -> list[Said]:
    """Some judgements of a project, whether or not a version holds them."""
    names = await pseudonyms(db, project_id)
    wanted = _statement(Prompt.split).where(Judgement.id.in_(judgement_ids)).order_by(Judgement.id)
    rows = list(await db.execute(wanted)) if judgement_ids else []
    responses = await _responses(db, [row.Judgement.task_id for row in rows])
    return [_one(row, names, responses) for row in rows]


async def _said(reading: Reading, *order: InstrumentedAttribute[int]) -> AsyncGenerator[list[Said]]:
    datasets.require_whole(reading.version)
    names = await pseudonyms(reading.db, reading.version.project_id)
    wanted = _held(reading.version.id).where(*await narrowed(reading.db, reading.version, reading.filters))
    found = await reading.db.stream(wanted.order_by(*order))
    async for rows in found.partitions(AT_ONCE):
        responses = await _responses(reading.db, [row.Judgement.task_id for row in rows])
        yield [_one(row, names, responses) for row in rows]


def _one(row: Any, names: dict[int, str], responses: dict[int, tuple[Written, ...]]) -> Said:
    judgement = row.Judgement
    return Said(
        judgement=judgement,
        annotator=called(names, judgement.annotator_id, judgement.source_annotator),
        prompt=row.messages,
        split=row.split,
        topic=row.topic or "",
        tags=tuple(row.tags),
        responses=responses[judgement.task_id],
        selection=row.selection,
        round=row.number,
        written=row.text,
        edited_from=row.position,
    )


def _held(version_id: int) -> Select[*tuple[Any, ...]]:
    """In the splits that they had when the version was cut."""
    return (
        _statement(SPLIT_THEN)
        .join(DatasetJudgement, DatasetJudgement.judgement_id == Judgement.id)
        .where(DatasetJudgement.dataset_version_id == version_id)
    )


def _statement(split: Any) -> Select[*tuple[Any, ...]]:
    return (
        select(
            Judgement, Prompt.messages, split.label("split"), Prompt.topic, Prompt.tags, Task.selection, Round.number,
            Demonstration.text, TaskCompletion.position,
        )
        .select_from(WITH_RESPONSE)
        .join(Task, Task.id == Judgement.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .outerjoin(Round, Round.id == Task.round_id)
    )  # fmt: skip


async def _responses(db: AsyncSession, task_ids: Sequence[int]) -> dict[int, tuple[Written, ...]]:
    rows = await db.execute(
        select(
            TaskCompletion.task_id,
            Completion.text,
            Completion.source,
            Completion.source_model,
            ModelVersion.number,
            ServedModel.name,
        )
        .join(Completion, Completion.id == TaskCompletion.completion_id)
        .outerjoin(ModelVersion, ModelVersion.id == Completion.model_version_id)
        .outerjoin(ServedModel, ServedModel.id == Completion.served_model_id)
        .where(TaskCompletion.task_id.in_(set(task_ids)))
        .order_by(TaskCompletion.task_id, TaskCompletion.position)
    )
    found: dict[int, list[Written]] = {}
    for row in rows:
        found.setdefault(row.task_id, []).append(Written(row.text, _writer(row)))
    return {task_id: tuple(written) for task_id, written in found.items()}


def _writer(row: Any) -> str:
    if row.source == "policy":
        return f"policy-{row.number}"
    if row.source == "imported":
        return row.source_model or ""
    return row.name if row.source == "served" else str(row.source)
