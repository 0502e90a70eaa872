"""Snapshot: the judgements become an immutable dataset version."""

from app.db.base import Json
from app.phrases import phrase
from app.services.data import datasets
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import Work, WorkerStage


async def _perform(work: Work) -> Json:
    version = await datasets.cut_preferences(work.db, work.project, home=work.home, run_id=work.run.id)
    return {"dataset_version_id": version.id, "number": version.number, "rows": version.row_count}


SNAPSHOT = WorkerStage(
    name="snapshot",
    title=phrase("Snapshot"),
    perform=_perform,
    own_figures={"rows": Words(phrase("Judgements written down"), "count")},
)
