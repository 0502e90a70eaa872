"""What two dataset versions differ by. That of large ones is found once, by a worker: what a version holds stays."""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.phrases import phrase
from app.services.data import differences
from app.services.data.differences import Found
from app.services.reports.report import Report

COMPARISON = "comparison"


def comparison(before_id: int, after_id: int) -> Report[Found]:
    """The report on two versions, by their ids; 0 is one that holds nothing. They are the rest of its name."""
    return Report(
        f"{COMPARISON}:{before_id}:{after_id}",
        phrase("Compare dataset versions"),
        Found,
        partial(_compute, before_id, after_id),
        lasts=True,
    )


async def _compute(before_id: int, after_id: int, db: AsyncSession, project: Project) -> Found:
    return await differences.find(db, before_id, after_id)
