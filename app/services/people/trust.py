"""What one owner's link has opened must not open another owner's project.

Whoever makes a link for somebody could open it first. So each session, token, password and passkey remembers who made
the link that it goes back to (`vouched_by_id`; null for an admin, who may see everything anyway). When its person comes
to a project, only what an owner of that project or an admin vouches for stays.
"""

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.db.tables import ApiToken, Member, Passkey, SignInLink, SignInSession, User
from app.security import Principal


def voucher(maker: Principal | None) -> int | None:
    """What to remember of who makes a link. None for an admin and for the command line."""
    return None if maker is None or maker.is_admin else maker.user_id


async def end_what_others_vouch_for(db: AsyncSession, user_id: int, *, project_id: int | None) -> bool:
    """End each way into the account that no owner of the project vouches for; without one, that no admin does.

    Says whether there was any.
    """
    ended = [
        await db.scalars(
            delete(SignInSession)
            .where(SignInSession.user_id == user_id, _foreign(SignInSession.vouched_by_id, project_id))
            .returning(SignInSession.id)
        ),
        await db.scalars(
            update(SignInLink)
            .where(SignInLink.user_id == user_id, SignInLink.used_at.is_(None), SignInLink.expires_at > func.now())
            .where(_foreign(SignInLink.vouched_by_id, project_id))
            .values(expires_at=func.now())
            .returning(SignInLink.id)
        ),
        await db.scalars(
            update(ApiToken)
            .where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_(None))
            .where(_foreign(ApiToken.vouched_by_id, project_id))
            .values(revoked_at=func.now())
            .returning(ApiToken.id)
        ),
        await db.scalars(
            delete(Passkey)
            .where(Passkey.user_id == user_id, _foreign(Passkey.vouched_by_id, project_id))
            .returning(Passkey.id)
        ),
        await db.scalars(
            update(User)
            .where(User.id == user_id, User.password_hash.is_not(None))
            .where(_foreign(User.password_vouched_by_id, project_id))
            .values(password_hash=None, password_vouched_by_id=None)
            .returning(User.id)
        ),
    ]
    return any(rows.all() for rows in ended)


def _foreign(voucher_id: InstrumentedAttribute[int | None], project_id: int | None) -> ColumnElement[bool]:
    if project_id is None:
        return voucher_id.is_not(None)
    owners = select(Member.user_id).where(Member.project_id == project_id, Member.role == "owner")
    return and_(voucher_id.is_not(None), voucher_id.not_in(owners))
