"""A person's own account: name, address, password, and the browsers that are signed in to it.

What gives somebody a way in for good is asked of who shows that it is them and not somebody who found a browser open:
by the password or a passkey, once in some minutes (`accounts.is_proved`).
"""

from sqlalchemy import Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import SignInSession, User
from app.errors import Forbidden, NotFound
from app.security import Principal, digest
from app.services import accounts, audit, passwords
from app.services.people import trust


async def rename(db: AsyncSession, actor: Principal, *, name: str, email: str, password: str = "") -> None:
    """Keep another name and address; another address only for who knows the password, where there is one.

    Raises Invalid.
    """
    user = await locked(db, actor)
    address = accounts.checked_email(email) if email.strip() else None
    if user.password_hash is not None and (address or "").lower() != (user.email or "").lower():
        await passwords.require(db, user, password)
        user.password_hash = await passwords.hash_for(db, password, email=address)
    user.name, user.email = accounts.checked_name(name), address
    await db.flush()


async def set_password(
    db: AsyncSession, actor: Principal, new: str, *, session_token: str, current: str = "", email: str = ""
) -> None:
    """Sign in by this password from now on. Every other session ends, and every link and token of before.

    `email` is kept for who has none yet, since nobody signs in without. `current` is the password of before, unless its
    person has shown it or a passkey lately. Raises Invalid, TooMany, and Forbidden without proof.
    """
    user = await locked(db, actor)
    is_proved = await accounts.is_proved(db, session_token)
    if user.password_hash is not None and (current or not is_proved):
        await passwords.require(db, user, current)
    elif not is_proved:
        raise Forbidden("Show first that it is you: by a passkey.")
    if user.email is None:
        user.email = accounts.checked_email(email)
    session = await accounts.session_of(db, session_token)
    user.password_hash = await passwords.hash_for(db, new, email=user.email)
    user.password_vouched_by_id = session.vouched_by_id
    session.by_password = True
    session.proved_at = func.now()
    await end_other_sessions(db, actor, session_token=session_token)
    await trust.end_links_and_tokens(db, user.id)


async def prove_by_password(db: AsyncSession, actor: Principal, password: str, *, session_token: str) -> None:
    """Show by the password that it is oneself who sits there. Raises Invalid, TooMany."""
    await passwords.require(db, await locked(db, actor), password)
    await keep_proof(db, session_token)


async def keep_proof(db: AsyncSession, session_token: str) -> None:
    """Note that this session's person has just shown that it is them."""
    (await accounts.session_of(db, session_token)).proved_at = func.now()
    await db.flush()


def sessions(actor: Principal) -> Select[SignInSession]:
    """The browsers that are signed in, the last seen first."""
    return (
        select(SignInSession)
        .where(SignInSession.user_id == actor.user_id, SignInSession.expires_at > func.now())
        .where(SignInSession.last_seen_at > func.now() - accounts.SESSION_IDLE)
        .order_by(SignInSession.last_seen_at.desc(), SignInSession.id.desc())
    )


async def end_session(db: AsyncSession, actor: Principal, session_id: int) -> None:
    """Sign one browser out. Raises NotFound for one of anybody else."""
    ended = await db.scalar(
        delete(SignInSession)
        .where(SignInSession.id == session_id, SignInSession.user_id == actor.user_id)
        .returning(SignInSession.id)
    )
    if ended is None:
        raise NotFound
    await audit.note(db, "sign_out", actor.user_id, {"sessions": 1}, actor_id=actor.user_id)


async def end_other_sessions(db: AsyncSession, actor: Principal, *, session_token: str) -> int:
    """Sign every browser out but this one; returns how many."""
    ended = await db.scalars(
        delete(SignInSession)
        .where(SignInSession.user_id == actor.user_id, SignInSession.token_digest != digest(session_token))
        .returning(SignInSession.id)
    )
    count = len(ended.all())
    if count:
        await audit.note(db, "sign_out", actor.user_id, {"sessions": count}, actor_id=actor.user_id)
    return count


async def locked(db: AsyncSession, actor: Principal) -> User:
    """The account of who acts; of two changes at once, the second waits."""
    return await db.get_one(User, actor.user_id, with_for_update=True, populate_existing=True)
