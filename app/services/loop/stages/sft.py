"""SFT: a policy that imitates demonstrations, the one that everything else starts from."""

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Demonstration, Project, Prompt
from app.errors import Conflict
from app.phrases import phrase
from app.services.data import datasets
from app.services.loop.gates import gates
from app.services.loop.gates.gate_bounds import FirstPolicyBounds
from app.services.loop.models import models
from app.services.loop.stages.charts import GRADIENT_NORM, PACE, PER_TOKEN
from app.services.loop.stages.parts import decide, register, with_config
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


async def _by_hand(db: AsyncSession, project: Project, _settings: Settings) -> Json:
    demonstrated = exists().where(Demonstration.prompt_id == Prompt.id, Prompt.project_id == project.id)
    if not await db.scalar(select(demonstrated)):
        raise Conflict("There is no demonstration to learn from.")
    return {"model": project.policy_source}


def _run_settings(project: Project, settings: Settings, inputs: Json) -> Json:
    return {**with_config("sft", project, settings, inputs), "bounds": settings.first_policy_gate.model_dump()}


async def _gather(work: Work) -> Inputs:
    dataset = await datasets.cut_demonstrations(work.db, work.project, home=work.home, run_id=work.run.id)
    work.run.settings = {**work.run.settings, "dataset_version_id": dataset.id}
    held_out = await datasets.demonstrations(work.db, work.project.id, "validation")
    config = {"model": work.run.settings["model"], "demonstrations": str(work.home / dataset.path)}
    return Inputs(config, {"held_out": held_out} if held_out else {})


async def _take_over(work: Work, outcome: Outcome) -> Next | None:
    """The project's first policy is put into use if it passes its gate, and writes the first pairs; a later one waits
    to be chosen."""
    version = await register(work, outcome)
    bounds = FirstPolicyBounds.model_validate(work.run.settings.get("bounds", {}))
    passed = await decide(work, version, gates.first_policy_rules(version.figures, bounds))
    if not passed or await models.promoted(work.db, work.project.id) is not None:
        return None
    await models.promote(work.db, work.run.started_by_id, version, reason="The first policy.")
    return Next("generate", work.run.started_by_id)


SFT = TrainingStage(
    name="sft",
    title=phrase("SFT"),
    makes="policy",
    by_hand=_by_hand,
    button=Button(title=phrase("Train on the demonstrations"), about=phrase("a new starting policy")),
    run_settings=_run_settings,
    gather=_gather,
    take_over=_take_over,
    usual=(
        Usual("epochs", phrase("Passes over the demonstrations"), TIME),
        Usual("learning_rate", phrase("Learning rate")),
        Usual("max_length", phrase("Longest demonstration, in tokens"), MEMORY),
        Usual("batch_tokens", phrase("Tokens of one step"), MEMORY),
    ),
    charts=(
        Chart("loss", phrase("Loss"), PER_TOKEN, from_zero=True),
        GRADIENT_NORM,
        Chart("learning_rate", phrase("Learning rate"), from_zero=True),
        *PACE,
    ),
    figures=(
        "nll",
        "unigram_nll",
        "unigram_gain",
        "demonstrations",
        "demonstrations_dropped",
        "held_out_demonstrations",
        "parameters",
        "steps",
    ),
)
