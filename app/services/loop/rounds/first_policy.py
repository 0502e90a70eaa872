"""A project's first policy: what is said before it is trained, and where its gate refused it."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Demonstration, Gate, ModelVersion, Project, Prompt
from app.phrases import Sentence, phrase
from app.services.loop.gates.gates import FROM_NOTHING
from app.services.loop.models import models


@dataclass(frozen=True)
class Refused:
    """The newest policy of a project that uses none, and why its gate refused it."""

    version: ModelVersion
    gate: Gate


async def warning(db: AsyncSession, project: Project) -> Sentence | None:
    """That the demonstrations are too few for a policy from nothing, where one would be trained so."""
    if project.policy_source is not None:
        return None
    of_project = select(func.count(Demonstration.id)).join(Prompt).where(Prompt.project_id == project.id)
    count = await db.scalar(of_project) or 0
    if not 0 < count < FROM_NOTHING:
        return None
    return Sentence(_TOO_FEW, {"count": count, "enough": FROM_NOTHING})


async def refused(db: AsyncSession, project_id: int) -> Refused | None:
    """Where a first policy was made and waits for a person."""
    newest = await models.newest(db, project_id, "policy")
    if newest is None or await models.promoted(db, project_id) is not None:
        return None
    gate = await models.last_gate(db, newest)
    return None if gate is None or gate.passed else Refused(newest, gate)


_TOO_FEW = phrase(
    "From %(count)s demonstrations a policy that starts from nothing writes noise: that takes some %(enough)s. With "
    "fewer it needs a base model to start from."
)
