"""Evaluate: a policy and the one it started from answer the same prompts."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import ModelVersion, Project
from app.errors import Conflict
from app.phrases import phrase
from app.services.loop import models
from app.services.loop.stages.parts import model_folders, prompts, required, sample, to_use
from app.services.loop.stages.stage import TIME, Inputs, Next, Outcome, Settings, TrainingStage, Usual, Work


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


async def _by_hand(db: AsyncSession, project: Project, _settings: Settings) -> Json:
    policy = await models.promoted(db, project.id)
    if policy is None:
        raise Conflict("There is no policy yet that was trained on judgements.")
    return await inputs_for(db, project, policy)


def _run_settings(_project: Project, settings: Settings, _inputs: Json) -> Json:
    return {"config": settings.of_stage("evaluate"), "prompts": settings.evaluate_prompts}


async def _gather(work: Work) -> Inputs:
    """Prompts of validation, or of training where there are none."""
    asked = required(await prompts(work, "validation") or await prompts(work, "train"), "prompt to answer")
    config = await model_folders(work, "policy", "reference", "reward", "cost")
    return Inputs(config, {"prompts": sample(work, asked, work.run.settings["prompts"])})


async def _take_over(work: Work, outcome: Outcome) -> Next | None:
    """The policy's figures are those that were measured last."""
    version = await work.db.get_one(ModelVersion, work.run.settings["policy_id"])
    version.figures = {**version.figures, **outcome.result}
    await work.db.flush()
    return None


EVALUATE = TrainingStage(
    name="evaluate",
    title=phrase("Evaluate"),
    by_hand=_by_hand,
    run_settings=_run_settings,
    gather=_gather,
    take_over=_take_over,
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
        "distinct_2",
        "cost",
        "unsafe_share",
        "reference_cost",
    ),
)
