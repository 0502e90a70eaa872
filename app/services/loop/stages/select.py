"""Select: tasks of the pairs that are worth a person's time."""

from app.db.base import Json
from app.db.tables import Round
from app.phrases import phrase
from app.services.judging import labels
from app.services.loop import selection
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import Work, WorkerStage
from app.services.loop.writers import Writer


async def _perform(work: Work) -> Json:
    db, project, run = work.db, work.project, work.run
    wanted = run.settings.get("count") or work.settings.pairs_wanted(project.overlap)
    round_ = await db.get_one(Round, run.round_id) if run.round_id is not None else None
    selected = await selection.make_tasks(
        db,
        project,
        count=wanted,
        rng=work.random(),
        round_id=run.round_id,
        # People see the newest round's pairs before what earlier rounds left over.
        priority=float(round_.number) if round_ else 0.0,
        writers=[Writer.parse(text) for text in run.settings.get("writers", ())],
    )
    places = await selection.open_places(db, project.id)
    return {
        "pairs_wanted": selected.wanted,
        "pairs_made": selected.made,
        "policies": list(selected.model_version_ids),
        "open_places": places,
        "reachable_labels": places + await labels.labels_at_hand(db, project.id),
        "note": _note(selected.made, selected.wanted, places, chosen="writers" in run.settings),
    }


def _note(made: int, wanted: int, places: int, *, chosen: bool) -> str:
    if made >= wanted:
        return f"Made {made} new pairs."
    if made == 0 and chosen:
        return (
            f"The writers have no responses to one prompt that are free; the open tasks take {places} more judgements."
        )
    if made == 0:
        return f"No policy has written pairs that are not in use yet; the open tasks take {places} more judgements."
    return f"Made {made} new pairs, all that there were of the {wanted} asked for."


SELECT = WorkerStage(
    name="select",
    title=phrase("Select"),
    perform=_perform,
    own_figures={"pairs_made": Words(phrase("Pairs chosen"), "count")},
)
