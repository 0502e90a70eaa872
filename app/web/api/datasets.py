"""Dataset versions and their export in the schemas that other tools load."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response, status

from app.db.tables import DatasetVersion
from app.db.tables.lineage import DatasetKind
from app.services.data import datasets
from app.services.data.exports.asked import Asked
from app.services.data.exports.formats import FORMATS
from app.services.loop.chores import cutting, exporting
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.edits import Read
from app.web.api.paging import Page, Paging, read_page
from app.web.api.schemas import CutIn, DatasetExportIn, DatasetOut, ExportColumnOut, ExportPreviewOut, RunOut
from app.web.serving import downloads
from app.web.serving.deps import Db, settings_of
from app.web.serving.export_query import MEDIA_TYPES, AskedFor

router = APIRouter(tags=["datasets"])

_CONTENT: dict[str, dict[str, Any]] = {media_type: {} for media_type in MEDIA_TYPES}
FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": _CONTENT, "description": "The file. `ETag` is the SHA-256 of what is in it."},
    206: {"content": _CONTENT, "description": "The part of it that `Range` asks for."},
    304: {"description": "You have it: `If-None-Match` says so."},
    416: {"description": "It has no such part."},
}


@router.get("/projects/{slug}/datasets", summary="List dataset versions")
async def list_datasets(
    project: ManagedProject, db: Db, paging: Paging, tag: Annotated[str | None, Query(max_length=80)] = None
) -> Page[DatasetOut]:
    """Versions of preferences and of demonstrations, newest first, those with a `tag` alone; 403 for annotators."""
    return await read_page(
        db,
        datasets.in_project(project.id, tag=tag),
        DatasetVersion.id,
        paging=paging,
        out=DatasetOut.model_validate,
    )


@router.post(
    "/projects/{slug}/datasets",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Cut a dataset version",
)
async def cut(project: OwnedProject, caller: Caller, db: Db, body: CutIn | None = None) -> RunOut:
    """An immutable snapshot of all current judgements, or demonstrations, which a worker writes. The run's `result` has
    its `number`: that of the newest version when it holds them all already. 409 while one is being cut."""
    chosen = (body or CutIn()).model_dump()
    return RunOut.model_validate(await cutting.start(db, caller.user_id, project, **chosen))


@router.get("/projects/{slug}/datasets/{number}", summary="Read a dataset version")
async def read_dataset(
    project: ManagedProject, number: Id, db: Db, read: Read, kind: DatasetKind = "preferences"
) -> DatasetOut:
    """A version of the preferences, or of the demonstrations by `kind`."""
    version = await datasets.get_version(db, project, number, kind)
    await read.tell(db, version)
    return DatasetOut.model_validate(version)


@router.get(
    "/projects/{slug}/datasets/{number}/export",
    response_class=Response,
    summary="Export a dataset version",
    responses=FILE,
)
async def export(request: Request, project: ManagedProject, number: Id, db: Db, query: AskedFor) -> Response:
    """The rows of a version in a schema, a format and for the people, splits and days that you say; without anything,
    preference pairs in TRL's conversational schema as JSON lines. Every row says its `split`.

    Ties have no better response: schemas of `chosen` and `rejected` leave them out, and `counts` of the version says
    how many there are. 409 `TooLarge` for a version of more than 100,000 rows, until a worker has written what you
    ask for.
    """
    version = await datasets.get_version(db, project, number, query.kind)
    return await downloads.dataset(request, db, project, version, query.asked)


@router.get("/projects/{slug}/datasets/{number}/rows", summary="Look at the first rows of an export")
async def preview_export(
    request: Request, project: ManagedProject, number: Id, db: Db, query: AskedFor
) -> ExportPreviewOut:
    """The columns that an export would have, with their types, and its first rows: at most five."""
    version = await datasets.get_version(db, project, number, query.kind)
    found = await exporting.preview(db, version, settings_of(request).home, query.asked)
    columns = [ExportColumnOut(name=column.name, type=column.type) for column in found.columns]
    return ExportPreviewOut(columns=columns, rows=found.rows)


@router.post(
    "/projects/{slug}/datasets/{number}/exports",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Have a worker write an export",
)
async def start_export(project: OwnedProject, number: Id, caller: Caller, db: Db, body: DatasetExportIn) -> RunOut:
    """For versions of any size. Once the run has succeeded its file is at `…/exports/{run_id}`; its `result` has
    `rows_written`, `size_bytes` and `sha256`. Asked for again, it is the same run."""
    version = await datasets.get_version(db, project, number, body.kind)
    return RunOut.model_validate(await exporting.start(db, caller.user_id, project, version, body.asked))


@router.get(
    "/projects/{slug}/datasets/{number}/exports/{run_id}",
    response_class=Response,
    summary="Download an export",
    responses=FILE,
)
async def download_export(
    request: Request, project: ManagedProject, number: Id, run_id: Id, db: Db, kind: DatasetKind = "preferences"
) -> Response:
    """The file that a run has written; 404 until it has. `Range` and `If-Range` fetch the rest of a broken download."""
    version = await datasets.get_version(db, project, number, kind)
    return await downloads.exported_dataset(request, db, version, await exporting.done(db, version, run_id))


@router.get(
    "/projects/{slug}/datasets/{number}/judgements",
    response_class=Response,
    summary="Export the judgements of a dataset version",
    responses={200: {"content": {FORMATS["jsonl"].media_type: {}}, "description": "One line for each judgement."}},
)
async def export_judgements(request: Request, project: ManagedProject, number: Id, db: Db) -> Response:
    """Everything that each person said: the same as an export in the schema `judgements`.

    `responses`, `models`, `ranks`, `acceptable`, `safe` and the numbers in `flags` are by position in the task;
    `shown_order` says which position was shown as A, B, … Rankings keep their ties, and 0 is unranked.
    """
    version = await datasets.get_version(db, project, number)
    return await downloads.dataset(request, db, project, version, Asked(schema="judgements"))
