"""How a project is getting on, in figures that a worker computes: the page, and each figure as a file."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.services.reports import reports
from app.services.reports.dashboard import DASHBOARD
from app.services.reports.dashboard_figures import DASHBOARD_FIGURES
from app.services.reports.registry import figure_named
from app.web.pages.access import Managed, ManagedProject
from app.web.rendering import render
from app.web.serving.deps import Db
from app.web.serving.figure_files import figure_file
from app.web.words.reports import NUMBERS, Shown, cell

router = APIRouter(prefix="/projects/{slug}/figures", include_in_schema=False)

MOST_ROWS = 100

FigureName = Annotated[str, Path(max_length=63)]


@router.get("")
async def show_figures(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers who judges how much, what is left, what it takes, how far people agree."""
    return render.page(request, "figures/show.html", **await _page(managed, db))


@router.get("/state")
async def show_state(request: Request, managed: ManagedProject, db: Db) -> Response:
    """All of the page that moves when a newer report is written."""
    return render.partial(request, "figures/_state.html", **await _page(managed, db))


@router.get("/{figure}.{form}")
async def download_figure(
    figure: FigureName, form: Literal["json", "csv"], managed: ManagedProject, db: Db
) -> Response:
    """One figure as a file. Raises NotFound, and Conflict for a CSV before the figure is computed."""
    return await figure_file(db, managed.project, figure_named(figure), form)


async def _page(managed: Managed, db: AsyncSession) -> dict[str, Any]:
    latest = await reports.current(db, managed.project, DASHBOARD)
    shown = {figure.name: Shown(figure, await figure.read(db, latest.content)) for figure in DASHBOARD_FIGURES}
    return {
        "managed": managed,
        "latest": latest,
        "dashboard": latest.content,
        "shown": shown,
        "cell": cell,
        "number_forms": NUMBERS,
        "most_rows": MOST_ROWS,
    }
