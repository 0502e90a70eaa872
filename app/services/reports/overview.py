"""How far a project is."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.phrases import phrase
from app.services.projects import standing
from app.services.projects.standing import ProjectOverview
from app.services.reports.report import Report


async def compute(db: AsyncSession, project: Project) -> ProjectOverview:
    return await standing.overview(db, project)


OVERVIEW = Report("overview", phrase("Overview"), ProjectOverview, compute)
