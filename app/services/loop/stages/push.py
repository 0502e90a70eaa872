"""Push: a model version is sent to where others take it from."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import ModelVersion, Project
from app.phrases import phrase
from app.services.loop.models import pushing
from app.services.loop.models.archive import CARD, Archive
from app.services.loop.models.pushing import Course, Destination, Interrupted
from app.services.loop.stages import model_card
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import Chart, Ending, Hold, LongStage, Measured, Work
from app.settings import settings

LOOK_SECONDS = 2.0
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Plan:
    """What is sent, and where to."""

    destination: Destination
    archive: Archive


def inputs_for(version: ModelVersion, called: str) -> Json:
    """Raises Invalid for a place that isn't offered."""
    return {"model_id": version.id, "place": pushing.chosen(settings(), called).called}


async def _perform(hold: Hold) -> Ending | None:
    plan = await hold.do(_plan)
    card = hold.folder / CARD
    await asyncio.to_thread(card.write_text, plan.archive.card, "utf-8")
    course = Course(sum(entry.size_bytes for entry in plan.archive.entries))
    sending = asyncio.create_task(
        asyncio.to_thread(pushing.push, settings(), plan.destination, plan.archive, card, course)
    )
    stopped = asyncio.create_task(hold.interrupted())
    try:
        while not sending.done():
            await asyncio.wait([sending, stopped], timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                course.is_unwanted.set()
                await asyncio.wait([sending])
                break
            await hold.do(_nothing, _measured(course))
    finally:
        course.is_unwanted.set()
        stopped.cancel()
    try:
        where = await sending
    except Interrupted:
        return None
    hold.tell(where)
    return Ending({"pushed_megabytes": course.total_bytes / MEGABYTE, "pushed_files": len(plan.archive.entries)})


async def _plan(work: Work) -> Plan:
    destination = pushing.chosen(settings(), work.run.settings["place"])
    return Plan(destination, await _archive(work.db, work.project, work.run.settings["model_id"], work.home))


async def _archive(db: AsyncSession, project: Project, version_id: int, home: Path) -> Archive:
    return await model_card.archive_of(db, project, await db.get_one(ModelVersion, version_id), home)


async def _nothing(_work: Work) -> None:
    return


def _measured(course: Course) -> Measured:
    done = course.done_bytes / MEGABYTE
    return Measured(round(done), max(1, round(course.total_bytes / MEGABYTE)), {"megabytes": done})


PUSH = LongStage(
    name="push",
    title=phrase("Push a model"),
    perform=_perform,
    charts=(Chart("megabytes", phrase("Sent"), "MB", from_zero=True),),
    own_figures={
        "pushed_megabytes": Words(phrase("Megabytes sent"), "number"),
        "pushed_files": Words(phrase("Files sent"), "count"),
    },
)
