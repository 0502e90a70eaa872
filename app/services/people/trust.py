"""What one owner's link has opened must not open another owner's project.

Whoever makes a link for somebody could open it first. So each session, token, password and passkey remembers who made
the link that it goes back to (`vouched_by_id`; null for an admin, who may see everything anyway). When its person comes
to a project, or gets another role there, only what an owner of that project or an admin vouches for stays. Who owns a
project no more, or is shut out, has no link left that they made and nobody has opened.

Whoever comes in holds the account's row (`accounts.held`), and whoever ends ways in locks it, so that nobody comes in
between: by what was read before it ended, or too late to be seen when it ends.
"""

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, union, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.db.tables import ApiToken, Invitation, Member, Passkey, SignInLink, SignInSession, User
from app.errors import Forbidden
from app.security import Principal
from app.services import accounts


def voucher(maker: Principal | None) -> int | None:
    """What to remember of who makes a link. None for an admin and for the command line."""
    return None if maker is None or maker.is_admin else maker.user_id


async def lock(db: AsyncSession, user_id: int) -> None:
    """Let nobody come into the account until the transaction ends; whoever only names it in a row of theirs, as each
    judgement does, waits for nothing. Before any row of its ways in, or two who do this would wait for each other.
    """
    await db.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))


async def hold_rights(db: AsyncSession, actor: Principal, project_id: int | None = None) -> None:
    """Have somebody still be an admin, or an owner of the project, until the transaction ends: whoever takes that away
    waits, and finds what was made by it. Raises Forbidden.
    """
    person = await db.scalar(accounts.held(User.id == actor.user_id))
    if person is None or person.disabled_at is not None:
        raise Forbidden
    is_owner = Member.project_id == project_id, Member.user_id == actor.user_id, Member.role == "owner"
    if not person.is_admin and await db.scalar(select(Member).where(*is_owner).with_for_update(read=True)) is None:
        raise Forbidden


async def end_what_others_vouch_for(db: AsyncSession, user_id: int, *, project_id: int | None) -> bool:
    """End each way into the account that no owner of the project vouches for; without one, that no admin does.

    Says whether there was any.
    """
    await lock(db, user_id)
    ended = [
        await _end_sessions(db, user_id, _foreign(SignInSession.vouched_by_id, project_id)),
        await _end_links(db, SignInLink.user_id == user_id, _foreign(SignInLink.vouched_by_id, project_id)),
        await _end_tokens(db, user_id, _foreign(ApiToken.vouched_by_id, project_id)),
        await _end_passkeys(db, user_id, _foreign(Passkey.vouched_by_id, project_id)),
        await _end_password(db, user_id, _foreign(User.password_vouched_by_id, project_id)),
    ]
    return any(ended)


async def begin_own(db: AsyncSession, actor: Principal, project_id: int) -> None:
    """End it for who has made the project, but for the way in by which they did: that is their own word from now on."""
    await lock(db, actor.user_id)
    await accounts.vouch_for_way_in(db, actor.held_by, actor.user_id)
    await end_what_others_vouch_for(db, actor.user_id, project_id=project_id)


async def end_in_project(db: AsyncSession, project_id: int) -> None:
    """End it for everybody in a project that came with its people, some of whom have an account here."""
    held = [
        select(table.user_id).where(table.vouched_by_id.is_not(None))
        for table in (SignInSession, SignInLink, ApiToken, Passkey)
    ]
    with_password = select(User.id).where(User.password_vouched_by_id.is_not(None))
    vouched = union(*held, with_password).subquery()
    people = select(Member.user_id).where(Member.project_id == project_id, Member.user_id.in_(select(vouched.c[0])))
    for user_id in (await db.scalars(people.order_by(Member.user_id))).all():
        await end_what_others_vouch_for(db, user_id, project_id=project_id)


async def end_links_and_tokens(db: AsyncSession, user_id: int) -> None:
    """End every link that nobody has opened yet, and every token, of an account."""
    await lock(db, user_id)
    await _end_links(db, SignInLink.user_id == user_id)
    await _end_tokens(db, user_id)


async def end_all(db: AsyncSession, user_id: int) -> None:
    """End every session, link and token of an account. Its password and passkeys stay."""
    await lock(db, user_id)
    await _end_sessions(db, user_id)
    await end_links_and_tokens(db, user_id)


async def end_what_owner_made(db: AsyncSession, user_id: int, project_id: int) -> None:
    """End the open invitations to a project of somebody who owns it no more, and their links that nobody has opened
    yet, of people there: they know them.
    """
    people = select(Member.user_id).where(Member.project_id == project_id)
    await _end_links(db, SignInLink.vouched_by_id == user_id, SignInLink.user_id.in_(people))
    await _revoke_invitations(db, Invitation.created_by_id == user_id, Invitation.project_id == project_id)


async def end_what_somebody_made(db: AsyncSession, user_id: int, *, as_admin: bool) -> None:
    """End every open invitation of somebody who is shut out or no admin any more, and their links that nobody has
    opened yet. Links of admins don't say by whom: all of them end.
    """
    made = SignInLink.vouched_by_id == user_id
    await _end_links(db, or_(made, SignInLink.vouched_by_id.is_(None)) if as_admin else made)
    await _revoke_invitations(db, Invitation.created_by_id == user_id)


async def _end_sessions(db: AsyncSession, user_id: int, *which: ColumnElement[bool]) -> int:
    ended = delete(SignInSession).where(SignInSession.user_id == user_id, *which)
    return len((await db.scalars(ended.returning(SignInSession.id))).all())


async def _end_passkeys(db: AsyncSession, user_id: int, which: ColumnElement[bool]) -> int:
    ended = delete(Passkey).where(Passkey.user_id == user_id, which)
    return len((await db.scalars(ended.returning(Passkey.id))).all())


async def _end_password(db: AsyncSession, user_id: int, which: ColumnElement[bool]) -> int:
    ended = (
        update(User)
        .where(User.id == user_id, User.password_hash.is_not(None), which)
        .values(password_hash=None, password_vouched_by_id=None)
    )
    return len((await db.scalars(ended.returning(User.id))).all())


async def _end_links(db: AsyncSession, *which: ColumnElement[bool]) -> int:
    ended = (
        update(SignInLink)
        .where(SignInLink.used_at.is_(None), SignInLink.expires_at > func.now(), *which)
        # Before whatever another transaction takes for now.
        .values(expires_at=SignInLink.created_at)
    )
    return len((await db.scalars(ended.returning(SignInLink.id))).all())


async def _end_tokens(db: AsyncSession, user_id: int, *which: ColumnElement[bool]) -> int:
    ended = (
        update(ApiToken)
        .where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_(None), *which)
        .values(revoked_at=func.now())
    )
    return len((await db.scalars(ended.returning(ApiToken.id))).all())


async def _revoke_invitations(db: AsyncSession, *which: ColumnElement[bool]) -> None:
    is_open = Invitation.accepted_at.is_(None), Invitation.revoked_at.is_(None)
    await db.execute(update(Invitation).where(*is_open, *which).values(revoked_at=func.now()))


def _foreign(voucher_id: InstrumentedAttribute[int | None], project_id: int | None) -> ColumnElement[bool]:
    if project_id is None:
        return voucher_id.is_not(None)
    owners = select(Member.user_id).where(Member.project_id == project_id, Member.role == "owner")
    return and_(voucher_id.is_not(None), voucher_id.not_in(owners))
