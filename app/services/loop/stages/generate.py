"""Generate: the policy in use writes the responses that people compare next."""

from typing import cast

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Completion, Project
from app.phrases import phrase
from app.services.loop import round_rows
from app.services.loop.stages import embed
from app.services.loop.stages.parts import (
    answerable,
    is_short_of_pairs,
    model_folders,
    policy_in_use,
    prompts,
    required,
    sample,
)
from app.services.loop.stages.stage import TIME, Button, Inputs, Next, Outcome, Settings, TrainingStage, Usual, Work
from app.services.loop.storable import storable
from app.services.projects.question import question_of
from training.records import CompletionRecord

# Rows of one INSERT: PostgreSQL takes 65,535 parameters, a completion has nine.
INSERT_ROWS = 5_000


async def inputs_for(db: AsyncSession, project: Project) -> Json:
    """Raises Conflict while no policy is in use."""
    return {"policy_id": (await policy_in_use(db, project)).id}


async def _by_hand(db: AsyncSession, project: Project, _settings: Settings) -> Json:
    return await inputs_for(db, project)


def _run_settings(project: Project, settings: Settings, _inputs: Json) -> Json:
    """At least as many samples of every prompt as a task of the project compares."""
    samples = max(settings.samples_per_prompt, question_of(project).size)
    config = {"samples_per_prompt": samples, **settings.of_stage("generate")}
    return {"config": config, "prompts": settings.generate_prompts}


async def _gather(work: Work) -> Inputs:
    asked = required(await prompts(work, "train", "validation"), "prompt to answer")
    config = await model_folders(work, "policy")
    return Inputs(config, {"prompts": sample(work, asked, work.run.settings["prompts"])})


async def _take_over(work: Work, outcome: Outcome) -> Next | None:
    """Put what the policy wrote into the pool, and make pairs of it when people are short of them outside a round."""
    written = [cast(CompletionRecord, record) for record in outcome.records]
    there = await answerable(work, (int(record.prompt_id) for record in written))
    rows = [_row(work, record) for record in written if int(record.prompt_id) in there]
    for first in range(0, len(rows), INSERT_ROWS):
        await work.db.execute(insert(Completion).values(rows[first : first + INSERT_ROWS]).on_conflict_do_nothing())
    if embed.is_wanted(work.settings):
        return Next("embed", work.run.started_by_id)  # which goes on from there
    if work.run.round_id is not None or await round_rows.active(work.db, work.project.id) is not None:
        return None
    short = await is_short_of_pairs(work.db, work.project, work.settings)
    return Next("select") if short else None


def _row(work: Work, completion: CompletionRecord) -> Json:
    return {
        "prompt_id": int(completion.prompt_id),
        "text": storable(completion.text),
        "source": "policy",
        "model_version_id": work.run.settings["policy_id"],
        "run_id": work.run.id,
        "sample": completion.sample,
        "temperature": completion.temperature,
        "token_count": completion.token_count,
        "ended_with_eos": completion.ended_with_eos,
    }


GENERATE = TrainingStage(
    name="generate",
    title=phrase("Generate"),
    by_hand=_by_hand,
    button=Button(title=phrase("Write new responses"), about=phrase("by the policy in use, for the pool")),
    run_settings=_run_settings,
    gather=_gather,
    take_over=_take_over,
    leaves=("completions.jsonl", CompletionRecord),
    usual=(
        Usual("temperature", phrase("Temperature")),
        Usual("max_new_tokens", phrase("Longest response, in tokens"), TIME),
    ),
    figures=("completions", "eos_rate", "prompts_dropped"),
)
