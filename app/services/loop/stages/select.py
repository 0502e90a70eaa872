"""Select: tasks of the pairs that are worth a person's time."""

from app.db.base import Json
from app.db.tables import Round
from app.phrases import phrase
from app.services.judging import labels
from app.services.loop import selection
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import Work, WorkerStage


async def _perform(work: Work) -> Json:
    db, project, run = work.db, work.project, work.run
    wanted = run.settings.get("count") or work.settings.pairs_wanted(project.overlap)
    brought = await selection.brought_pairs(db, project.id)
    round_ = await db.get_one(Round, run.round_id) if run.round_id is not None else None
    selected = await selection.make_tasks(
        db,
        project,
        count=max(0, wanted - brought),
        rng=work.random(),
        round_id=run.round_id,
        # People see the newest round's pairs before what earlier rounds left over.
        priority=float(round_.number) if round_ else 0.0,
    )
    places = await selection.open_places(db, project.id)
    return {
        "pairs_wanted": wanted,
        "pairs_brought": brought,
        "pairs_made": selected.made,
        "policies": list(selected.model_version_ids),
        "open_places": places,
        "reachable_labels": places + await labels.labels_at_hand(db, project.id),
        "note": _note(selected.made, selected.wanted, brought, places),
    }


def _note(made: int, wanted: int, brought: int, places: int) -> str:
    """`wanted` is what was asked of policies, after what files brought."""
    waiting = f" {brought} pairs from files wait to be judged." if brought else ""
    if made >= wanted:
        return f"Made {made} new pairs.{waiting}"
    if made == 0:
        return (
            "No policy has written pairs that are not in use yet; "
            f"the open tasks take {places} more judgements.{waiting}"
        )
    return f"Made {made} new pairs, all that there were of the {wanted} asked for.{waiting}"


SELECT = WorkerStage(
    name="select",
    title=phrase("Select"),
    perform=_perform,
    own_figures={
        "pairs_made": Words(phrase("Pairs chosen"), "count"),
        "pairs_brought": Words(phrase("Pairs from files that nobody has judged yet"), "count"),
    },
)
