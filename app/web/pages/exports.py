"""A dataset version as a file of somebody's choice: the form, its first rows, and files that workers write."""

import json
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import DatasetVersion, Run
from app.db.tables.lineage import DatasetKind
from app.db.tables.runs import TERMINAL_RUN_STATES
from app.errors import DomainError
from app.services.data import datasets
from app.services.data.exports.asked import Asked
from app.services.data.exports.writing import Preview
from app.services.loop.chores import exporting
from app.web.locales import gettext, translated
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving import downloads
from app.web.serving.deps import CurrentUser, Db, settings_of
from app.web.serving.export_query import ExportQuery
from app.web.words import exports as words

router = APIRouter(prefix="/projects/{slug}/datasets/{number}/exports", include_in_schema=False)

Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
LONGEST_LINE = 2_000
"""Characters of a row that are shown."""


@dataclass(frozen=True)
class ExportRun:
    """A run that writes a version, or has, and what was asked of it."""

    run: Run
    described: str

    @property
    def is_moving(self) -> bool:
        return self.run.state not in TERMINAL_RUN_STATES


@router.get("")
async def show_exports(request: Request, number: Number, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers what a version can be taken away as; once they have chosen, its first rows."""
    given = dict(request.query_params)
    version = await datasets.get_version(db, managed.project, number, _kind(given))
    if "schema" not in given:
        return await _page(request, db, managed, version, given)
    try:
        asked = ExportQuery.model_validate(given).asked
        shown = await exporting.preview(db, version, settings_of(request).home, asked)
    except (ValidationError, DomainError) as error:
        return await _page(request, db, managed, version, given, problem=_said(error))
    return await _page(request, db, managed, version, given, preview=shown)


@router.get("/state")
async def show_export_runs(
    request: Request, number: Number, managed: ManagedProject, db: Db, kind: DatasetKind = "preferences"
) -> Response:
    """How far the files are that workers write: the part of the page that moves."""
    version = await datasets.get_version(db, managed.project, number, kind)
    return render.partial(
        request,
        "datasets/_exports.html",
        managed=managed,
        version=version,
        exports=await _runs(db, version),
        address=_address(managed, version),
    )


@router.post("")
async def start_export(
    request: Request, number: Number, managed: ManagedProject, project: OwnedProject, principal: CurrentUser, db: Db
) -> Response:
    """Has a worker write a version for an owner as they ask for it."""
    async with request.form(max_files=0, max_fields=40) as form:
        given = {name: value for name, value in form.items() if isinstance(value, str)}
    version = await datasets.get_version(db, managed.project, number, _kind(given))
    try:
        asked = ExportQuery.model_validate(given).asked
        await exporting.start(db, principal.user_id, project, version, asked)
    except (ValidationError, DomainError) as error:
        return await _page(request, db, managed, version, given, problem=_said(error))
    return render.redirect(f"{_address(managed, version)}?kind={version.kind}#exports")


@router.get("/{run_id}")
async def download_export(
    request: Request, number: Number, run_id: Number, managed: ManagedProject, db: Db, kind: DatasetKind = "preferences"
) -> Response:
    """Sends owners and reviewers the file that a worker has written, or the part of it that they ask for."""
    version = await datasets.get_version(db, managed.project, number, kind)
    return await downloads.exported_dataset(request, db, version, await exporting.done(db, version, run_id))


def _kind(given: dict[str, str]) -> DatasetKind:
    return "demonstrations" if given.get("kind") == "demonstrations" else "preferences"


def _address(managed: Managed, version: DatasetVersion) -> str:
    return f"/projects/{managed.project.slug}/datasets/{version.number}/exports"


def _said(error: ValidationError | DomainError) -> str:
    if isinstance(error, DomainError):
        return translated(error)
    named = ", ".join(str(problem["loc"][0]) for problem in error.errors() if problem["loc"])
    return gettext("This can’t be asked for: %(fields)s.") % {"fields": named}


async def _runs(db: AsyncSession, version: DatasetVersion) -> list[ExportRun]:
    runs = await exporting.list_runs(db, version)
    return [ExportRun(run, words.described(Asked.model_validate(run.settings["asked"]))) for run in runs]


async def _page(
    request: Request,
    db: AsyncSession,
    managed: Managed,
    version: DatasetVersion,
    given: dict[str, str],
    *,
    preview: Preview | None = None,
    problem: str | None = None,
) -> Response:
    kind = _kind(given)
    named = {"preferences": gettext("Preferences %(number)s"), "demonstrations": gettext("Demonstrations %(number)s")}
    return render.page(
        request,
        "datasets/exports.html",
        status_code=422 if problem else 200,
        managed=managed,
        version=version,
        called=named[kind] % {"number": version.number},
        address=_address(managed, version),
        download=f"/projects/{managed.project.slug}/datasets/{version.number}/export",
        fields=words.fields(kind, given, is_believed=version.believed is not None),
        about=words.about(kind),
        is_large=exporting.is_large(version),
        most=exporting.MOST_AT_ONCE,
        preview=preview,
        lines=[_line(row) for row in preview.rows] if preview else [],
        problem=problem,
        exports=await _runs(db, version),
    )


def _line(row: object) -> str:
    text = json.dumps(row, ensure_ascii=False, indent=1)
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} …"
