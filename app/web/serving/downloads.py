"""A dataset version as a file, and what of a file can't be used: for the pages and the API alike."""

import tempfile
from pathlib import Path

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from app.db.tables import DatasetVersion, Import, Project, Run
from app.errors import NotFound
from app.services.data import datasets
from app.services.data.exports import writing
from app.services.data.exports.asked import Asked
from app.services.data.storing import imports
from app.services.data.storing.loads import BAD_ROW_COLUMNS
from app.services.loop.chores import exporting, folders


async def dataset(
    request: Request, db: AsyncSession, project: Project, version: DatasetVersion, asked: Asked
) -> Response:
    """A version as it is asked for: written now where it is small, else the file that a worker has written of it.

    No session is held while it is sent. Raises ErasedFrom, BrokenDataset, NotFound, Invalid, Busy and TooLarge.
    """
    datasets.require_whole(version)
    home: Path = request.app.state.settings.home
    written = await exporting.found(db, version, asked) if exporting.is_large(version) else None
    if written is not None and written.state == "succeeded":
        return await exported_dataset(request, db, version, written)
    exporting.require_small(version)
    await exporting.note(db, version, asked)
    with request.app.state.conversions.one():
        folder = tempfile.TemporaryDirectory(prefix="plumbline-export-")
        try:
            file = Path(folder.name) / writing.name_of(project, version, asked)
            made = await writing.write(db, version, home, asked, file)
        except BaseException:
            folder.cleanup()
            raise
    after = BackgroundTask(run_in_threadpool, folder.cleanup)
    return _sent(request, file, asked.media_type, made.sha256, after)


async def exported_dataset(request: Request, db: AsyncSession, version: DatasetVersion, run: Run) -> Response:
    """The file that a run has written of a version. Raises NotFound where it was removed since."""
    asked = Asked.model_validate(run.settings["asked"])
    file: Path = request.app.state.settings.home / exporting.file_of(run)
    if not await run_in_threadpool(file.is_file):
        raise NotFound
    await exporting.note(db, version, asked)
    return _sent(request, file, asked.media_type, str((run.result or {})["sha256"]))


async def dataset_folder(db: AsyncSession, version: DatasetVersion, home: Path) -> Response:
    """The folder that was written last, zipped; a part of it where that is asked for. Raises ErasedFrom, Conflict."""
    file, name = await folders.written(db, version, home)
    return FileResponse(file, media_type="application/zip", headers=_attached(name))


def bad_rows(home: Path, project: Project, import_: Import) -> Response:
    """The rows of an import that can't be used, as a table; the heading alone where there are none."""
    file = imports.bad_rows_file(home, import_)
    headers = _attached(f"{project.slug}-import-{import_.id}-bad-rows.csv")
    if file.exists():
        return FileResponse(file, media_type="text/csv", headers=headers)
    return Response(",".join(BAD_ROW_COLUMNS) + "\r\n", media_type="text/csv", headers=headers)


def whole_project(project: Project, run: Run, home: Path) -> Response:
    """The file that an export has left. Raises NotFound where it was removed since."""
    file = home / str(run.folder) / f"{project.slug}.zip"
    if not file.is_file():
        raise NotFound
    return FileResponse(file, media_type="application/zip", headers=_attached(file.name))


def _sent(request: Request, file: Path, media_type: str, sha256: str, after: BackgroundTask | None = None) -> Response:
    """The file, or the part of it that is asked for, by the digest of what is in it; 304 for whoever has it."""
    headers = {**_attached(file.name), "ETag": f'"{sha256}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"ETag": headers["ETag"]}, background=after)
    return FileResponse(file, media_type=media_type, headers=headers, background=after)


def _attached(name: str) -> dict[str, str]:
    # Slugs, kinds, schemas and numbers are plain ASCII, so the name needs no quoting rules.
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}
