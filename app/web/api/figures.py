"""Figures of a project, which a worker computes: how it is getting on, for programs."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from app.services.reports.figure import Form
from app.services.reports.registry import FIGURES, figure_named
from app.web.api.access import ManagedProject
from app.web.serving.deps import Db
from app.web.serving.figure_files import FigureFormat, figure_file
from app.web.words.reports import described

router = APIRouter(tags=["figures"])


class ColumnOut(BaseModel):
    name: str
    title: str
    form: Form = Field(description="`person`: an id, beside which rows have the name under `person`.")


class FigureOut(BaseModel):
    name: str
    title: str
    meaning: str = Field(description="What is counted, and of what a share is one.")
    columns: list[ColumnOut]


class FigureRowsOut(FigureOut):
    as_of: datetime | None = Field(description="The moment that the rows tell of; null before there are any.")
    is_awaited: bool = Field(description="A newer state is being computed: ask again.")
    problem: str | None = Field(description="Why there is no newer state.")
    rows: list[dict[str, Any]]


@router.get("/projects/{slug}/figures", summary="List figures")
async def list_figures(project: ManagedProject) -> list[FigureOut]:
    """The figures that there are of a project and what each means; 403 for annotators."""
    return [FigureOut.model_validate(described(figure)) for figure in FIGURES.values()]


@router.get(
    "/projects/{slug}/figures/{figure}",
    response_class=Response,
    summary="Read a figure",
    responses={
        200: {"model": FigureRowsOut, "content": {"text/csv": {}}, "description": "The rows, as they are known."}
    },
)
async def read_figure(
    project: ManagedProject,
    figure: Annotated[str, Path(max_length=63)],
    db: Db,
    form: Annotated[FigureFormat, Query(alias="format", description="`json` or `csv`.")] = "json",
) -> Response:
    """What a worker has computed. Newer rows are asked for where something has changed and a minute has passed; 409 for
    a CSV of what has never been computed."""
    return await figure_file(db, project, figure_named(figure), form)
