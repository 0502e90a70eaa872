"""Projects that the caller is a member of, and those that they own as a whole: made, changed, copied, ended."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, status
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import FileResponse, Response

from app.db.tables import Project
from app.security import Principal
from app.services.loop.chores import lifecycle
from app.services.loop.runs import base_models
from app.services.people import trust
from app.services.projects import projects, setup, standing
from app.services.reports.counted import counted
from app.web.api.access import Caller, Id, MemberProject, OwnedEvenArchived, OwnedProject
from app.web.api.edits import Edit, Read
from app.web.api.paging import Page, Paging, read_page
from app.web.api.project_schemas import CopyIn, ExportIn, ProjectChange, ProjectIn
from app.web.api.schemas import CountsOut, ProgressOut, ProjectDetail, ProjectOut, RunOut
from app.web.serving import downloads
from app.web.serving.deps import Db, settings_of

router = APIRouter(tags=["projects"])

Confirmation = Annotated[str, Query(description="The project's name, so that nothing is deleted by a slip.")]


@router.get("/projects", summary="List projects")
async def list_projects(caller: Caller, db: Db, paging: Paging, archived: bool = False) -> Page[ProjectOut]:
    """Projects that you are a member of, newest first; for admins all of them. `archived`: those of the archive that
    you own instead.
    """
    return await read_page(
        db,
        projects.archived_of(caller) if archived else projects.visible_to(caller),
        Project.id,
        paging=paging,
        out=ProjectOut.model_validate,
    )


@router.post("/projects", status_code=status.HTTP_201_CREATED, summary="Make a project")
async def create_project(request: Request, caller: Caller, db: Db, body: ProjectIn) -> ProjectDetail:
    """A project of yours, filled in from a template; 403 where the site lets admins alone make projects."""
    creation = settings_of(request).project_creation
    project = await setup.begin(db, caller, creation, **body.model_dump())
    await trust.begin_own(db, caller, project.id)
    project.setup_step = None  # a program has no pages to go on with
    await db.flush()
    await db.refresh(project)
    return await _detail(db, caller, project)


@router.patch("/projects/{slug}", summary="Change a project")
async def change_project(
    request: Request, project: OwnedProject, caller: Caller, db: Db, edit: Edit, body: ProjectChange
) -> ProjectDetail:
    """Changes what is given and leaves the rest. A question is replaced as a whole; it holds from the next task on."""
    await edit.require_current(db, project)
    projects.describe(
        project,
        name=project.name if body.name is None else body.name,
        description=project.description if body.description is None else body.description,
        licence=body.licence,
    )
    if "policy_source" in body.model_fields_set:
        if body.policy_source is not None:
            await base_models.check(settings_of(request), caller, body.policy_source)
        await lifecycle.change_model(db, project, body.policy_source)
    if body.asks_anything:
        projects.ask(
            project,
            body.question_of(project),
            project.guidelines if body.guidelines is None else body.guidelines,
            overlap=body.overlap or project.overlap,
            lease_seconds=body.lease_seconds or project.lease_seconds,
        )
    await edit.tell(db, project)
    await db.refresh(project)
    return await _detail(db, caller, project)


@router.post("/projects/{slug}/copy", status_code=status.HTTP_201_CREATED, summary="Copy a project")
async def copy_project(
    request: Request, project: OwnedEvenArchived, caller: Caller, db: Db, body: CopyIn
) -> ProjectDetail:
    """Another project of yours with the same settings; a run brings the prompts, where they are wanted."""
    made = await lifecycle.copy(db, caller, settings_of(request).project_creation, project, **body.model_dump())
    await db.refresh(made)
    return await _detail(db, caller, made)


@router.post("/projects/{slug}/exports", status_code=status.HTTP_202_ACCEPTED, summary="Export a project")
async def export_project(project: OwnedProject, caller: Caller, db: Db, body: ExportIn) -> RunOut:
    """Has a worker write the whole project into one file; the run says when it is there."""
    run = await lifecycle.export(db, caller, project, **body.model_dump())
    return RunOut.model_validate(run)


@router.get("/projects/{slug}/exports/{run_id}", summary="Download an exported project", response_class=FileResponse)
async def download_project(request: Request, project: OwnedProject, run_id: Id, db: Db) -> Response:
    """A zip, which `plumbline project import` makes a project of again; 404 until its run has succeeded."""
    return downloads.whole_project(project, await lifecycle.exported(db, project, run_id), settings_of(request).home)


@router.post("/projects/{slug}/archive", summary="Archive a project")
async def archive_project(project: OwnedProject, db: Db) -> ProjectOut:
    """Hides it from everybody but its owners and loses nothing; 409 while a round or a run of it is under way."""
    await lifecycle.archive(db, project)
    await db.refresh(project)
    return ProjectOut.model_validate(project)


@router.post("/projects/{slug}/unarchive", summary="Take a project out of the archive")
async def take_project_out(project: OwnedEvenArchived, db: Db) -> ProjectOut:
    """Brings it back as it was; nothing happens to one that isn't there."""
    await lifecycle.take_out(db, project)
    await db.refresh(project)
    return ProjectOut.model_validate(project)


@router.delete("/projects/{slug}", status_code=status.HTTP_202_ACCEPTED, summary="Delete a project")
async def delete_project(project: OwnedEvenArchived, db: Db, name: Confirmation) -> ProjectOut:
    """Deletes it for good: nobody sees it from now on, its rounds and runs are cancelled, and a worker removes what it
    holds. 422 for another name.
    """
    deleted = ProjectOut.model_validate(project)
    await lifecycle.ask_removal(db, project, name=name)
    return deleted


@router.post("/projects/{slug}/removal/retry", status_code=status.HTTP_204_NO_CONTENT, summary="Try a removal again")
async def retry_removal(slug: str, caller: Caller, db: Db) -> None:
    """Has a worker try again to remove a project of yours that was deleted; 404 for one whose removal isn't stuck."""
    await lifecycle.retry_removal(db, caller, slug)


@router.get("/projects/{slug}", summary="Read a project")
async def read_project(project: MemberProject, caller: Caller, db: Db, read: Read) -> ProjectDetail:
    """A project with your role, your progress and, unless you are an annotator, counts of what it holds; 404 if you are
    not in it.
    """
    await read.tell(db, project)
    return await _detail(db, caller, project)


async def _detail(db: AsyncSession, caller: Principal, project: Project) -> ProjectDetail:
    role = await projects.require_role(db, caller, project, "owner", "reviewer", "annotator")
    progress = await standing.annotator_progress(db, caller, project)
    # How many have judged what is part of what a blind annotator must not learn.
    known = None if role == "annotator" else await counted(db, project)
    return ProjectDetail(
        **ProjectOut.model_validate(project).model_dump(),
        guidelines=project.guidelines,
        role=role,
        progress=ProgressOut.model_validate(progress),
        counts=CountsOut.of(known) if known else None,
    )
