"""Projects that the caller is a member of."""

from fastapi import APIRouter

from app.db.tables import Project
from app.services.projects import projects, standing
from app.web.api.access import Caller, MemberProject
from app.web.api.paging import Page, Paging, read_page
from app.web.api.schemas import CountsOut, ProgressOut, ProjectDetail, ProjectOut
from app.web.serving.deps import Db

router = APIRouter(tags=["projects"])


@router.get("/projects", summary="List projects")
async def list_projects(caller: Caller, db: Db, paging: Paging) -> Page[ProjectOut]:
    """Projects that you are a member of, newest first; for admins all of them."""
    return await read_page(
        db,
        projects.visible_to(caller),
        Project.id,
        paging=paging,
        out=ProjectOut.model_validate,
    )


@router.get("/projects/{slug}", summary="Read a project")
async def read_project(project: MemberProject, caller: Caller, db: Db) -> ProjectDetail:
    """A project with your role, your progress and, unless you are an annotator, counts of what it holds; 404 if you are
    not in it.
    """
    role = await projects.require_role(db, caller, project, "owner", "reviewer", "annotator")
    progress = await standing.annotator_progress(db, caller, project)
    # How many have judged what is part of what a blind annotator must not learn.
    counts = None if role == "annotator" else await standing.overview(db, project)
    return ProjectDetail(
        slug=project.slug,
        name=project.name,
        description=project.description,
        guidelines=project.guidelines,
        role=role,
        created_at=project.created_at,
        progress=ProgressOut.model_validate(progress),
        counts=CountsOut.model_validate(counts) if counts else None,
    )
