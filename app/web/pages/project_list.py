"""The list of projects: a card for each, with what it waits for, and the way to a new one."""

from dataclasses import dataclass
from typing import cast

from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Member, ModelVersion, Project
from app.db.tables.projects import Role
from app.services.judging import labels
from app.services.loop.chores import lifecycle
from app.services.loop.models import models
from app.services.projects import projects, setup, standing
from app.services.projects.standing import Glance
from app.web.pages.projects import Now, now_of
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, settings_of

router = APIRouter(prefix="/projects", include_in_schema=False)


@dataclass(frozen=True)
class Managed:
    """What owners and reviewers see of a project, and annotators don't."""

    now: Now
    glance: Glance
    labels_at_hand: int
    policy: ModelVersion | None


@dataclass(frozen=True)
class Card:
    project: Project
    role: Role
    managed: Managed | None

    @property
    def address(self) -> str:
        """Where the card leads: to the work of whoever looks at it."""
        if self.role == "annotator":
            return f"/projects/{self.project.slug}/annotate"
        return f"/projects/{self.project.slug}{'/setup' if self.project.setup_step and self.role == 'owner' else ''}"


@router.get("")
async def list_projects(request: Request, principal: CurrentUser, db: Db) -> Response:
    """Shows people their projects, and what each waits for where they are more than annotators."""
    visible = list(await db.scalars(projects.visible_to(principal).order_by(Project.name, Project.id)))
    roles = await _roles(db, principal.user_id)
    cards = []
    for project in visible:
        role: Role = "owner" if principal.is_admin else roles[project.id]
        cards.append(Card(project, role, None if role == "annotator" else await _managed(db, project)))
    return render.page(
        request,
        "projects/list.html",
        cards=cards,
        archived=list(await db.scalars(projects.archived_of(principal).order_by(Project.name, Project.id))),
        may_create=setup.may_begin(principal, settings_of(request).project_creation),
        stuck=await lifecycle.stuck_removals(db, principal),
    )


@router.post("/{slug}/removal/retry")
async def retry_removal(slug: str, principal: CurrentUser, db: Db) -> Response:
    """Has a worker try again to remove a deleted project, for its owner."""
    await lifecycle.retry_removal(db, principal, slug)
    return render.redirect("/projects")


async def _managed(db: AsyncSession, project: Project) -> Managed:
    return Managed(
        now=await now_of(db, project),
        glance=await standing.glance(db, project),
        labels_at_hand=await labels.labels_at_hand(db, project.id),
        policy=await models.promoted(db, project.id, "policy"),
    )


async def _roles(db: AsyncSession, user_id: int) -> dict[int, Role]:
    members = await db.scalars(select(Member).where(Member.user_id == user_id))
    return {member.project_id: cast(Role, member.role) for member in members}
