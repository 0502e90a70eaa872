"""Who calls the API: the owner of a bearer token, and nobody else. Cookies are never looked at."""

from typing import Annotated

from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from app.acting import recognise
from app.db.session import look_up
from app.db.tables import Project
from app.db.tables.people import Scope
from app.errors import Forbidden, NotSignedIn
from app.security import Principal
from app.services import accounts
from app.services.projects import projects
from app.web.serving.deps import Db, MaybeUser, sessions_of

_bearer = HTTPBearer(auto_error=False, description="An API token from the page *API tokens*, `plumb_…`.")

Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


# Which part of what its person may do a token has to be for: to read for what asks, to manage for what changes
# something, but for these.
_READS: frozenset[Scope] = frozenset({"read"})
_JUDGES: frozenset[Scope] = frozenset({"judge"})
_OF_CALLS: dict[str, frozenset[Scope]] = {
    **dict.fromkeys(("next_task", "submit_judgement", "skip"), _JUDGES),
    # What a program that judges has to know.
    **dict.fromkeys(("list_projects", "read_project", "read_me"), _READS | _JUDGES),
    **dict.fromkeys(("read_assignment", "list_own_judgements"), _READS | _JUDGES),
    **dict.fromkeys(("read_openapi", "show_docs"), frozenset(accounts.SCOPES)),
}


def scopes_of(call: str, method: str) -> frozenset[Scope]:
    """A token needs one of these for the call of this name."""
    return _OF_CALLS.get(call) or (_READS if method == "GET" else frozenset({"manage"}))


async def token_principal(request: Request, credentials: Credentials) -> Principal:
    """The owner of the bearer token. Raises NotSignedIn for none, and for one that is unknown, expired or revoked;
    Forbidden for one that is for something else.
    """
    # Apart from the call's own transaction: a use is recorded, whatever becomes of the call.
    async with look_up(sessions_of(request)) as db:
        bearer = await accounts.bearer_of(db, credentials.credentials) if credentials else None
    if bearer is None:
        raise NotSignedIn("Send a valid API token: `Authorization: Bearer plumb_…`.")
    recognise(bearer.principal.user_id)
    needed = scopes_of(request.scope["endpoint"].__name__, request.method)
    if not needed & bearer.scopes:
        raise Forbidden(
            "This token is for %(scopes)s; this call needs one for %(needed)s.",
            scopes=_listed(bearer.scopes),
            needed=_listed(needed),
        )
    return bearer.principal


def _listed(scopes: frozenset[Scope]) -> str:
    return ", ".join(scope for scope in accounts.SCOPES if scope in scopes)


# A number that no column holds is refused before the database has to.
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]

Caller = Annotated[Principal, Depends(token_principal)]


async def may_read_docs(request: Request, credentials: Credentials, signed_in: MaybeUser) -> Principal:
    """The description of the API is for people who are signed in and for programs with a token."""
    return signed_in or await token_principal(request, credentials)


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
