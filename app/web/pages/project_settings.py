"""Settings of a project as a whole: what it is called, its copy, the archive, and its end."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Project
from app.errors import Conflict, DomainError, Invalid
from app.services.loop.chores import lifecycle
from app.services.loop.runs import base_models
from app.services.loop.runs.base_models import CheckedModel
from app.services.projects import projects, setup, standing
from app.web.locales import gettext, translated
from app.web.pages.access import Managed, ManagedEvenArchived, OwnedEvenArchived, OwnedProject
from app.web.pages.seen import ChangedMeanwhile, SeenForm, require_seen
from app.web.rendering import render
from app.web.serving import downloads
from app.web.serving.deps import CurrentUser, Db, settings_of

router = APIRouter(prefix="/projects/{slug}/settings", include_in_schema=False)

RunId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class Described(SeenForm):
    name: Annotated[str, Field(max_length=1000)] = ""
    description: Annotated[str, Field(max_length=100_000)] = ""
    licence: Annotated[str | None, Field(max_length=200)] = None


class Copied(BaseModel):
    name: Annotated[str, Field(max_length=1000)] = ""
    with_prompts: bool = False


class Model(BaseModel):
    """`check` is sent by a button that looks at the model, and changes nothing. Without a model: from nothing."""

    model: Annotated[str, Field(max_length=4096)] = ""
    check: bool = False


class Exported(BaseModel):
    with_models: bool = False
    pseudonyms: bool = False


class Deleted(BaseModel):
    name: Annotated[str, Field(max_length=1000)] = ""


@router.get("")
async def show_settings(request: Request, managed: ManagedEvenArchived, principal: CurrentUser, db: Db) -> Response:
    """Shows owners and reviewers what the project is called, and owners what they can do with it as a whole."""
    return await _page(request, db, managed)


@router.post("")
async def describe(
    request: Request,
    managed: ManagedEvenArchived,
    project: OwnedEvenArchived,
    form: Annotated[Described, Form()],
    db: Db,
) -> Response:
    """Renames the project and says what it is for. Its address stays."""
    try:
        await require_seen(db, project, form.seen, lambda now: _described(now).seen)
        projects.describe(project, name=form.name, description=form.description, licence=form.licence)
    except (Invalid, ChangedMeanwhile) as error:
        form.seen = _described(project).seen
        return await _page(request, db, managed, error, described=form)
    await db.flush()
    return render.redirect(f"/projects/{project.slug}/settings?saved=true")


@router.post("/model")
async def change_model(
    request: Request,
    managed: ManagedEvenArchived,
    project: OwnedProject,
    form: Annotated[Model, Form()],
    principal: CurrentUser,
    db: Db,
) -> Response:
    """Lets policies start from another model, while no run needs the old one."""
    checked = None
    try:
        if form.check or form.model.strip():
            checked = await base_models.check(settings_of(request), principal, form.model)
        if form.check:
            return await _page(request, db, managed, model=form.model, checked=checked)
        await lifecycle.change_model(db, project, checked.card.location if checked else None)
    except (Invalid, Conflict) as error:
        return await _page(request, db, managed, error, model=form.model)
    return render.redirect(f"/projects/{project.slug}/settings?saved=true")


@router.post("/copy")
async def copy_project(
    request: Request,
    managed: ManagedEvenArchived,
    project: OwnedEvenArchived,
    form: Annotated[Copied, Form()],
    principal: CurrentUser,
    db: Db,
) -> Response:
    """Makes another project with the same settings, and leads there."""
    try:
        made = await lifecycle.copy(
            db,
            principal,
            settings_of(request).project_creation,
            project,
            name=form.name or gettext("Copy of %(name)s") % {"name": project.name},
            with_prompts=form.with_prompts,
        )
    except (Invalid, Conflict) as error:
        return await _page(request, db, managed, error)
    return render.redirect(f"/projects/{made.slug}/settings")


@router.post("/export")
async def export_project(
    project: OwnedProject, form: Annotated[Exported, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Has a worker write the whole project into one file, and leads to where it can be watched."""
    await lifecycle.export(db, principal, project, with_models=form.with_models, with_people=not form.pseudonyms)
    return render.redirect(f"/projects/{project.slug}/settings#export")


@router.get("/exports/{run_id}")
async def download_export(request: Request, run_id: RunId, project: OwnedProject, db: Db) -> Response:
    """The file of an export that is done."""
    return downloads.whole_project(project, await lifecycle.exported(db, project, run_id), settings_of(request).home)


@router.post("/archive")
async def archive_project(request: Request, managed: ManagedEvenArchived, project: OwnedProject, db: Db) -> Response:
    """Puts the project into the archive; what still works has to be cancelled before."""
    try:
        await lifecycle.archive(db, project)
    except Conflict as error:
        return await _page(request, db, managed, error)
    return render.redirect("/projects")


@router.post("/unarchive")
async def take_out_of_the_archive(project: OwnedEvenArchived, db: Db) -> Response:
    """Brings the project back as it was."""
    await lifecycle.take_out(db, project)
    return render.redirect(f"/projects/{project.slug}")


@router.post("/delete")
async def delete_project(
    request: Request, managed: ManagedEvenArchived, project: OwnedEvenArchived, form: Annotated[Deleted, Form()], db: Db
) -> Response:
    """Deletes the project for good once its name was typed. A worker removes what it holds."""
    try:
        await lifecycle.ask_removal(db, project, name=form.name)
    except Invalid as error:
        return await _page(request, db, managed, error)
    return render.redirect("/projects")


def _described(project: Project) -> Described:
    return Described(name=project.name, description=project.description, licence=project.licence).as_shown()


async def _page(
    request: Request,
    db: AsyncSession,
    managed: Managed,
    error: DomainError | None = None,
    *,
    described: Described | None = None,
    model: str | None = None,
    checked: CheckedModel | None = None,
) -> Response:
    project = managed.project
    principal = request.state.principal
    return render.page(
        request,
        "settings/show.html",
        status_code=error.status if error else 200,
        managed=managed,
        described=described or _described(project),
        model=(project.policy_source or "") if model is None else model,
        checked=checked,
        exports=await lifecycle.exports(db, project) if managed.is_owner else [],
        holdings=await standing.holdings(db, project) if managed.is_owner else None,
        may_create=setup.may_begin(principal, settings_of(request).project_creation),
        problem=translated(error) if error else None,
        saved=request.query_params.get("saved") == "true",
    )
