"""Whoever calls: their account, their tokens, and the browsers that they are signed in with.

A token makes no other: it would outlive its own end, and get more scopes than its person gave it.
"""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, status
from pydantic import BaseModel, Field

from app.db.tables import ApiToken, SignInSession, User
from app.db.tables.people import Scope
from app.services import accounts
from app.services.people import account
from app.web.api.access import Caller, Id
from app.web.api.edits import Edit, Read
from app.web.api.paging import Page, Paging, read_page
from app.web.api.schemas import NO_NUL, In, Out
from app.web.serving.deps import Db
from app.web.words.devices import device_name

router = APIRouter(prefix="/me", tags=["yourself"])


class MeOut(Out):
    id: int
    name: str
    email: str | None
    is_admin: bool
    created_at: datetime


class MeIn(In):
    name: Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)]


class TokenOut(Out):
    id: int
    name: str
    hint: str = Field(description="Its first letters. The token itself is kept nowhere.")
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


class SessionOut(BaseModel):
    id: int
    device: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, session: SignInSession) -> Self:
        return cls(
            id=session.id,
            device=device_name(session.device),
            created_at=session.created_at,
            last_seen_at=session.last_seen_at,
            expires_at=session.expires_at,
        )


@router.get("", summary="Read your account")
async def read_me(caller: Caller, db: Db, read: Read) -> MeOut:
    """Whose token this is."""
    user = await db.get_one(User, caller.user_id)
    await read.tell(db, user)
    return MeOut.model_validate(user)


@router.patch("", summary="Change your name")
async def change_me(caller: Caller, body: MeIn, db: Db, edit: Edit) -> MeOut:
    """What others call you. Address and password are changed on the page, by who shows that it is them."""
    user = await db.get_one(User, caller.user_id)
    await edit.require_current(db, user)
    user.name = accounts.checked_name(body.name)
    await edit.tell(db, user)
    return MeOut.model_validate(user)


@router.get("/tokens", summary="List your tokens")
async def list_own_tokens(caller: Caller, db: Db, paging: Paging) -> Page[TokenOut]:
    """Your tokens that still work, newest first."""
    own = accounts.api_tokens_of(caller.user_id)
    return await read_page(db, own, ApiToken.id, paging=paging, out=TokenOut.model_validate)


@router.delete("/tokens/{token_id}", status_code=status.HTTP_204_NO_CONTENT, summary="Revoke a token of yours")
async def revoke_own_token(caller: Caller, token_id: Id, db: Db) -> None:
    """At once and for good, the one that this is called with, too; 404 for anybody else's."""
    await accounts.revoke_api_token(db, caller, token_id)


@router.get("/sessions", summary="List browsers that you are signed in with")
async def list_own_sessions(caller: Caller, db: Db, paging: Paging) -> Page[SessionOut]:
    """The one that signed in last first."""
    return await read_page(db, account.sessions(caller), SignInSession.id, paging=paging, out=SessionOut.of)


@router.delete("/sessions/{session_id}", status_code=status.HTTP_204_NO_CONTENT, summary="Sign a browser of yours out")
async def end_own_session(caller: Caller, session_id: Id, db: Db) -> None:
    """404 for anybody else's."""
    await account.end_session(db, caller, session_id)
