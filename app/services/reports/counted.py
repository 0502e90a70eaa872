"""How far a project is, told at once: counted by who asks while that is quick, by a worker from then on."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, Judgement, Project, WrittenReport
from app.services.data.differences import Found
from app.services.judging import quality
from app.services.judging.quality import Conduct
from app.services.projects import standing
from app.services.projects.standing import ProjectOverview
from app.services.reports import reports
from app.services.reports.comparison import comparison
from app.services.reports.conduct import CONDUCT, Works
from app.services.reports.overview import OVERVIEW
from app.services.reports.reports import Latest

MOST = 50_000
"""Prompts, tasks or judgements up to which a project is counted whenever somebody looks: some tens of milliseconds."""


@dataclass(frozen=True)
class Counted:
    """`latest` is the report that the figures are of; None where they were counted now. Before there is such a report
    they are the least that there is."""

    overview: ProjectOverview
    latest: Latest[ProjectOverview] | None = None


async def counted(db: AsyncSession, project: Project) -> Counted:
    """Looks at no more than a bounded number of rows."""
    some = await _known_as_large(db, project) or await standing.overview(db, project, most=MOST + 1)
    if not _is_large(some):
        return Counted(some)
    latest = await reports.current(db, project, OVERVIEW)
    return Counted(latest.content or some, latest)


async def conducted(db: AsyncSession, project: Project) -> tuple[list[Conduct], Latest[Works] | None]:
    """What the people of a project did, and the report that it is of; None where it was counted now. Nobody is told of
    before there is such a report."""
    many = select(Judgement.id).where(Judgement.project_id == project.id, Judgement.superseded_by.is_(None))
    if await db.scalar(many.offset(MOST).limit(1)) is None:
        return await quality.of_project(db, project), None
    latest = await reports.current(db, project, CONDUCT)
    if latest.content is None:
        return [], latest
    return await quality.of_project(db, project, work=latest.content.people), latest


async def compared(
    db: AsyncSession, project: Project, before: DatasetVersion | None, after: DatasetVersion
) -> Latest[Found] | None:
    """The report on what two versions differ by; None where they are small, so that who asks finds it at once."""
    if max(before.row_count if before else 0, after.row_count) <= MOST:
        return None
    return await reports.current(db, project, comparison(before.id if before else 0, after.id))


async def _known_as_large(db: AsyncSession, project: Project) -> ProjectOverview | None:
    """As it was counted last; None unless it was large then, which spares counting some of it for nothing."""
    asked = select(WrittenReport.content).where(
        WrittenReport.project_id == project.id, WrittenReport.name == OVERVIEW.name
    )
    known = OVERVIEW.read(await db.scalar(asked))
    return known if known is not None and _is_large(known) else None


def _is_large(overview: ProjectOverview) -> bool:
    prompts = sum(overview.prompts_by_split.values())
    return max(prompts, overview.completions, overview.tasks_closed, overview.tasks_open, overview.judgements) > MOST
