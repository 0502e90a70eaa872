"""A whole project as a file: sent in, looked at, and made again here."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import UploadFile
from starlette.responses import Response

from app.db.session import transaction
from app.db.tables import ProjectFile, Run
from app.errors import Conflict, Invalid, NoRoom
from app.security import Principal
from app.services.data.storing import uploads
from app.services.data.storing.uploads import TooLarge
from app.services.loop.chores import project_files
from app.services.projects import addresses
from app.web.locales import translated
from app.web.rendering import render
from app.web.serving.bodies import chunks_of
from app.web.serving.deps import CurrentUser, Db, sessions_of, settings_of
from app.web.words import pace
from app.web.words.pace import Progress

router = APIRouter(prefix="/projects/new/file", include_in_schema=False)


def _maker(request: Request, principal: CurrentUser) -> Principal:
    """Whoever may make projects here. Raises Forbidden."""
    project_files.require_may(principal, settings_of(request).project_creation)
    return principal


Maker = Annotated[Principal, Depends(_maker)]
FileId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class Made(BaseModel):
    name: Annotated[str, Field(max_length=1000)] = ""
    slug: Annotated[str, Field(max_length=200)] = ""


@dataclass(frozen=True)
class Coming:
    """A file of which a project was made, with the run that fills it; without any once that was given up."""

    file: ProjectFile
    slug: str | None = None
    run: Run | None = None
    progress: Progress | None = None


@router.get("")
async def show_form(request: Request, _principal: Maker) -> Response:
    """Asks whoever may make projects for the file of one."""
    return _form(request)


@router.post("")
async def send_project_file(request: Request, principal: Maker) -> Response:
    """Keeps a file that is a project's and shows what it holds. No transaction is open while it comes in."""
    settings = settings_of(request)
    try:
        async with request.form(max_files=1, max_fields=2) as form:
            sent = form.get("file")
            if not isinstance(sent, UploadFile) or not sent.filename:
                raise Invalid("Choose a file.")
            stored = await project_files.keep(
                settings.home,
                sent.filename,
                chunks_of(sent),
                most_bytes=settings.upload_bytes,
                reserve_bytes=settings.disk_reserve_bytes,
            )
    except (Invalid, TooLarge, NoRoom) as error:
        return _form(request, problem=translated(error), status_code=error.status)
    with uploads.noted(settings.home, stored):
        async with transaction(sessions_of(request)) as db:
            file = await project_files.enter(db, principal, settings.home, stored)
    return render.redirect(f"/projects/new/file/{file.id}")


@router.get("/{file_id}")
async def show_project_file(request: Request, file_id: FileId, principal: Maker, db: Db) -> Response:
    """Shows who sent a file what is in it, or how far it is in; one that became a project leads there."""
    file = await project_files.get(db, principal, file_id)
    if file.project_id is None and file.problem is None:
        return await _page(request, db, principal, file)
    coming = await _coming(db, file)
    if coming.run is not None and coming.run.state == "succeeded":
        return render.redirect(f"/projects/{coming.slug}")
    return render.page(request, "project_files/coming.html", coming=coming)


@router.get("/{file_id}/state")
async def show_state(request: Request, file_id: FileId, principal: Maker, db: Db) -> Response:
    """How far a file is in: the part of its page that moves."""
    file = await project_files.get(db, principal, file_id)
    return render.partial(request, "project_files/_coming.html", coming=await _coming(db, file))


@router.post("/{file_id}")
async def make_project(
    request: Request, file_id: FileId, principal: Maker, form: Annotated[Made, Form()], db: Db
) -> Response:
    """Makes the project, which a worker fills; sent twice, it leads to the same."""
    file = await project_files.get(db, principal, file_id, for_update=True)
    try:
        async with db.begin_nested():
            await project_files.make(db, principal, settings_of(request), file, name=form.name, slug=form.slug)
    except (Invalid, Conflict) as error:
        await db.refresh(file)
        if file.problem is not None:
            return render.redirect(f"/projects/new/file/{file.id}")
        return await _page(request, db, principal, file, form, problem=translated(error), status_code=error.status)
    return render.redirect(f"/projects/new/file/{file.id}")


@router.post("/{file_id}/discard")
async def discard_project_file(request: Request, file_id: FileId, principal: Maker, db: Db) -> Response:
    """Removes a file that no project was made of."""
    folder = await project_files.discard(db, await project_files.get(db, principal, file_id, for_update=True))
    await db.commit()
    uploads.remove(settings_of(request).home, folder)
    return render.redirect("/projects/new/file")


async def _coming(db: AsyncSession, file: ProjectFile) -> Coming:
    made = await project_files.made(db, file)
    if made is None:
        return Coming(file)
    project, run = made
    return Coming(file, project.slug, run, await pace.of_run(db, run))


def _form(request: Request, *, problem: str | None = None, status_code: int = 200) -> Response:
    return render.page(
        request,
        "project_files/new.html",
        status_code=status_code,
        problem=problem,
        most_megabytes=settings_of(request).upload_megabytes,
    )


async def _page(
    request: Request,
    db: AsyncSession,
    principal: Principal,
    file: ProjectFile,
    form: Made | None = None,
    *,
    problem: str | None = None,
    status_code: int = 200,
) -> Response:
    settings = settings_of(request)
    said = await project_files.look(settings.home, file)
    return render.page(
        request,
        "project_files/show.html",
        status_code=status_code,
        file=file,
        said=said,
        form=form or Made(name=said.name, slug=await addresses.free(db, said.slug)),
        takes_model=await project_files.takes_model(settings, principal, said),
        knows_people=principal.is_admin,
        problem=problem,
    )
