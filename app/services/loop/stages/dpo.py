"""DPO: a policy straight from the judgements, with no reward model between."""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Project
from app.phrases import phrase
from app.services.loop.stages.charts import GRADIENT_NORM, PACE, TRAINING_ACCURACY
from app.services.loop.stages.figures import AGREEMENT
from app.services.loop.stages.parts import (
    REFERENCE_CACHE,
    add_candidate,
    model_folders,
    preferences,
    reference,
    require_judgements,
    with_config,
)
from app.services.loop.stages.stage import MEMORY, TIME, Button, Chart, Inputs, Settings, TrainingStage, Usual, Work


async def from_judgements(db: AsyncSession, project: Project, _settings: Settings) -> Json:
    """Like PPO it starts from the reference and is held near it; the run cuts a dataset version first."""
    await require_judgements(db, project)
    start = await reference(db, project)
    return {"policy_id": start.id, "reference_id": start.id, "dataset_version_id": None}


async def _gather(work: Work) -> Inputs:
    said = await preferences(work)
    config = await model_folders(work, "policy", "reference")
    return Inputs({**config, "preferences": str(said), "reference_cache": str(work.home / REFERENCE_CACHE)})


DPO = TrainingStage(
    name="dpo",
    title=phrase("DPO"),
    makes="policy",
    by_hand=from_judgements,
    button=Button(
        title=phrase("Run DPO"), about=phrase("a policy straight from all judgements, without a reward model")
    ),
    run_settings=partial(with_config, "dpo"),
    gather=_gather,
    take_over=add_candidate,
    usual=(
        Usual("loss", phrase("Loss")),
        Usual("beta", phrase("How close to the reference the policy stays")),
        Usual("epochs", phrase("Passes over the judgements"), TIME),
        Usual("learning_rate", phrase("Learning rate")),
        Usual("lora_rank", phrase("Rank of adapters (0: all weights learn)")),
        Usual("max_length", phrase("Longest prompt with response, in tokens"), MEMORY),
    ),
    charts=(
        Chart("loss", phrase("Loss"), phrase("nats"), from_zero=True),
        TRAINING_ACCURACY,
        Chart("margin", phrase("Implicit reward of the preferred response over the other"), phrase("nats")),
        Chart("chosen_reward", phrase("Implicit reward of preferred responses"), phrase("nats")),
        Chart("rejected_reward", phrase("Implicit reward of the others"), phrase("nats")),
        Chart(
            "kl_k2",
            phrase("Distance from the reference on these responses"),
            phrase("nats per response"),
            from_zero=True,
        ),
        GRADIENT_NORM,
        *PACE,
    ),
    figures=(*AGREEMENT, "margin", "train_pairs", "ties", "steps"),
)
