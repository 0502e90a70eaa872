"""Who calls the API: the owner of a bearer token, and nobody else. Cookies are never looked at."""

from typing import Annotated

from fastapi import Depends, Path, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from app.acting import recognise
from app.db.tables import Project
from app.errors import Forbidden, NotSignedIn
from app.security import Principal
from app.services import accounts
from app.services.projects import projects
from app.web.serving.deps import Db, MaybeUser

_bearer = HTTPBearer(auto_error=False, description="An API token from the page *API tokens*, `plumb_…`.")

Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


async def token_principal(db: Db, credentials: Credentials) -> Principal:
    """The owner of the bearer token. Raises NotSignedIn for none, and for one that is unknown, expired or revoked."""
    principal = await accounts.principal_of_api_token(db, credentials.credentials) if credentials else None
    if principal is None:
        raise NotSignedIn("Send a valid API token: `Authorization: Bearer plumb_…`.")
    recognise(principal.user_id)
    return principal


# A number that no column holds is refused before the database has to.
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]

Caller = Annotated[Principal, Depends(token_principal)]


async def may_read_docs(db: Db, credentials: Credentials, signed_in: MaybeUser) -> Principal:
    """The description of the API is for people who are signed in and for programs with a token."""
    return signed_in or await token_principal(db, credentials)


async def _project(slug: str, caller: Caller, db: Db) -> Project:
    return await projects.get(db, caller, slug)


async def _managed_project(slug: str, caller: Caller, db: Db) -> Project:
    return await require_manager(db, caller, await projects.get(db, caller, slug))


async def _owned_project(slug: str, caller: Caller, db: Db) -> Project:
    project = await projects.get(db, caller, slug)
    await projects.require_role(db, caller, project, "owner")
    return project


async def _owned_even_archived(slug: str, caller: Caller, db: Db) -> Project:
    project = await projects.get_even_archived(db, caller, slug)
    await projects.require_role(db, caller, project, "owner")
    return project


async def require_manager(db: AsyncSession, caller: Principal, project: Project) -> Project:
    """The project, for those who may see its models, runs and data. Annotators judge blind and may not."""
    await projects.require_role(db, caller, project, "owner", "reviewer")
    return project


async def require_admin(caller: Caller) -> Principal:
    """The caller, if that is an admin of the site. Raises Forbidden."""
    if not caller.is_admin:
        raise Forbidden
    return caller


Admin = Annotated[Principal, Depends(require_admin)]
MemberProject = Annotated[Project, Depends(_project)]
ManagedProject = Annotated[Project, Depends(_managed_project)]
OwnedProject = Annotated[Project, Depends(_owned_project)]
OwnedEvenArchived = Annotated[Project, Depends(_owned_even_archived)]
