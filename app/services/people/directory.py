"""Everybody who has an account, as admins of the site deal with them: admins, disabled, erased."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import (
    ApiToken,
    Attempts,
    ExternalIdentity,
    Invitation,
    KnownBrowser,
    Member,
    Passkey,
    Project,
    SignInLink,
    SignInSession,
    User,
)
from app.errors import Conflict, NotFound
from app.security import Principal
from app.services import accounts, audit
from app.services.judging import releasing
from app.services.people import groups, trust

T = TypeVar("T")


@dataclass(frozen=True)
class Listed:
    """An account, in how many projects it is, and when it was last seen."""

    user: User
    projects: int
    seen_at: datetime | None


def found(text: str) -> Select[User]:
    """Accounts whose name or address holds `text`, erased ones and machines left out."""
    return holding(select(User).where(User.erased_at.is_(None), ~User.is_machine), text)


def holding(wanted: Select[T], text: str) -> Select[T]:
    """Narrowed to accounts whose name or address holds each word of `text`."""
    for word in text.replace("\0", "").split():
        holds = f"%{word.replace('!', '!!').replace('%', '!%').replace('_', '!_')}%"
        wanted = wanted.where(User.name.ilike(holds, escape="!") | User.email.ilike(holds, escape="!"))
    return wanted


async def page(db: AsyncSession, text: str, *, size: int, before: int | None = None) -> list[Listed]:
    """The newest accounts that are wanted, those before the account `before` if it is given."""
    wanted = found(text)
    if before is not None:
        wanted = wanted.where(User.id < before)
    users = wanted.order_by(User.id.desc()).limit(size).subquery()
    projects = select(func.count()).where(Member.user_id == User.id).correlate(User).scalar_subquery()
    seen = select(func.max(SignInSession.last_seen_at)).where(SignInSession.user_id == User.id)
    rows = await db.execute(
        select(User, projects, seen.correlate(User).scalar_subquery())
        .where(User.id.in_(select(users.c.id)))
        .order_by(User.id.desc())
    )
    return [Listed(user, count, seen_at) for user, count, seen_at in rows]


async def get(db: AsyncSession, user_id: int) -> User:
    """Somebody who has not been erased, and is no machine. Raises NotFound."""
    is_somebody = (User.id == user_id, User.erased_at.is_(None), ~User.is_machine)
    user = await db.scalar(select(User).where(*is_somebody).with_for_update())
    if user is None:
        raise NotFound
    return user


async def memberships(db: AsyncSession, user: User) -> list[tuple[Project, Member]]:
    """The projects that somebody is in, by name, and as what."""
    rows = await db.execute(
        select(Project, Member)
        .join(Member, Member.project_id == Project.id)
        .where(Member.user_id == user.id)
        .order_by(Project.name, Project.id)
    )
    return [(project, member) for project, member in rows]


async def set_admin(db: AsyncSession, user: User, *, is_admin: bool) -> None:
    """Have somebody do everything in every project, or no more. Raises Conflict for the last admin.

    A new admin's ways in that only an owner vouches for end.
    """
    if is_admin:
        await trust.end_what_others_vouch_for(db, user.id, project_id=None)
        await db.refresh(user)
    else:
        await _require_another_admin(db, user)
        await trust.end_what_somebody_made(db, user.id, as_admin=user.is_admin)
    user.is_admin = is_admin
    await db.flush()


async def disable(db: AsyncSession, user: User) -> None:
    """Let somebody in no more, and free what they hold. Their sessions, links and tokens end for good, and the links
    that they made for others and nobody has opened. Raises Conflict for the last admin.
    """
    await _require_another_admin(db, user)
    if user.disabled_at is None:
        user.disabled_at = func.now()
    await db.flush()
    await trust.end_all(db, user.id)
    await trust.end_what_somebody_made(db, user.id, as_admin=user.is_admin)
    await releasing.release(db, user.id)


async def ways_in(db: AsyncSession, user: User) -> tuple[int, int]:
    """On how many devices somebody is signed in, and how many programs have a token of theirs."""
    fresh = SignInSession.expires_at > func.now(), SignInSession.last_seen_at > func.now() - accounts.SESSION_IDLE
    sessions = await db.scalar(select(func.count()).where(SignInSession.user_id == user.id, *fresh))
    return sessions or 0, len(await accounts.list_api_tokens(db, user.id))


async def end_ways_in(db: AsyncSession, user: User) -> None:
    """End every session, link and token of somebody, who comes in again by their password or passkey, or a new link."""
    await trust.end_all(db, user.id)
    await audit.note(db, "sign_out", user.id, {"sessions": "all"})


async def enable(db: AsyncSession, user: User) -> None:
    """Let somebody in again who was disabled: by their password or passkey, or by a new link."""
    user.disabled_at = None
    await db.flush()


async def erase(db: AsyncSession, user: User) -> None:
    """Forget a person for good: name, address, password, ways in, memberships. What they judged stays, of nobody.

    Raises Conflict for the last admin.
    """
    await disable(db, user)
    await groups.forget(db, user.id)
    for table in (SignInLink, ApiToken, Passkey, KnownBrowser, ExternalIdentity, Member):
        await db.execute(delete(table).where(table.user_id == user.id))
    await db.execute(update(Invitation).where(Invitation.accepted_by_id == user.id).values(name="", email=None))
    if user.email is not None:
        tries = Attempts.subject.startswith(f"account:{user.email.lower()} from ", autoescape=True)
        await db.execute(delete(Attempts).where(tries))
    await db.refresh(user)
    user.name = f"Person {user.id}"
    user.email = user.password_hash = user.password_vouched_by_id = None
    user.is_admin = False
    user.erased_at = func.now()
    await db.flush()
    await audit.note(db, "erasure", user.id, {"of": "person"})


def require_not_oneself(actor: Principal, user: User) -> None:
    """Raises Conflict where an admin would shut themself out."""
    if user.id == actor.user_id:
        raise Conflict("You can't do this to your own account; another admin can.")


async def _require_another_admin(db: AsyncSession, user: User) -> None:
    """Of two admins who do this to each other at once, the second finds one admin left."""
    admins = await db.scalars(
        select(User.id).where(User.is_admin, User.disabled_at.is_(None)).order_by(User.id).with_for_update()
    )
    if list(admins) == [user.id]:
        raise Conflict("The site needs an admin: make somebody else one first.")
