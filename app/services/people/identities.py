"""People whom an identity provider lets in: an account for each of its names for somebody, and what their groups give.

Neither name nor e-mail address of a provider leads to an account that was there before: both are only said.
"""

from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import ExternalIdentity, User
from app.errors import Conflict, Invalid, NotSignedIn
from app.services import accounts, audit
from app.services.people import directory, groups

NAMELESS = "Somebody"


@dataclass(frozen=True)
class Claims:
    """What a provider says of somebody. `groups` is None where it says nothing of groups."""

    issuer: str
    subject: str
    name: str = ""
    email: str = ""
    groups: frozenset[str] | None = None


async def sign_in(
    db: AsyncSession, claims: Claims, *, admin_group: str = "", network: str = "", device: str = ""
) -> str:
    """The token of a new session, of an account that the first one makes. Raises NotSignedIn for who is shut out."""
    user = await _whose(db, claims) or await _made(db, claims)
    if user.disabled_at is not None:
        await audit.note_failure(db, user.id, by="provider", network=network)
        raise NotSignedIn("You are shut out of this site: ask an admin.")
    if claims.groups is not None:
        await groups.follow_claim(db, user, claims.groups)
        if admin_group:
            await _follow_admin(db, user, is_admin=admin_group in claims.groups)
    await audit.note(db, "sign_in", user.id, {"by": "provider"}, actor_id=user.id)
    return await accounts.new_session(db, user.id, device=device, is_proved=True)


async def _whose(db: AsyncSession, claims: Claims) -> User | None:
    # Of two first sign-ins at once, the second finds the account that the first has made.
    await db.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:who, 0))"), {"who": f"{claims.issuer} {claims.subject}"}
    )
    known = ExternalIdentity.issuer == claims.issuer, ExternalIdentity.subject == claims.subject
    return await db.scalar(select(User).join(ExternalIdentity, ExternalIdentity.user_id == User.id).where(*known))


async def _made(db: AsyncSession, claims: Claims) -> User:
    user = await accounts.create_user(db, name=_name(claims), email=_email(claims))
    db.add(ExternalIdentity(issuer=claims.issuer, subject=claims.subject, user_id=user.id))
    await db.flush()
    return user


async def _follow_admin(db: AsyncSession, user: User, *, is_admin: bool) -> None:
    await db.refresh(user)
    if user.is_admin == is_admin:
        return
    try:
        await directory.set_admin(db, user, is_admin=is_admin)
    except Conflict:
        return  # the last one stays, whatever the provider says: the site needs one


def _name(claims: Claims) -> str:
    for said in (claims.name, claims.email.partition("@")[0]):
        try:
            return accounts.checked_name(said)
        except Invalid:
            continue
    return NAMELESS


def _email(claims: Claims) -> str | None:
    try:
        return accounts.checked_email(claims.email)
    except Invalid:
        return None
