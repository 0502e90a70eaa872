"""Adopt: a model that somebody brings becomes the first policy as it is, without demonstrations."""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Project
from app.errors import Conflict
from app.phrases import phrase
from app.services.loop.models import models
from app.services.loop.stages.parts import register, with_config
from app.services.loop.stages.stage import Button, Inputs, Next, Outcome, Settings, TrainingStage, Work


async def _by_hand(_db: AsyncSession, project: Project, _settings: Settings) -> Json:
    if project.policy_source is None:
        raise Conflict("This project has no model to start from: choose one in its settings first.")
    return {"model": project.policy_source}


async def _gather(work: Work) -> Inputs:
    return Inputs({"model": work.run.settings["model"]})


async def _take_over(work: Work, outcome: Outcome) -> Next | None:
    """Where it is the project's first policy it is put into use and writes the first pairs; else it waits to be chosen.

    There is nothing to hold it against: it learnt nothing here.
    """
    version = await register(work, outcome)
    if await models.promoted(work.db, work.project.id) is not None:
        return None
    await models.promote(work.db, work.run.started_by_id, version, reason="The model as it was brought.")
    return Next("generate", work.run.started_by_id)


ADOPT = TrainingStage(
    name="adopt",
    title=phrase("Take over a model"),
    makes="policy",
    by_hand=_by_hand,
    button=Button(title=phrase("Take the model as it is"), about=phrase("a policy without demonstrations")),
    run_settings=partial(with_config, "adopt"),
    gather=_gather,
    take_over=_take_over,
    figures=("parameters",),
)
