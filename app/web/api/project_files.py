"""Whole projects by their files: sent in, looked at, made again here."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response, status
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import transaction
from app.db.tables import ProjectFile
from app.security import Principal
from app.services.data.storing import uploads
from app.services.loop.chores import project_files
from app.settings import Settings
from app.web.api.access import Caller, Credentials, Id, token_principal
from app.web.api.project_schemas import MadeProjectOut, ProjectFileIn, ProjectFileOut
from app.web.api.schemas import NO_NUL, ProjectOut, RunOut
from app.web.serving.deps import Db, sessions_of, settings_of

router = APIRouter(tags=["projects"])


def _maker(request: Request, caller: Caller) -> Principal:
    project_files.require_may(caller, settings_of(request).project_creation)
    return caller


Maker = Annotated[Principal, Depends(_maker)]
_BODY = {"requestBody": {"required": True, "content": {"application/zip": {"schema": {"format": "binary"}}}}}


@router.post("/project-files", status_code=status.HTTP_201_CREATED, summary="Upload a project", openapi_extra=_BODY)
async def send_project_file(
    request: Request,
    credentials: Credentials,
    name: Annotated[str, Query(max_length=200, pattern=NO_NUL, description="What the file is called.")] = "project.zip",
) -> ProjectFileOut:
    """The body is the zip that an export has written. It waits a day for a project to be made of it.

    403 where the site lets admins alone make projects, 413 for a file that is too large, 422 for one that is damaged or
    of a newer version.
    """
    settings = settings_of(request)
    caller = await token_principal(request, credentials)
    project_files.require_may(caller, settings.project_creation)
    stored = await project_files.keep(
        settings.home,
        name,
        request.stream(),
        most_bytes=settings.upload_bytes,
        reserve_bytes=settings.disk_reserve_bytes,
    )
    with uploads.noted(settings.home, stored):
        async with transaction(sessions_of(request)) as db:
            file = await project_files.enter(db, caller, settings.home, stored)
            out = await _out(settings, caller, file)
    return out


@router.get("/project-files/{file_id}", summary="Look at the file of a project")
async def read_project_file(request: Request, caller: Maker, file_id: Id, db: Db) -> ProjectFileOut:
    """What a file of yours holds by its own account."""
    return await _out(settings_of(request), caller, await project_files.get(db, caller, file_id))


@router.post(
    "/project-files/{file_id}/project", status_code=status.HTTP_202_ACCEPTED, summary="Make a project of a file"
)
async def make_project(request: Request, caller: Maker, file_id: Id, db: Db, body: ProjectFileIn) -> MadeProjectOut:
    """A project of yours, which a run fills with what the file holds; asked again, the same one.

    People of the file are accounts of this site for its admins alone. 409 for a short name that is taken.
    """
    return await _made(request, db, caller, await project_files.get(db, caller, file_id, for_update=True), body)


@router.delete("/project-files/{file_id}", status_code=status.HTTP_204_NO_CONTENT, summary="Discard a project's file")
async def discard_project_file(request: Request, caller: Maker, file_id: Id, db: Db) -> Response:
    """Removes it; 409 for one that a project was made of."""
    folder = await project_files.discard(db, await project_files.get(db, caller, file_id, for_update=True))
    await db.commit()
    uploads.remove(settings_of(request).home, folder)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


async def _out(settings: Settings, caller: Principal, file: ProjectFile) -> ProjectFileOut:
    said = await project_files.look(settings.home, file)
    return ProjectFileOut(
        id=file.id,
        file_name=file.file_name,
        size_bytes=file.size_bytes,
        name=said.name,
        slug=said.slug,
        version=said.version,
        with_models=said.with_models,
        with_people=said.with_people,
        takes_model=await project_files.takes_model(settings, caller, said),
        rows=dict(said.rows),
    )


async def _made(
    request: Request, db: AsyncSession, caller: Principal, file: ProjectFile, body: ProjectFileIn
) -> MadeProjectOut:
    project, run = await project_files.make(db, caller, settings_of(request), file, name=body.name, slug=body.slug)
    await db.refresh(project)
    return MadeProjectOut(project=ProjectOut.model_validate(project), run=RunOut.model_validate(run))
