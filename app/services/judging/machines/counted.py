"""Judges whose judgements are learnt from, and how much one of each weighs."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.services.judging.machines import calibration, judges
from app.services.judging.machines.settings import settings_of


@dataclass(frozen=True)
class Counted:
    """A judge, by the id of its user and its name; `weight` beside 1 for a person."""

    user_id: int
    name: str
    weight: float


async def counted(db: AsyncSession, project: Project, counts: bool | None = None) -> list[Counted]:
    """Judges that are calibrated, by name; none without `counts`, which goes by the project's setting where it is
    None."""
    settings = settings_of(project)
    if counts is not None:
        settings = settings.model_copy(update={"counts": counts})
    named = await judges.working(db, project.id)
    weights = await calibration.weights(db, [one.judge for one in named], settings)
    return [
        Counted(one.judge.user_id, one.name, round(weights[one.judge.user_id], 4))
        for one in named
        if one.judge.user_id in weights
    ]
