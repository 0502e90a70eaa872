"""Evaluate: a policy and the one it started from answer the same prompts."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import ModelVersion, Project, Round
from app.errors import Conflict
from app.phrases import phrase
from app.services.data import datasets
from app.services.loop.comparisons import duels
from app.services.loop.gates.gate_bounds import VoteBounds
from app.services.loop.models import models
from app.services.loop.stages.parts import answerable, model_folders, policy_in_use, prompts, required, sample, to_use
from app.services.loop.stages.stage import TIME, Inputs, Next, Outcome, Settings, TrainingStage, Usual, Work
from app.services.projects.question import question_of
from training.records import DuelRecord, PromptRecord

DEMONSTRATIONS = 200
"""Held-out ones that policy and reference read, at most."""


async def inputs_for(db: AsyncSession, project: Project, policy: ModelVersion) -> Json:
    """Ids of the models; judged by the reward model of the policy's training, or by today's if it had none.

    Raises Conflict for a policy that was not trained on judgements.
    """
    if policy.reference_id is None:
        raise Conflict("There is no policy yet that was trained on judgements.")
    return {
        "policy_id": policy.id,
        "reference_id": policy.reference_id,
        "reward_id": policy.reward_id or (await to_use(db, project, "reward")).id,
        "cost_id": policy.cost_id,
    }


async def duel_inputs_for(
    db: AsyncSession, project: Project, policy: ModelVersion, reward_id: int, bounds: VoteBounds
) -> Json:
    """Ids of the models of duels with the policy in use, whose responses people will compare with the new one's."""
    in_use = await policy_in_use(db, project)
    return {
        "policy_id": policy.id,
        "reference_id": in_use.id,
        "reward_id": reward_id,
        "cost_id": None,
        "duels": bounds.model_dump(),
    }


async def _by_hand(db: AsyncSession, project: Project, _settings: Settings) -> Json:
    policy = await models.promoted(db, project.id)
    if policy is None:
        raise Conflict("There is no policy yet that was trained on judgements.")
    return await inputs_for(db, project, policy)


def _run_settings(_project: Project, settings: Settings, inputs: Json) -> Json:
    """A prompt stands among those of duels as often as it was drawn."""
    config = settings.of_stage("evaluate")
    if "duels" in inputs:
        config = {**config, "samples_per_prompt": 1}
    return {"config": config, "prompts": settings.evaluate_prompts}


async def _gather(work: Work) -> Inputs:
    """Prompts of validation, or of training where there are none."""
    asked = await _asked(work)
    config = await model_folders(work, "policy", "reference", "reward", "cost")
    if "duels" in work.run.settings:
        size = question_of(work.project).size
        return Inputs(config, {"prompts": duels.drawn(work.random(), asked, _bounds(work), size)})
    shown = await datasets.demonstrations(work.db, work.project.id, "validation")
    known = {"demonstrations": sample(work, shown, DEMONSTRATIONS)} if shown else {}
    return Inputs(config, {"prompts": sample(work, asked, work.run.settings["prompts"]), **known})


async def _asked(work: Work) -> Sequence[PromptRecord]:
    found = await prompts(work, "validation") or await prompts(work, "train")
    return required(found, "prompt to answer")


async def _take_over(work: Work, outcome: Outcome) -> Next | None:
    """The policy's figures are those that were measured last; of duels, tasks."""
    if "duels" in work.run.settings:
        await _make_duels(work, outcome)
        return None
    version = await work.db.get_one(ModelVersion, work.run.settings["policy_id"])
    version.figures = {**version.figures, **outcome.result}
    await work.db.flush()
    return None


async def _make_duels(work: Work, outcome: Outcome) -> None:
    written = [cast(DuelRecord, record) for record in outcome.records]
    there = await answerable(work, map(duels.prompt_of, written))
    await duels.make_tasks(
        work.db,
        work.project,
        await work.db.get_one(Round, work.run.round_id),
        [record for record in written if duels.prompt_of(record) in there],
        _bounds(work),
        policies=(work.run.settings["policy_id"], work.run.settings["reference_id"]),
        run_id=work.run.id,
        propensity=duels.propensity(len(await _asked(work)), _bounds(work)),
        rng=work.random(),
    )


def _bounds(work: Work) -> VoteBounds:
    return VoteBounds.model_validate(work.run.settings["duels"])


EVALUATE = TrainingStage(
    name="evaluate",
    title=phrase("Evaluate"),
    by_hand=_by_hand,
    run_settings=_run_settings,
    gather=_gather,
    take_over=_take_over,
    leaves=("duels.jsonl", DuelRecord),
    defaults={"samples_per_prompt": 4},
    usual=(
        Usual("samples_per_prompt", phrase("Responses to each prompt"), TIME),
        Usual("temperature", phrase("Temperature")),
        Usual("max_new_tokens", phrase("Longest response, in tokens"), TIME),
    ),
    figures=(
        "proxy_win_rate",
        "kl",
        "length_ratio",
        "eos_rate",
        "reward",
        "reference_reward",
        "paid_gain",
        "second_gain",
        "demonstration_loss",
        "distinct_2",
        "cost",
        "unsafe_share",
        "reference_cost",
    ),
)
