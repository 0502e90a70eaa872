"""Snapshot: the judgements, or the demonstrations, become an immutable dataset version."""

from app.db.base import Json
from app.db.tables import DatasetVersion
from app.phrases import phrase
from app.services.data import datasets
from app.services.loop.asking import annotators, judge_worth
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import End, Watch, WatchedStage, Work


async def _perform(work: Work, watch: Watch) -> End:
    if work.run.settings.get("kind") == "demonstrations":
        return End(_told(await datasets.cut_demonstrations(work.db, work.project, home=work.home, run_id=work.run.id)))
    weigh = work.run.settings.get("weigh") or work.settings.people.weigh
    version = await datasets.cut_preferences(
        work.db,
        work.project,
        home=work.home,
        run_id=work.run.id,
        prefers_verdicts=work.run.settings.get("prefers_verdicts"),
        takes_machines=work.run.settings.get("takes_machines"),
        beliefs=await annotators.beliefs(work.db, work.project, work.home, weigh),
        watch=watch,
    )
    return End(_told(version) | await _worth(work, version))


def _told(version: DatasetVersion) -> Json:
    return {"dataset_version_id": version.id, "number": version.number, "rows": version.row_count}


async def _worth(work: Work, version: DatasetVersion) -> Json:
    """What the machines' judgements in it have saved people, where there are any."""
    worth = await judge_worth.measure(work.db, work.project, work.home, work.seed) if version.machines else None
    if worth is None:
        return {}
    if worth.saved is None or worth.low is None or worth.high is None:
        return {"labels_saved_unknown": worth.why}
    gain = {"accuracy_with_machines": worth.accuracy, "accuracy_without_machines": worth.accuracy_without}
    return {
        "labels_saved": round(worth.saved),
        "labels_saved_low": round(worth.low),
        "labels_saved_high": round(worth.high),
        **gain,
    }


SNAPSHOT = WatchedStage(
    fills_disk=True,
    name="snapshot",
    title=phrase("Snapshot"),
    perform=_perform,
    own_figures={
        "rows": Words(phrase("Rows written"), "count"),
        "labels_saved": Words(phrase("Labels of people that machines saved"), "count"),
        "labels_saved_low": Words(phrase("Labels saved, at least"), "count"),
        "labels_saved_high": Words(phrase("Labels saved, at most"), "count"),
        "accuracy_with_machines": Words(phrase("The head’s agreement with people on random pairs"), "share"),
        "accuracy_without_machines": Words(phrase("The same without what machines said"), "share"),
    },
)
