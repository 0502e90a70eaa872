"""A model that somebody brings to a project: a run takes it over as it is, and no training is asked for."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, Run
from app.services.loop.chores import lifecycle
from app.services.loop.models import models
from app.services.loop.runs import starting
from app.services.loop.runs.base_models import ModelCard


async def bring(db: AsyncSession, actor_id: int | None, project: Project, card: ModelCard) -> Run:
    """Queue the taking over of a model that was looked at.

    A project without a policy starts from it: it is put into use, and SFT would start from it, too. In any other it
    waits to be chosen. Raises Conflict while a run needs the model that the project starts from.
    """
    if await models.promoted(db, project.id) is None:
        await lifecycle.change_model(db, project, card.location)
    return await starting.start(
        db, actor_id, project, "adopt", inputs={"model": card.location, "licence": card.licence}
    )
