"""What a project has had, newest first: rounds, runs, models, dataset versions and files that came in."""

from collections.abc import Mapping
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli.data import dataset_commands
from app.cli.database import in_transaction
from app.cli.imports import data_commands
from app.cli.loop_control import round_commands, run_commands
from app.cli.model import commands as model_commands
from app.cli.output import Row, show
from app.db.tables import DatasetVersion, Import, ModelVersion, Round, Run
from app.services.projects import projects

Listed = type[Round] | type[Run] | type[ModelVersion] | type[DatasetVersion] | type[Import]
ProjectName = Annotated[str, typer.Option("--project", "-p", help="The project's short name, as in its address.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="So many at most, the newest.")]


@round_commands.command("list")
def list_rounds(project: ProjectName, limit: Limit = 50) -> None:
    """List the rounds of a project."""
    columns = {"number": "round", "status": "state", "step": "at", "label_target": "judgements", "reason": ""}
    _list(Round, project, limit, columns)


@run_commands.command("list")
def list_runs(project: ProjectName, limit: Limit = 50) -> None:
    """List the runs of a project."""
    columns = {"id": "run", "stage": "stage", "state": "state", "step": "step", "total_steps": "of", "error": ""}
    _list(Run, project, limit, {**columns, "queued_at": "queued"})


@model_commands.command("list")
def list_models(project: ProjectName, limit: Limit = 50) -> None:
    """List the model versions of a project."""
    columns = {"kind": "kind", "number": "number", "state": "state", "created_at": "made"}
    _list(ModelVersion, project, limit, columns)


@dataset_commands.command("list")
def list_datasets(project: ProjectName, limit: Limit = 50) -> None:
    """List the dataset versions of a project."""
    columns = {"number": "number", "kind": "kind", "row_count": "rows", "created_at": "cut"}
    _list(DatasetVersion, project, limit, columns)


@data_commands.command("list")
def list_imports(project: ProjectName, limit: Limit = 50) -> None:
    """List the files that came into a project."""
    columns = {"id": "import", "file_name": "file", "state": "state", "format": "format", "created_at": "came"}
    _list(Import, project, limit, columns)


def _list(table: Listed, project: str, limit: int, columns: Mapping[str, str]) -> None:
    async def read(db: AsyncSession) -> list[Row]:
        found = await projects.named(db, project)
        newest = select(table).where(table.project_id == found.id).order_by(table.id.desc()).limit(limit)
        rows = await db.scalars(newest)
        return [{name: getattr(row, name) for name in columns} for row in rows]

    show(in_transaction(read), columns, empty="There is none yet.")
