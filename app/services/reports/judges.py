"""Judges that are models: how far each can be trusted, by the pairs that people judged, too."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.phrases import phrase
from app.services.judging.machines import calibration, judges
from app.services.judging.machines.calibration import Calibration
from app.services.judging.machines.settings import settings_of
from app.services.reports.report import Report


@dataclass(frozen=True)
class Entry:
    """A judge under the name of its served model."""

    judge_id: int
    name: str
    measured: Calibration


@dataclass(frozen=True)
class Judges:
    """What is known of the judges of a project that judge now, by name."""

    entries: tuple[Entry, ...]

    def of(self, judge_id: int) -> Entry | None:
        return next((entry for entry in self.entries if entry.judge_id == judge_id), None)


async def compute(db: AsyncSession, project: Project) -> Judges:
    """One judge after the other; of each the newest answers."""
    settings = settings_of(project)
    found = [
        Entry(named.judge.id, named.name, await calibration.measure(db, named.judge, settings))
        for named in await judges.working(db, project.id)
    ]
    return Judges(tuple(found))


JUDGES = Report("judges", phrase("Judges that are models"), Judges, compute)
