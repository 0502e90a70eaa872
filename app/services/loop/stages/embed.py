"""Embed: the policy in use reads what people may be asked about, so that a head on it can say what teaches most."""

from functools import partial

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Completion, ModelVersion, Project, Prompt, Task, TaskCompletion
from app.phrases import phrase
from app.services.loop import round_rows
from app.services.loop.stages.figures import Words
from app.services.loop.stages.parts import (
    is_short_of_pairs,
    model_folders,
    policy_in_use,
    required,
    with_config,
)
from app.services.loop.stages.stage import Inputs, Next, Outcome, Settings, TrainingStage, Work
from app.services.selection.rules import RULES
from training.records import Message, ResponseRecord

MOST_RESPONSES = 80_000
"""The newest: 10,000 prompts of eight."""


async def inputs_for(db: AsyncSession, project: Project) -> Json:
    """Raises Conflict while no policy is in use."""
    return {"policy_id": (await policy_in_use(db, project)).id}


def is_wanted(settings: Settings) -> bool:
    """Whether anybody would ask the features."""
    return RULES[settings.selection.rule].learns


async def _by_hand(db: AsyncSession, project: Project, _settings: Settings) -> Json:
    return await inputs_for(db, project)


async def _gather(work: Work) -> Inputs:
    """What may be asked about, and what was: a head learns from the one what it says of the other."""
    is_shown = exists().where(
        TaskCompletion.completion_id == Completion.id, Task.id == TaskCompletion.task_id, Task.purpose == "label"
    )
    is_free = (Completion.source == "policy") & ModelVersion.promoted_at.is_not(None)
    rows = await work.db.execute(
        select(Completion.id, Completion.prompt_id, Completion.text, Prompt.messages)
        .join(Prompt, Prompt.id == Completion.prompt_id)
        .outerjoin(ModelVersion, ModelVersion.id == Completion.model_version_id)
        .where(
            Prompt.project_id == work.project.id,
            Prompt.split.in_(("train", "validation")),
            Prompt.erased_at.is_(None),
            Completion.erased_at.is_(None),
            Completion.text != "",
            is_free | is_shown,
        )
        .order_by(Completion.id.desc())
        .limit(MOST_RESPONSES)
    )
    responses = [
        ResponseRecord(
            str(completion_id), str(prompt_id), tuple(Message.from_json(message) for message in messages), text
        )
        for completion_id, prompt_id, text, messages in rows
    ]
    config = await model_folders(work, "policy")
    return Inputs(config, {"responses": required(responses, "response to read")})


async def _take_over(work: Work, _outcome: Outcome) -> Next | None:
    """What it read may be asked about from now on."""
    if await round_rows.active(work.db, work.project.id) is not None:
        return None
    return Next("select") if await is_short_of_pairs(work.db, work.project, work.settings) else None


EMBED = TrainingStage(
    name="embed",
    title=phrase("Read the responses"),
    by_hand=_by_hand,
    run_settings=partial(with_config, "embed"),
    gather=_gather,
    take_over=_take_over,
    pairs_wait=True,
    own_figures={"responses_dropped": Words(phrase("Responses too long to read"), "count")},
)
