"""Snapshot: the judgements become an immutable dataset version."""

from app.phrases import phrase
from app.services.data import datasets
from app.services.loop import annotators
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import End, Watch, WatchedStage, Work


async def _perform(work: Work, watch: Watch) -> End:
    weigh = work.run.settings.get("weigh") or work.settings.people.weigh
    version = await datasets.cut_preferences(
        work.db,
        work.project,
        home=work.home,
        run_id=work.run.id,
        prefers_verdicts=work.run.settings.get("prefers_verdicts"),
        beliefs=await annotators.beliefs(work.db, work.project, work.home, weigh),
        watch=watch,
    )
    return End({"dataset_version_id": version.id, "number": version.number, "rows": version.row_count})


SNAPSHOT = WatchedStage(
    name="snapshot",
    title=phrase("Snapshot"),
    perform=_perform,
    own_figures={"rows": Words(phrase("Judgements written down"), "count")},
)
