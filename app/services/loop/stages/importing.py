"""Import: a file is checked, stored, or taken back."""

from typing import Literal

from app.db.tables import Import
from app.phrases import phrase
from app.services.data.storing import imports, loads, undoing, uploads
from app.services.data.storing.loads import HasBadRows
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import End, Watch, WatchedStage, Work

Action = Literal["check", "load", "undo"]


async def _perform(work: Work, watch: Watch) -> End:
    import_ = await work.db.get_one(Import, work.run.settings["import_id"], populate_existing=True)
    action: Action = work.run.settings["action"]
    match action:
        case "check":
            return await _check(work, import_, watch)
        case "load":
            return await _load(work, import_, watch)
        case "undo":
            return End({"removed": await undoing.undo(work.db, work.project, import_, watch)})


async def _check(work: Work, import_: Import, watch: Watch) -> End:
    await imports.require_waiting(work.db, import_)
    with imports.open_file(work.home, import_) as source:
        reading = imports.reading(work.home, import_, source)
        counts = await loads.check(work.db, work.project, import_, reading, watch)
    await imports.require_waiting(work.db, import_, for_update=True)
    import_.state, import_.counts = "checked", counts.to_json()
    return End({"imported_rows": 0, **_shown(counts)})


async def _load(work: Work, import_: Import, watch: Watch) -> End:
    await loads.lock(work.db, work.project)
    await imports.require_waiting(work.db, import_)
    with imports.open_file(work.home, import_) as source:
        reading = imports.reading(work.home, import_, source)
        try:
            counts = await loads.load(work.db, work.project, import_, reading, watch)
        except HasBadRows as refusal:
            return End(_shown(refusal.counts), refusal.message)
    # What was in it is in the database now, where it can be found and erased.
    file = f"{import_.folder}/{uploads.FILE}"
    return End({"imported_rows": counts.new, **_shown(counts)}, leftovers=(file,))


def _shown(counts: loads.Counts) -> dict[str, int]:
    return {"file_rows": counts.rows, "bad_rows": counts.bad}


IMPORT = WatchedStage(
    fills_disk=True,
    name="import",
    title=phrase("Import"),
    perform=_perform,
    own_figures={
        "imported_rows": Words(phrase("Rows that are new in the project"), "count"),
        "file_rows": Words(phrase("Rows of the file"), "count"),
        "bad_rows": Words(phrase("Rows that can’t be used"), "count"),
    },
)
