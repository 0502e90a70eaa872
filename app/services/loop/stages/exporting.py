"""Export: a dataset version as a file in the schema that somebody asked for."""

import asyncio
import shutil
from pathlib import Path

from app.db.base import Json
from app.db.tables import DatasetVersion
from app.errors import Conflict
from app.phrases import phrase
from app.services.data.exports import writing
from app.services.data.exports.asked import Asked
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import End, Watch, WatchedStage, Work

FOLDER = "export"
"""Below the run's own."""


def inputs_for(version: DatasetVersion, asked: Asked) -> Json:
    """What a run holds, and is known by: the same for the same version and wishes."""
    return {"dataset_version_id": version.id, "asked": asked.model_dump(mode="json", by_alias=True, exclude_none=True)}


async def _perform(work: Work, watch: Watch) -> End:
    settings = work.run.settings
    version = await work.db.get(DatasetVersion, settings["dataset_version_id"])
    if version is None:
        raise Conflict("The dataset version that this was to write isn't there any more.")
    asked = Asked.model_validate(settings["asked"])
    assert work.run.folder is not None
    folder = work.home / work.run.folder / FOLDER
    await asyncio.to_thread(_emptied, folder)
    file = folder / writing.name_of(work.project, version, asked)
    made = await writing.write(work.db, version, work.home, asked, file, watch=watch)
    size_bytes = file.stat().st_size
    result: Json = {"rows_written": sum(made.rows.values()), "size_bytes": size_bytes, "sha256": made.sha256}
    return End({**result, "file": file.name, "splits": dict(made.rows)})


def _emptied(folder: Path) -> None:
    """An attempt that broke off may have left something."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


EXPORT = WatchedStage(
    name="export",
    fills_disk=True,
    title=phrase("Write a dataset version into a file"),
    perform=_perform,
    own_figures={"rows_written": Words(phrase("Rows written"), "count")},
)
