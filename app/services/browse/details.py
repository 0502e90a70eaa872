"""One prompt with all that was made of it, one task with all that was said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import (
    Completion,
    DatasetJudgement,
    DatasetVersion,
    Demonstration,
    GoldAnswer,
    Judgement,
    ModelVersion,
    Project,
    Prompt,
    Round,
    Task,
    TaskCompletion,
    User,
)
from app.errors import NotFound

MOST = 200
"""Responses, tasks or demonstrations of one prompt that are shown, newest first."""


@dataclass(frozen=True)
class ResponseOf:
    """A response with who wrote it: `policy` is the number of the version, where a policy did."""

    completion: Completion
    policy: int | None


@dataclass(frozen=True)
class PromptDetail:
    """A prompt with its newest responses, tasks and demonstrations, at most `MOST` of each."""

    prompt: Prompt
    responses: Sequence[ResponseOf]
    tasks: Sequence[Task]
    demonstrations: Sequence[Demonstration]


@dataclass(frozen=True)
class TaskDetail:
    """A task with its responses by position, and every judgement of it with its author's name.

    `given_to` is whom an owner keeps it for. `held_by` are the numbers of the dataset versions that hold a judgement,
    by the judgement's id.
    """

    task: Task
    prompt: Prompt
    given_to: User | None
    round: int | None
    gold: GoldAnswer | None
    responses: Sequence[ResponseOf]
    judgements: Sequence[tuple[Judgement, str | None]]
    held_by: Mapping[int, Sequence[int]]


async def prompt_of(db: AsyncSession, project: Project, prompt_id: int) -> PromptDetail:
    """Raises NotFound for a prompt of another project, too."""
    prompt = await db.scalar(select(Prompt).where(Prompt.id == prompt_id, Prompt.project_id == project.id))
    if prompt is None:
        raise NotFound
    newest = select(Completion.id).where(Completion.prompt_id == prompt.id).order_by(Completion.id.desc()).limit(MOST)
    tasks = select(Task).where(Task.prompt_id == prompt.id).order_by(Task.id.desc()).limit(MOST)
    shown = select(Demonstration).where(Demonstration.prompt_id == prompt.id).order_by(Demonstration.id.desc())
    return PromptDetail(
        prompt,
        await _responses(db, Completion.id.in_(newest)),
        (await db.scalars(tasks)).all(),
        (await db.scalars(shown.limit(MOST))).all(),
    )


async def task_of(db: AsyncSession, project: Project, task_id: int) -> TaskDetail:
    """Raises NotFound for a task of another project, too."""
    found = (
        await db.execute(
            select(Task, Prompt, User, Round.number, GoldAnswer)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .outerjoin(User, User.id == Task.reserved_for_id)
            .outerjoin(Round, Round.id == Task.round_id)
            .outerjoin(GoldAnswer, GoldAnswer.task_id == Task.id)
            .where(Task.id == task_id, Task.project_id == project.id)
        )
    ).first()
    if found is None:
        raise NotFound
    task, prompt, given_to, number, gold = found
    judgements = await db.execute(
        select(Judgement, User.name)
        .outerjoin(User, User.id == Judgement.annotator_id)
        .where(Judgement.task_id == task.id)
        .order_by(Judgement.id)
    )
    positions = select(TaskCompletion.completion_id).where(TaskCompletion.task_id == task.id)
    by_id = {entry.completion.id: entry for entry in await _responses(db, Completion.id.in_(positions))}
    ordered = await db.scalars(positions.order_by(TaskCompletion.position))
    return TaskDetail(
        task,
        prompt,
        given_to,
        number,
        gold,
        [by_id[place] for place in ordered],
        [(judgement, name) for judgement, name in judgements],
        await _held_by(db, task.id),
    )


async def _responses(db: AsyncSession, which: Any) -> list[ResponseOf]:
    rows = await db.execute(
        select(Completion, ModelVersion.number)
        .outerjoin(ModelVersion, ModelVersion.id == Completion.model_version_id)
        .where(which)
        .order_by(Completion.id)
    )
    return [ResponseOf(completion, number) for completion, number in rows]


async def _held_by(db: AsyncSession, task_id: int) -> dict[int, list[int]]:
    rows = await db.execute(
        select(DatasetJudgement.judgement_id, DatasetVersion.number)
        .join(Judgement, Judgement.id == DatasetJudgement.judgement_id)
        .join(DatasetVersion, DatasetVersion.id == DatasetJudgement.dataset_version_id)
        .where(Judgement.task_id == task_id)
        .order_by(DatasetVersion.number)
    )
    held: dict[int, list[int]] = {}
    for judgement_id, number in rows:
        held.setdefault(judgement_id, []).append(number)
    return held
