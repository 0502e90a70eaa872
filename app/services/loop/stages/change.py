"""Change: all rows of a list that match are changed, or put back, some at a time."""

import asyncio
from collections.abc import Awaitable, Callable

from app.db.tables import BulkChange
from app.errors import Conflict
from app.phrases import phrase
from app.services.browse import changes
from app.services.browse.changes import Step
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import Ending, Hold, LongStage, Measured, Work


async def _perform(hold: Hold) -> Ending | None:
    """What is done stays done: an attempt goes on with the rows after it."""
    undoes, done, total = await hold.do(_plan)
    act = _put_back if undoes else _change
    interrupted = asyncio.ensure_future(hold.interrupted())
    try:
        has_more, changed, left = True, 0, 0
        while has_more:
            if interrupted.done():
                return None
            step = await _in_view(hold, act, done, total)
            has_more, changed, left = step.has_more, changed + step.changed, left + len(step.left)
            done = min(done + step.changed + len(step.left), total)
            await asyncio.sleep(0)
    finally:
        interrupted.cancel()
    return Ending({"rows_put_back": changed, "rows_left": left}) if undoes else await hold.do(_ending)


async def _in_view(hold: Hold, act: Callable[[Work], Awaitable[Step]], done: int, total: int) -> Step:
    return await hold.do(act, Measured(done, total, {}))


async def _plan(work: Work) -> tuple[bool, int, int]:
    """Whether it undoes, how many rows were dealt with before, and of how many."""
    kept = await _kept(work)
    if work.run.settings["action"] == "undo":
        left = await changes.to_put_back(work.db, kept.id)
        return True, max(kept.changed - left, 0), max(kept.changed, left)
    done = kept.changed + sum(kept.left.values())
    return False, done, done + await changes.count(work.db, work.project, kept)


async def _change(work: Work) -> Step:
    return await changes.step(work.db, work.project, work.run.settings["change_id"])


async def _put_back(work: Work) -> Step:
    return await changes.put_back(work.db, work.project, work.run.settings["change_id"])


async def _ending(work: Work) -> Ending:
    kept = await _kept(work)
    return Ending({"rows_changed": kept.changed, "rows_left": sum(kept.left.values())})


async def _kept(work: Work) -> BulkChange:
    kept = await changes.get(work.db, work.project, work.run.settings["change_id"])
    if kept is None:
        raise Conflict("What this was to change is not known here.")
    return kept


CHANGE = LongStage(
    name="change",
    title=phrase("Change rows"),
    perform=_perform,
    own_figures={
        "rows_changed": Words(phrase("Rows changed"), "count"),
        "rows_put_back": Words(phrase("Rows as they were"), "count"),
        "rows_left": Words(phrase("Rows that could not be changed"), "count"),
    },
)
