"""Erase: a text goes for good, out of rows first and then, if that was asked for, out of files."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, select, update

from app.db.base import Json
from app.db.tables import Run
from app.db.tables.runs import TERMINAL_RUN_STATES
from app.errors import Conflict
from app.phrases import phrase
from app.services import audit
from app.services.data.storing import loads
from app.services.erasure import files, rows
from app.services.erasure.rows import Done
from app.services.erasure.targets import Target, reach_of
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import End, Watch, WatchedStage, Work
from app.services.published.shelf import shelf_of

# In their folders are files for people to take away, whole or, of an attempt that was killed, in part.
EXPORTS = frozenset({"pack", "export", "folder"})
UNDER_WAY = "A run of this project that may have read it is under way: wait for it, or cancel it."


async def _perform(work: Work, watch: Watch) -> End:
    settings = work.run.settings
    target = Target(settings["kind"], settings["id"])
    await loads.lock(work.db, work.project)  # an import that is under way may bring more of it

    def tell(done: int, total: int) -> None:
        watch.tell(done, total, "erasing")
        watch.require_wanted()

    done = await rows.erase(work.db, work.project, await reach_of(work.db, work.project, target), tell)
    counts = done.counts | (await _files(work, done, watch) if settings["files"] else {})
    told = {"of": target.kind, "id": target.id, "files": settings["files"], **counts}
    if settings.get("reason"):
        told["reason"] = settings["reason"]
    actor = work.run.started_by_id
    await audit.note(work.db, "erasure", target.id, told, project_id=work.project.id, actor_id=actor)
    erased = sum(counts[name] for name in ("prompts", "responses", "demonstrations", "words"))
    return End({"texts_erased": erased, "tasks_retired": counts["tasks"], "counts": counts})


async def _files(work: Work, done: Done, watch: Watch) -> Json:
    """Last, so that the transaction that says so ends next; whatever breaks off here is done again from the start.

    Raises Conflict while another run works, which may read what is removed, or write it again.
    """
    others = (Run.project_id == work.project.id, Run.id != work.run.id)
    under_way = Run.state.not_in(TERMINAL_RUN_STATES) & (Run.stage != "erase")
    if await work.db.scalar(select(func.count()).where(*others, under_way)):
        raise Conflict(UNDER_WAY)
    folders = [
        (stage, folder)
        for stage, folder in await work.db.execute(select(Run.stage, Run.folder).where(*others).order_by(Run.id))
        if folder is not None
    ]
    paths = [version.path for version in done.versions]
    versions = await asyncio.to_thread(_remove_published, work.home, paths)
    await rows.mark_removed(work.db, done.versions)
    exports = changed = 0
    for number, (stage, folder) in enumerate(folders):
        watch.tell(number, len(folders), "files")
        await work.db.execute(select(1))  # the server ends transactions that are silent for a minute
        if stage in EXPORTS:
            exports += await asyncio.to_thread(_remove_exports, work.home, folder)
        else:
            changed += await asyncio.to_thread(files.redact, work.home / folder, done.erased)
    # What has no file any more is written anew for whoever asks for it.
    await work.db.execute(update(Run).where(*others, Run.stage == "export").values(result=Run.result.op("-")("file")))
    return {"dataset_files": versions, "exports": exports, "run_files": changed}


def _remove_published(home: Path, paths: Sequence[str]) -> int:
    """Out of the storage first: what is away then is away everywhere. Raises Away."""
    for path in paths:
        shelf_of(home).remove(path)
    return files.remove(home, paths)


def _remove_exports(home: Path, folder: str) -> int:
    found = [path.relative_to(home).as_posix() for path in (home / folder).rglob("*")]
    return files.remove(home, found)


ERASE = WatchedStage(
    name="erase",
    title=phrase("Erase"),
    perform=_perform,
    own_figures={
        "texts_erased": Words(phrase("Texts erased"), "count"),
        "tasks_retired": Words(phrase("Tasks that nobody gets any more"), "count"),
    },
)
