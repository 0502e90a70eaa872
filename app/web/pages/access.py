"""Who may open the pages of a project that annotators never see, and who may act on them.

Annotators judge blind: which model wrote what, how it scores and what others said is for owners and reviewers.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from app.db.tables import Project
from app.db.tables.projects import Role
from app.errors import Forbidden
from app.security import Principal
from app.services.projects import projects
from app.web.serving.deps import CurrentProject, CurrentUser, Db


@dataclass(frozen=True)
class Managed:
    """A project and what the person who opened the page is in it."""

    project: Project
    role: Role

    @property
    def is_owner(self) -> bool:
        return self.role == "owner"


async def managed(project: CurrentProject, principal: CurrentUser, db: Db) -> Managed:
    """For owners and reviewers. Raises Forbidden for annotators; for strangers the project isn't there."""
    return Managed(project, await projects.require_role(db, principal, project, "owner", "reviewer"))


async def managed_even_archived(slug: str, principal: CurrentUser, db: Db) -> Managed:
    """For owners and reviewers, and for owners when the project is in the archive. Raises NotFound, Forbidden."""
    project = await projects.get_even_archived(db, principal, slug)
    return Managed(project, await projects.require_role(db, principal, project, "owner", "reviewer"))


async def owned_even_archived(slug: str, principal: CurrentUser, db: Db) -> Project:
    """For owners alone, of projects in the archive, too. Raises NotFound, Forbidden."""
    project = await projects.get_even_archived(db, principal, slug)
    await projects.require_role(db, principal, project, "owner")
    return project


async def owned(project: CurrentProject, principal: CurrentUser, db: Db) -> Project:
    """For owners alone. Raises Forbidden for everybody else in the project; for strangers it isn't there."""
    await projects.require_role(db, principal, project, "owner")
    return project


async def require_admin(principal: CurrentUser) -> Principal:
    """Whoever is signed in, if that is an admin of the site. Raises Forbidden."""
    if not principal.is_admin:
        raise Forbidden
    return principal


CurrentAdmin = Annotated[Principal, Depends(require_admin)]
ManagedProject = Annotated[Managed, Depends(managed)]
OwnedProject = Annotated[Project, Depends(owned)]
ManagedEvenArchived = Annotated[Managed, Depends(managed_even_archived)]
OwnedEvenArchived = Annotated[Project, Depends(owned_even_archived)]
