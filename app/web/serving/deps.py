"""What endpoints ask for: a database transaction, the person who is signed in, the project of the URL."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.acting import recognise
from app.db import tables
from app.db.session import SessionFactory, look_up, transaction
from app.errors import NotSignedIn
from app.security import Principal
from app.services import accounts
from app.services.projects import projects
from app.settings import Settings


def utc_offset_of(request: Request) -> timedelta:
    """How far the reader's clock is from UTC, as their browser said it on an earlier page; none before."""
    said = request.cookies.get("utc_offset", "")
    minutes = int(said) if re.fullmatch(r"-?\d{1,3}", said) else 0
    return timedelta(minutes=minutes)


def sessions_of(request: Request) -> SessionFactory:
    """Sessions of the application, for an endpoint that needs more than one transaction."""
    sessions: SessionFactory = request.app.state.sessions
    return sessions


def settings_of(request: Request) -> Settings:
    """The settings that the application was made with."""
    settings: Settings = request.app.state.settings
    return settings


async def get_db(request: Request) -> AsyncIterator[AsyncSession]:
    """A transaction for the endpoint: committed when it returns, rolled back when it raises."""
    async with transaction(sessions_of(request)) as db:
        yield db


# The scope makes the commit happen before the response is sent: a failed commit is a 500, never a judgement lost
# behind a 200.
Db = Annotated[AsyncSession, Depends(get_db, scope="function")]


def session_cookie(settings: Settings) -> str:
    """Name of the session cookie. Browsers accept the `__Host-` prefix over HTTPS only, and bind it to this very
    host.
    """
    return "__Host-session" if settings.has_secure_cookies else "session"


def session_token(request: Request) -> str:
    """The secret of this browser's session; empty for one that is not signed in."""
    return request.cookies.get(session_cookie(settings_of(request)), "")


SessionToken = Annotated[str, Depends(session_token)]


async def principal_or_nobody(request: Request) -> Principal | None:
    """Who is signed in, read by itself, so that no page holds a connection while it renders."""
    token = session_token(request)
    if not token:
        return None
    async with look_up(sessions_of(request)) as db:
        principal = await accounts.principal_of_session(db, token)
    request.state.principal = principal
    if principal is not None:
        recognise(principal.user_id)
    return principal


MaybeUser = Annotated[Principal | None, Depends(principal_or_nobody)]


async def require_principal(principal: MaybeUser) -> Principal:
    """Whoever is signed in. Raises NotSignedIn, which pages answer by leading to the sign-in page."""
    if principal is None:
        raise NotSignedIn
    return principal


CurrentUser = Annotated[Principal, Depends(require_principal)]


async def get_project(slug: str, principal: CurrentUser, db: Db) -> tables.Project:
    """The project of the URL. NotFound for one that this person may not see, as for one that isn't there."""
    return await projects.get(db, principal, slug)


CurrentProject = Annotated[tables.Project, Depends(get_project)]
