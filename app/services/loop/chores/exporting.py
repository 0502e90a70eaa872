"""Dataset versions that a worker writes into files, for those that are too large for an answer."""

from pathlib import Path

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, Project, Run
from app.errors import Conflict, NotFound
from app.services import audit
from app.services.data import datasets
from app.services.data.exports import writing
from app.services.data.exports.asked import Asked
from app.services.data.exports.writing import Preview
from app.services.loop.runs import starting
from app.services.loop.stages.exporting import FOLDER, inputs_for

MOST_AT_ONCE = 100_000
"""Rows of a version that are written while somebody waits for the answer."""
SHOWN = 20


class TooLarge(Conflict):
    """More rows than are written while somebody waits. Have a worker write it, and fetch the file."""


def is_large(version: DatasetVersion) -> bool:
    """Whether a worker has to write it."""
    return version.row_count > MOST_AT_ONCE


def require_small(version: DatasetVersion) -> None:
    """Raises TooLarge."""
    if is_large(version):
        raise TooLarge(
            "Version %(number)s has more than %(most)s rows: have a worker write it, and fetch the file then.",
            number=version.number,
            most=f"{MOST_AT_ONCE:,}",
        )


async def preview(db: AsyncSession, version: DatasetVersion, home: Path, asked: Asked) -> Preview:
    """How an export would begin. Raises TooLarge, and what an export raises."""
    require_small(version)
    return await writing.preview(db, version, home, asked)


async def start(db: AsyncSession, actor_id: int | None, project: Project, version: DatasetVersion, asked: Asked) -> Run:
    """Have a worker write it; where one has, or does, the same run again. Raises ErasedFrom, NotFound and Invalid."""
    datasets.require_whole(version)
    writing.schema_of(version, asked)
    there = await found(db, version, asked)
    if there is not None:
        return there
    await note(db, version, asked)
    return await starting.start(db, actor_id, project, "export", inputs=inputs_for(version, asked))


async def found(db: AsyncSession, version: DatasetVersion, asked: Asked) -> Run | None:
    """The newest run for this that is under way, or done and its file still there."""
    return await db.scalar(
        select(Run)
        .where(
            *_of(version),
            Run.state.in_(("queued", "running")) | _is_done(),
            Run.settings["asked"] == inputs_for(version, asked)["asked"],
        )
        .order_by(Run.id.desc())
        .limit(1)
    )


async def list_runs(db: AsyncSession, version: DatasetVersion) -> list[Run]:
    """The last ones of a version, newest first."""
    return list(await db.scalars(select(Run).where(*_of(version)).order_by(Run.id.desc()).limit(SHOWN)))


async def done(db: AsyncSession, version: DatasetVersion, run_id: int) -> Run:
    """A run whose file can be had. Raises ErasedFrom, and NotFound until it has succeeded and once its file is gone."""
    datasets.require_whole(version)
    run = await db.scalar(select(Run).where(*_of(version), Run.id == run_id, _is_done()))
    if run is None:
        raise NotFound
    return run


def file_of(run: Run) -> Path:
    """Where a run that is done has left its file, relative to the home folder."""
    return Path(str(run.folder)) / FOLDER / str((run.result or {})["file"])


async def note(db: AsyncSession, version: DatasetVersion, asked: Asked) -> None:
    """Keep in the log that somebody took this out."""
    told = asked.model_dump(mode="json", by_alias=True, exclude_none=True)
    await audit.note(db, "export", f"{version.kind} {version.number}", told, project_id=version.project_id)


def _is_done() -> ColumnElement[bool]:
    """An erasure takes the file and its name."""
    return and_(Run.state == "succeeded", Run.result.has_key("file"))


def _of(version: DatasetVersion) -> tuple[ColumnElement[bool], ...]:
    of_version = Run.settings["dataset_version_id"].as_integer() == version.id
    return (Run.project_id == version.project_id, Run.stage == "export", of_version)
