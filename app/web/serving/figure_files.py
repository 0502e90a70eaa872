"""A figure as a file, for the pages and the API alike."""

from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, Response

from app.db.tables import Project
from app.errors import Conflict
from app.services.reports import reports
from app.services.reports.figure import Figure
from app.web.words.reports import csv_file, json_file

FigureFormat = Literal["json", "csv"]


async def figure_file(db: AsyncSession, project: Project, figure: Figure[Any], form: FigureFormat) -> Response:
    """The rows as they are known, and in JSON as of when. Raises Conflict for a CSV of what isn't computed yet, which
    has no place to say so.
    """
    latest = await reports.current(db, project, figure.report)
    rows = await figure.read(db, latest.content)
    headers = {"Cache-Control": "private, no-store"}
    if form == "json":
        return JSONResponse(json_file(figure, rows, latest), headers=headers)
    if latest.content is None:
        raise Conflict("These figures are being computed. Ask again in a moment.")
    headers["Content-Disposition"] = f'attachment; filename="{project.slug}-{figure.name}.csv"'
    return Response(csv_file(figure, rows), media_type="text/csv; charset=utf-8", headers=headers)
