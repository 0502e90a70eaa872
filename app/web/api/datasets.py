"""Dataset versions and their export in the schemas that other tools load."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status

from app.db.tables import DatasetVersion
from app.services.data import datasets
from app.services.data.exports import registry
from app.services.data.exports.formats import FORMATS, Format
from app.services.loop import cutting
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.paging import Page, Paging, read_page
from app.web.api.schemas import CutIn, DatasetOut, RunOut
from app.web.serving import downloads
from app.web.serving.conversions import OfProcess
from app.web.serving.deps import Db, sessions_of, settings_of

router = APIRouter(tags=["datasets"])

SCHEMAS = registry.choice("preferences")


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
    """An immutable snapshot of all current judgements, which a worker writes. The run's `result` has its `number`: that
    of the newest version when it holds them all already. 409 while one is being cut."""
    chosen = (body or CutIn()).model_dump()
    return RunOut.model_validate(await cutting.start(db, caller.user_id, project, **chosen))


@router.get("/projects/{slug}/datasets/{number}", summary="Read a dataset version")
async def read_dataset(project: ManagedProject, number: Id, db: Db) -> DatasetOut:
    """A version of the preferences."""
    return DatasetOut.model_validate(await datasets.get_version(db, project, number))


@router.get(
    "/projects/{slug}/datasets/{number}/export",
    response_class=Response,
    summary="Export a dataset version",
    responses={
        200: {"content": {form.media_type: {} for form in FORMATS.values()}, "description": "The rows, streamed."}
    },
)
async def export(
    request: Request,
    project: ManagedProject,
    number: Id,
    db: Db,
    conversions: OfProcess,
    form: Annotated[Format, Query(alias="format")] = "jsonl",
    raw: Annotated[
        bool,
        Query(
            description="With `judgement_id`, `strength` (1–3), `annotator` (a pseudonym), `chosen_safe`,"
            " `rejected_safe` and `less_harmful` (null where nobody was asked)."
        ),
    ] = False,
    schema: Annotated[str | None, Query(description=SCHEMAS, include_in_schema=SCHEMAS is not None)] = None,
) -> Response:
    """Preference pairs in TRL's conversational schema: `prompt`, `chosen`, `rejected`, each a list of `role` and
    `content`.

    Ties have no better response and are left out; the version's `counts` say how many there are.
    """
    version = await datasets.get_version(db, project, number)
    home = settings_of(request).home
    return await downloads.records(
        db, sessions_of(request), project, version, home, conversions, form=form, raw=raw, schema=schema
    )


@router.get(
    "/projects/{slug}/datasets/{number}/judgements",
    response_class=Response,
    summary="Export the judgements of a dataset version",
    responses={200: {"content": {FORMATS["jsonl"].media_type: {}}, "description": "One line for each judgement."}},
)
async def export_judgements(project: ManagedProject, number: Id, db: Db, conversions: OfProcess) -> Response:
    """Everything that each person said: choice or ranks, criteria, flags, harm, reason, better response, times.

    `responses`, `ranks`, `acceptable`, `safe` and the numbers in `flags` are by position in the task; `shown_order`
    says which position was shown as A, B, … Rankings keep their ties, and null is unranked.
    """
    return await downloads.judgement_rows(db, project, await datasets.get_version(db, project, number), conversions)
