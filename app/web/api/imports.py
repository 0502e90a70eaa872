"""Files into a project: uploaded, checked, stored, and taken back."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import transaction
from app.db.tables import Import, Project
from app.errors import Invalid, NotFound
from app.services.data.storing import imports, uploads
from app.services.loop.chores import importing
from app.services.loop.runs import runs
from app.services.loop.stages.importing import Action
from app.services.projects import projects
from app.web.api.access import Caller, Credentials, Id, ManagedProject, OwnedProject, token_principal
from app.web.api.paging import Page, Paging, read_page
from app.web.api.schemas import NO_NUL, ImportIn, ImportOut, LoadIn
from app.web.serving import downloads
from app.web.serving.deps import Db, sessions_of, settings_of

router = APIRouter(tags=["imports"])

_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"format": "binary"}}}}}


@router.get("/projects/{slug}/imports", summary="List imports")
async def list_imports(project: ManagedProject, db: Db, paging: Paging) -> Page[ImportOut]:
    """Files that came in, newest first, with what they brought; 403 for annotators."""
    found = select(Import).where(Import.project_id == project.id)
    return await read_page(db, found, Import.id, paging=paging, out=ImportOut.model_validate)


@router.post(
    "/projects/{slug}/imports", status_code=status.HTTP_201_CREATED, summary="Upload a file", openapi_extra=_BODY
)
async def upload(
    request: Request,
    slug: str,
    credentials: Credentials,
    name: Annotated[str, Query(max_length=200, pattern=NO_NUL, description="What the file is called.")] = "upload",
) -> ImportOut:
    """The body is the file, packed or not. What its rows are is recognised; nothing is stored but the file.

    `format` is null where it isn't recognised: name one with the check. 413 for a file that is too large.
    """
    principal = await token_principal(request, credentials)
    async with transaction(sessions_of(request)) as db:
        await projects.require_role(db, principal, await projects.get(db, principal, slug), "owner")
    settings = settings_of(request)
    stored = await uploads.keep(
        settings.home,
        name,
        request.stream(),
        most_bytes=settings.upload_bytes,
        reserve_bytes=settings.disk_reserve_bytes,
    )
    with uploads.noted(settings.home, stored):
        async with transaction(sessions_of(request)) as db:
            project = await projects.get(db, principal, slug)
            await projects.require_role(db, principal, project, "owner")  # who may have left while the file came in
            import_ = await imports.create(db, settings.home, project, principal.user_id, stored)
            out = ImportOut.model_validate(import_)
    return out


@router.get("/projects/{slug}/imports/{import_id}", summary="Read an import")
async def read_import(project: ManagedProject, import_id: Id, db: Db) -> ImportOut:
    """How it is read, what was counted, and the run that is at it or was last; 403 for annotators."""
    return ImportOut.model_validate(await imports.get(db, project, import_id))


@router.post("/projects/{slug}/imports/{import_id}/check", summary="Check a file")
async def check_import(
    request: Request, project: OwnedProject, import_id: Id, caller: Caller, db: Db, body: ImportIn
) -> ImportOut:
    """Queues a run that reads all of it and counts what it would bring; follow `run_id`. Nothing is stored.

    What is given says how it is read from now on. 409 while another run is at it, and once it came in.
    """
    import_ = await imports.get(db, project, import_id, for_update=True)
    form = body.format or import_.format
    if form is None:
        raise Invalid("Name a format: what the rows of the file are wasn't recognised.")
    stays = body.columns is None and form == import_.format
    await imports.choose(
        db,
        settings_of(request).home,
        import_,
        form=form,
        columns=import_.columns if stays else body.columns,
        options=body.model_dump(include={"choice", "demonstrate"}),
    )
    return await _start(db, caller.user_id, project, import_, "check")


@router.post("/projects/{slug}/imports/{import_id}/load", summary="Import a file")
async def load_import(project: OwnedProject, import_id: Id, caller: Caller, db: Db, body: LoadIn) -> ImportOut:
    """Queues a run that stores all rows that are new, or nothing; follow `run_id`.

    409 while another run is at it, once it came in, and where a check has found rows that can't be used, unless those
    are to be left out.
    """
    import_ = await imports.get(db, project, import_id, for_update=True)
    import_.options = {**import_.options, "skip_bad": body.skip_bad}
    return await _start(db, caller.user_id, project, import_, "load")


@router.post("/projects/{slug}/imports/{import_id}/undo", summary="Undo an import")
async def undo_import(project: OwnedProject, import_id: Id, caller: Caller, db: Db) -> ImportOut:
    """Queues a run that removes all that it brought; follow `run_id`.

    409 where a dataset version holds some of it, and where people have worked on its tasks.
    """
    import_ = await imports.get(db, project, import_id, for_update=True)
    return await _start(db, caller.user_id, project, import_, "undo")


@router.post("/projects/{slug}/imports/{import_id}/cancel", summary="Cancel what is done with an import")
async def cancel_import(project: OwnedProject, import_id: Id, caller: Caller, db: Db) -> ImportOut:
    """Nothing of it stays. 409 when it is over already, 404 when there was nothing to cancel."""
    import_ = await imports.get(db, project, import_id)
    run = await imports.run_of(db, import_)
    if run is None:
        raise NotFound
    await runs.request_cancel(db, caller, run)
    return ImportOut.model_validate(import_)


@router.delete("/projects/{slug}/imports/{import_id}", status_code=status.HTTP_204_NO_CONTENT, summary="Discard a file")
async def discard_import(request: Request, project: OwnedProject, import_id: Id, db: Db) -> Response:
    """Removes a file that brought nothing; 409 for one that did, which can be undone."""
    folder = await imports.discard(db, await imports.get(db, project, import_id, for_update=True))
    await db.commit()
    uploads.remove(settings_of(request).home, folder)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.get(
    "/projects/{slug}/imports/{import_id}/bad-rows",
    response_class=Response,
    summary="Read the bad rows",
    responses={200: {"content": {"text/csv": {}}, "description": "line, field and reason of each, in a table."}},
)
async def read_bad_rows(request: Request, project: ManagedProject, import_id: Id, db: Db) -> Response:
    """All of them, as the last check or import found them; the heading alone where there were none."""
    return downloads.bad_rows(settings_of(request).home, project, await imports.get(db, project, import_id))


async def _start(db: AsyncSession, actor_id: int, project: Project, import_: Import, action: Action) -> ImportOut:
    await importing.start(db, actor_id, project, import_, action)
    return ImportOut.model_validate(import_)
