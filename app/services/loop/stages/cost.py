"""The cost model: it learns which responses are safe, for the limit that PPO keeps."""

from functools import partial

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Judgement, Project
from app.errors import Conflict
from app.phrases import phrase
from app.services import conditions
from app.services.loop.stages.charts import COIN, GRADIENT_NORM, PACE, SAMPLE_LENGTH, TRAINING_ACCURACY
from app.services.loop.stages.figures import HELD_OUT_PAIRS, JUDGED
from app.services.loop.stages.parts import add_candidate, reference, with_config
from app.services.loop.stages.reward import gather
from app.services.loop.stages.stage import MEMORY, TIME, Button, Chart, Inputs, Settings, TrainingStage, Usual, Work


async def inputs_for(db: AsyncSession, project: Project, dataset_version_id: int | None) -> Json:
    """Without a dataset version the run cuts one of what people have said by then."""
    policy = await reference(db, project)
    return {"policy_id": policy.id, "dataset_version_id": dataset_version_id}


async def _by_hand(db: AsyncSession, project: Project, _settings: Settings) -> Json:
    said = exists().where(*conditions.labels_of(project.id), Judgement.safe.is_not(None))
    if not await db.scalar(select(said)):
        raise Conflict("Nobody has said yet which responses are safe.")
    return await inputs_for(db, project, None)


async def _gather(work: Work) -> Inputs:
    """A cost model is compared with none before it."""
    return await gather(work, "policy")


COST = TrainingStage(
    name="cost",
    title=phrase("Cost model"),
    makes="cost",
    by_hand=_by_hand,
    button=Button(
        title=phrase("Retrain the cost model"), about=phrase("on all that was said of harm"), needs_harmlessness=True
    ),
    run_settings=partial(with_config, "cost"),
    gather=_gather,
    take_over=add_candidate,
    usual=(
        Usual("finetune_epochs", phrase("Passes over the judgements"), TIME),
        Usual("finetune_learning_rate", phrase("Learning rate")),
        Usual("max_length", phrase("Longest prompt with response, in tokens"), MEMORY),
    ),
    charts=(
        Chart("loss", phrase("Loss of which is less harmful"), phrase("nats"), True, COIN, phrase("a coin's")),
        Chart("safety_loss", phrase("Loss of what is safe"), phrase("nats, of both responses"), from_zero=True),
        TRAINING_ACCURACY,
        GRADIENT_NORM,
        SAMPLE_LENGTH,
        *PACE,
    ),
    figures=(*HELD_OUT_PAIRS, *JUDGED, "validation_labels", "safety_accuracy", "safe_recognised", "unsafe_recognised"),
)
