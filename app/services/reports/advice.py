"""What to tell somebody who opens a round, by all that is known of the loop."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.services.loop.rounds import label_advice
from app.services.loop.rounds.label_advice import Advice
from app.services.reports import reports
from app.services.reports.loop import LOOP


async def advice_on_labels(db: AsyncSession, project: Project) -> Advice:
    """How many judgements are likely to be enough, and what more are worth where the report on the loop says so."""
    known = (await reports.current(db, project, LOOP)).content
    return await label_advice.advice(db, project, known.worth if known is not None else None)
