"""The reward model: it learns to score as people judged."""

from typing import cast

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Project
from app.phrases import phrase
from app.services.data import datasets
from app.services.loop.comparisons import scored_pairs
from app.services.loop.models import models
from app.services.loop.stages.charts import COIN, GRADIENT_NORM, PACE, SAMPLE_LENGTH, TRAINING_ACCURACY
from app.services.loop.stages.figures import CROSS_VALIDATED, HELD_OUT_PAIRS, JUDGED
from app.services.loop.stages.parts import (
    model_folders,
    preferences,
    prompts,
    reference,
    register,
    require_judgements,
    required,
    with_config,
)
from app.services.loop.stages.stage import (
    MEMORY,
    TIME,
    Button,
    Chart,
    Inputs,
    Next,
    Outcome,
    Settings,
    TrainingStage,
    Usual,
    Work,
)
from training.records import ScoredPairRecord

EXAMINED_PROMPTS = 16
"""Which the policy answers 64 times each."""


async def inputs_for(db: AsyncSession, project: Project, dataset_version_id: int | None) -> Json:
    """Without a dataset version the run cuts one of what people have said by then."""
    policy = await reference(db, project)
    previous = await models.promoted(db, project.id, "reward")
    return {
        "policy_id": policy.id,
        "dataset_version_id": dataset_version_id,
        "previous_reward_id": previous.id if previous else None,
    }


async def gather(work: Work, *roles: str) -> Inputs:
    """What a model of people's judgements reads, with the models by `roles`."""
    said = await preferences(work)
    config = await model_folders(work, *roles)
    files = {"prompts": required(await prompts(work, "train"), "prompt to train on")}
    if work.run.settings["config"].get("normalise_over") != "demonstrations":
        return Inputs({**config, "preferences": str(said)}, files)
    shown = await datasets.demonstrations(work.db, work.project.id, "train")
    demonstrations = required(shown, "demonstration to normalise over")
    return Inputs({**config, "preferences": str(said)}, {**files, "demonstrations": demonstrations})


async def _by_hand(db: AsyncSession, project: Project, _settings: Settings) -> Json:
    await require_judgements(db, project)
    return await inputs_for(db, project, None)


def _run_settings(project: Project, settings: Settings, inputs: Json) -> Json:
    """What the gate will want to know where validation pairs are few is measured."""
    chosen = with_config("reward", project, settings, inputs)["config"]
    usual = {"cross_validate_below_pairs": settings.reward_gate.min_pairs, "examined_prompts": EXAMINED_PROMPTS}
    return {"config": {**usual, **chosen}}


async def _gather(work: Work) -> Inputs:
    return await gather(work, "policy", "previous_reward")


async def _take_over(work: Work, outcome: Outcome) -> Next | None:
    """A candidate with the scores of its pairs, and figures of those that chance chose."""
    version = await register(work, outcome)
    await scored_pairs.store(work.db, version, [cast(ScoredPairRecord, record) for record in outcome.records])
    version.figures = {**version.figures, **await scored_pairs.standing(work.db, version.id)}
    await work.db.flush()
    return None


REWARD = TrainingStage(
    name="reward",
    title=phrase("Reward model"),
    makes="reward",
    by_hand=_by_hand,
    button=Button(title=phrase("Retrain the reward model"), about=phrase("on all judgements there are")),
    run_settings=_run_settings,
    gather=_gather,
    take_over=_take_over,
    leaves=("scored_pairs.jsonl", ScoredPairRecord),
    usual=(
        Usual("method", phrase("Way to learn")),
        Usual("finetune_epochs", phrase("Passes over the judgements"), TIME),
        Usual("finetune_learning_rate", phrase("Learning rate")),
        Usual("heads", phrase("Members of the ensemble")),
        Usual("label_noise", phrase("Share of judgements taken to be wrong")),
        Usual("max_length", phrase("Longest prompt with response, in tokens"), MEMORY),
    ),
    charts=(
        Chart("loss", phrase("Loss"), phrase("nats"), True, COIN, phrase("a coin's")),
        Chart("distil_loss", phrase("Distance from the teacher"), phrase("squared score"), from_zero=True),
        TRAINING_ACCURACY,
        GRADIENT_NORM,
        SAMPLE_LENGTH,
        *PACE,
    ),
    figures=(
        *HELD_OUT_PAIRS,
        *CROSS_VALIDATED,
        *JUDGED,
        "pairs_dropped",
        "accuracy_difference",
        "previous_accuracy",
        "teacher_accuracy",
        "student_teacher_correlation",
        "probes_right",
        "probes_worst",
        "best_of_kept",
    ),
)
