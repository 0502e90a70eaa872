"""Select: tasks of the pairs that are worth a person's time."""

from app.db.base import Json
from app.db.tables import Round
from app.phrases import phrase
from app.services import dispatch
from app.services.judging import labels
from app.services.loop.asking import selection
from app.services.loop.asking.selection_settings import SelectionSettings
from app.services.loop.asking.slots import Filled, Slots
from app.services.loop.comparisons.writers import Writer
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import Work, WorkerStage

OVER = "The round asks for no more pairs."


async def _perform(work: Work) -> Json:
    if (round_id := work.run.settings.get("for_round")) is not None:
        return await _next_batch(work, round_id)
    run = work.run
    wanted = run.settings.get("count") or work.settings.pairs_wanted(work.project.overlap)
    writers = [Writer.parse(text) for text in run.settings.get("writers", ())]
    round_ = await work.db.get_one(Round, run.round_id) if run.round_id is not None else None
    settings = _settings(work, round_)
    # Who names the writers wants pairs of theirs, whatever files brought.
    brought = 0 if writers else await selection.brought_pairs(work.db, work.project.id)
    if writers or settings.rule == "uniform":
        return await _at_once(work, wanted, brought, writers, round_)
    slots = Slots(work.db, work.project, work.home, settings, round_, work.seed)
    filled = await slots.open(max(0, wanted - brought))
    to_come = filled.total - filled.made if round_ is not None else 0
    places = await _places(work, to_come)
    nothing = _note(0, wanted - brought, brought, places["open_places"], chosen=False)
    return {
        "pairs_wanted": wanted,
        "pairs_brought": brought,
        "pairs_to_come": to_come,
        **_made(filled),
        **places,
        "note": _note_of(filled, wanted - brought, to_come, brought) if filled.total else nothing,
    }


async def _next_batch(work: Work, round_id: int) -> Json:
    """Pairs that follow what people have said meanwhile, for a round that still waits for labels."""
    round_ = await work.db.get_one(Round, round_id, with_for_update=True, populate_existing=True)
    if round_.status != "active" or round_.step != "label" or round_.slots is None:
        return {"pairs_made": 0, "note": OVER}
    filled = await Slots(work.db, work.project, work.home, _settings(work, round_), round_, work.seed).go_on()
    await dispatch.defer_round(work.db, round_id)  # which may have waited for nothing but these
    return {"for_round": round_.number, **_made(filled), "note": _note_of(filled, filled.made, 0, 0)}


async def _at_once(work: Work, wanted: int, brought: int, writers: list[Writer], round_: Round | None) -> Json:
    """All of them, each with the same chance."""
    db, project = work.db, work.project
    selected = await selection.make_tasks(
        db,
        project,
        count=max(0, wanted - brought),
        rng=work.random(),
        round_id=work.run.round_id,
        # People see the newest round's pairs before what earlier rounds left over.
        priority=float(round_.number) if round_ else 0.0,
        writers=writers,
    )
    places = await _places(work, 0)
    return {
        "pairs_wanted": wanted,
        "pairs_brought": brought,
        "pairs_made": selected.made,
        "policies": list(selected.model_version_ids),
        **places,
        "note": _note(selected.made, selected.wanted, brought, places["open_places"], chosen=bool(writers)),
    }


def _settings(work: Work, round_: Round | None) -> SelectionSettings:
    """A round's own; one from before there were any drew its pairs at random."""
    if round_ is None:
        return work.settings.selection
    return SelectionSettings.model_validate(round_.settings.get("selection", {"rule": "uniform"}))


async def _places(work: Work, pairs_to_come: int) -> Json:
    places = await selection.open_places(work.db, work.project.id)
    at_hand = await labels.labels_at_hand(work.db, work.project.id)
    return {"open_places": places, "reachable_labels": places + at_hand + pairs_to_come * work.project.overlap}


def _made(filled: Filled) -> Json:
    return {
        "pairs_made": filled.made,
        "pairs_random": filled.random,
        "policies": list(filled.model_version_ids),
        "why_not": filled.why,
    }


def _note_of(filled: Filled, wanted: int, to_come: int, brought: int) -> str:
    waiting = f" {brought} pairs from files wait to be judged." if brought else ""
    by_chance = f" {filled.random} of them were drawn at random, to measure by." if filled.random else ""
    later = f" {to_come} more follow what people say." if to_come else ""
    short = "" if filled.made + to_come >= wanted else f" {wanted} were asked for, and there are no more."
    because = f" {filled.why}" if filled.why else ""
    return f"Made {filled.made} new pairs.{by_chance}{later}{short}{because}{waiting}"


def _note(made: int, wanted: int, brought: int, places: int, *, chosen: bool) -> str:
    waiting = f" {brought} pairs from files wait to be judged." if brought else ""
    if made >= wanted:
        return f"Made {made} new pairs.{waiting}"
    if made == 0:
        whose = "The writers have no responses to one prompt that are free"
        if not chosen:
            whose = "No policy has written pairs that are not in use yet"
        return f"{whose}; the open tasks take {places} more judgements.{waiting}"
    return f"Made {made} new pairs, all that there were of the {wanted} asked for.{waiting}"


SELECT = WorkerStage(
    name="select",
    title=phrase("Select"),
    perform=_perform,
    own_figures={
        "pairs_made": Words(phrase("Pairs chosen"), "count"),
        "pairs_random": Words(phrase("Of these drawn at random, to measure by"), "count"),
        "pairs_to_come": Words(phrase("Pairs that follow what people say"), "count"),
        "pairs_brought": Words(phrase("Pairs from files that nobody has judged yet"), "count"),
    },
)
