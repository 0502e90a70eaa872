"""Tasks that would make good gold: people agree on them, and nobody could tell them from others."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.phrases import phrase
from app.services.judging import gold
from app.services.judging.gold import Agreed
from app.services.reports.report import Report


@dataclass(frozen=True)
class Candidates:
    """Some more than a page suggests, the clearest first: what was made gold since is passed over."""

    agreed: tuple[Agreed, ...]


async def compute(db: AsyncSession, project: Project) -> Candidates:
    return Candidates(tuple(await gold.agreed(db, project)))


GOLD = Report("gold", phrase("Tasks on which people agree"), Candidates, compute)
