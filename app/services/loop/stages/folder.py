"""Folder: a dataset version as the Hub and `load_dataset` take it, in a zip to be downloaded."""

from app.db.tables import DatasetVersion
from app.phrases import phrase
from app.services.data.hub.folder import write_zip
from app.services.loop.stages.figures import Words
from app.services.loop.stages.stage import End, Watch, WatchedStage, Work

FILE = "folder.zip"


async def _perform(work: Work, watch: Watch) -> End:
    assert work.run.folder is not None
    version = await work.db.get_one(DatasetVersion, work.run.settings["dataset_version_id"])
    file = work.home / work.run.folder / FILE
    written = await write_zip(work.db, work.project, version, work.home, file, watch)
    rows = sum(written.rows.values())
    return End({"name": written.name, "size_bytes": file.stat().st_size, "rows_in_folder": rows})


FOLDER = WatchedStage(
    fills_disk=True,
    name="folder",
    title=phrase("Write a dataset folder"),
    perform=_perform,
    own_figures={"rows_in_folder": Words(phrase("Rows in the folder"), "count")},
)
