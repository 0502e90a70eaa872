"""The folder of a dataset version as a file, for the pages and the API alike."""

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import FileResponse, Response

from app.db.tables import DatasetVersion
from app.services.loop import folders


async def zipped(db: AsyncSession, version: DatasetVersion, home: Path) -> Response:
    """The one that was written last; a part of it where that is asked for. Raises ErasedFrom, Conflict."""
    file, name = await folders.written(db, version, home)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}
    return FileResponse(file, media_type="application/zip", headers=headers)
