"""What each person of a project did, and how they did on checks."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.phrases import phrase
from app.services.judging import quality
from app.services.judging.quality import Work
from app.services.reports.report import Report


@dataclass(frozen=True)
class Works:
    people: tuple[Work, ...]


async def compute(db: AsyncSession, project: Project) -> Works:
    return Works(tuple(await quality.works(db, project)))


CONDUCT = Report("conduct", phrase("Work"), Works, compute)
