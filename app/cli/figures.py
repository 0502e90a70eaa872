"""Figures of a project from the command line, computed as they are now: what its pages Figures and Agreement show."""

import json
import sys
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app
from app.cli.database import in_transaction
from app.errors import NotFound
from app.services.projects import projects
from app.services.reports import reports
from app.services.reports.registry import FIGURES
from app.web.serving.figure_files import FigureFormat
from app.web.words.reports import csv_file, json_file


@app.command(short_help="Figures of a project: list them, print one.", rich_help_panel=THINGS)
def figures(
    figure: Annotated[str | None, typer.Argument(help="Its name; unset: list what there is.")] = None,
    project: Annotated[str, typer.Option("--project", "-p", help="The project's short name, as in its address.")] = "",
    file_format: Annotated[FigureFormat, typer.Option("--format", help="json or csv.")] = "json",
) -> None:
    """Print a figure of a project: judgements by day, agreement, coverage, models and others."""
    if figure is None:
        print("\n".join(f"{known.name}: {known.title}" for known in FIGURES.values()))
        return
    if figure not in FIGURES:
        raise NotFound(f"There is no figure {figure}; there are {', '.join(FIGURES)}.")
    asked = FIGURES[figure]

    async def write(db: AsyncSession) -> None:
        await reports.one_snapshot(db)
        latest = await reports.fresh(db, await projects.named(db, project), asked.report)
        rows = await asked.read(db, latest.content)
        if file_format == "csv":
            sys.stdout.write(csv_file(asked, rows))
        else:
            print(json.dumps(json_file(asked, rows, latest), ensure_ascii=False, indent=2))

    in_transaction(write)
