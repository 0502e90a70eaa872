"""People, and how they come in: one-time links, sessions and API tokens. By passwords they do in
`app.services.signing_in`, by passkeys in `app.services.people.passkeys`.

The database holds digests only. A refused secret is the same error whatever was wrong with it.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

from sqlalchemy import ColumnElement, LargeBinary, Select, bindparam, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.prepared import Prepared
from app.db.tables import ApiToken, KnownBrowser, Passkey, SignInLink, SignInSession, User
from app.db.tables.people import Scope
from app.errors import Conflict, Invalid, NotFound, NotSignedIn
from app.security import Principal, digest, new_api_token, new_token, of_form
from app.services import audit, passwords

SESSION_IDLE = timedelta(days=14)
SESSION_LIFETIME = timedelta(days=30)
SEEN_EVERY = timedelta(minutes=1)  # a use is recorded this often, not with every request
PROOF_LASTS = timedelta(minutes=10)
DEVICE_LENGTH = 300
HINT_LENGTH = 10  # of an API token, its prefix included
TOKEN_DAYS = 90
LONGEST_TOKEN_DAYS = 365
SCOPES: tuple[Scope, ...] = get_args(Scope)
KNOWN_BROWSERS = 20  # of one person

# Asked with every request, so made once.
_DIGEST = bindparam("digest", type_=LargeBinary)
_PRINCIPAL = (User.id.label("user_id"), User.name, User.is_admin, User.is_simulated)


@dataclass(frozen=True)
class _Owner:
    """Whose secret it is, and whether its last recorded use is long ago."""

    used_long_ago: bool
    user_id: int
    name: str
    is_admin: bool
    is_simulated: bool

    def principal(self, secret: str) -> Principal:
        return Principal(self.user_id, self.name, self.is_admin, self.is_simulated, held_by=digest(secret))


@dataclass(frozen=True)
class _TokenOwner(_Owner):
    """As `_Owner`, with what the token is for."""

    scopes: list[str]


@dataclass(frozen=True)
class Bearer:
    """Whose token it is, and which part of what they may do it may do."""

    principal: Principal
    scopes: frozenset[Scope]


_WHOSE_SESSION = Prepared(
    _Owner,
    select((SignInSession.last_seen_at < func.now() - SEEN_EVERY).label("used_long_ago"), *_PRINCIPAL)
    .join(SignInSession, SignInSession.user_id == User.id)
    .where(
        SignInSession.token_digest == _DIGEST,
        SignInSession.expires_at > func.now(),
        SignInSession.last_seen_at > func.now() - SESSION_IDLE,
        User.disabled_at.is_(None),
    ),
)
_WHOSE_TOKEN = Prepared(
    _TokenOwner,
    select(
        func.coalesce(ApiToken.last_used_at < func.now() - SEEN_EVERY, True).label("used_long_ago"),
        *_PRINCIPAL,
        ApiToken.scopes,
    )
    .join(ApiToken, ApiToken.user_id == User.id)
    .where(
        ApiToken.token_digest == _DIGEST,
        ApiToken.revoked_at.is_(None),
        ApiToken.expires_at > func.now(),
        User.disabled_at.is_(None),
    ),
)


async def create_user(
    db: AsyncSession,
    *,
    name: str,
    email: str | None = None,
    password: str | None = None,
    is_admin: bool = False,
    is_simulated: bool = False,
) -> User:
    """Raises Invalid for a name, address or password that can't be used. Others may say the same address."""
    address = checked_email(email) if email else None
    user = User(
        name=checked_name(name),
        email=address,
        password_hash=await passwords.hash_for(db, password, email=address) if password else None,
        is_admin=is_admin,
        is_simulated=is_simulated,
    )
    db.add(user)
    await db.flush()
    return user


async def find_user(db: AsyncSession, who: str) -> User:
    """The account of this number (`#12`), else the one person with this e-mail address, or with this name, whatever
    their case. For whoever may see all accounts.

    Raises NotFound, and Conflict where more than one is meant.
    """
    wanted = who.strip()
    if re.fullmatch(r"#\d{1,18}", wanted):
        return await _the_one(db, wanted, User.id == int(wanted[1:]))
    try:
        return await _the_one(db, wanted, func.lower(User.email) == func.lower(wanted))
    except NotFound:
        return await _the_one(db, wanted, func.lower(User.name) == func.lower(wanted))


async def first_admin(db: AsyncSession) -> User:
    """The admin who has been here longest. Raises NotFound."""
    admins = select(User).where(User.is_admin, User.disabled_at.is_(None)).order_by(User.id).limit(1)
    admin = await db.scalar(admins)
    if admin is None:
        raise NotFound("The site has no admin yet: `plumbline up` or `plumbline prepare` makes one.")
    return admin


async def is_said(db: AsyncSession, email: str) -> bool:
    """Whether an account says this address. Nothing for an answer to a person: they must not know of others."""
    said = select(User.id).where(func.lower(User.email) == func.lower(email.strip()))
    return await db.scalar(said.limit(1)) is not None


async def _the_one(db: AsyncSession, wanted: str, called: ColumnElement[bool]) -> User:
    found = (await db.scalars(select(User).where(called, User.erased_at.is_(None)).order_by(User.id).limit(3))).all()
    if len(found) > 1:
        numbers = ", ".join(f"#{user.id}" for user in found)
        raise Conflict(
            "More than one person is called %(wanted)s: use the number, one of %(numbers)s.",
            wanted=wanted,
            numbers=numbers,
        )
    if not found:
        raise NotFound("Nobody here has the name or e-mail address %(wanted)s.", wanted=wanted)
    return found[0]


async def create_sign_in_link(
    db: AsyncSession, user_id: int, *, hours: float = 24, vouched_by_id: int | None = None
) -> str:
    """The token of a link that signs `user_id` in once. `vouched_by_id` is who makes it, unless that is an admin."""
    token = new_token()
    expires_at = func.now() + timedelta(hours=hours)
    db.add(
        SignInLink(user_id=user_id, token_digest=digest(token), expires_at=expires_at, vouched_by_id=vouched_by_id),
    )
    await db.flush()
    return token


async def sign_in_link_name(db: AsyncSession, token: str) -> str:
    """Whom the link would sign in; looking does not use it up. Raises NotFound if unknown, used or expired."""
    name = await db.scalar(select(User.name).join(SignInLink, SignInLink.user_id == User.id).where(*_usable(token)))
    if name is None:
        raise NotFound("This sign-in link is unknown, used or expired.")
    return name


async def use_sign_in_link(db: AsyncSession, token: str, *, device: str = "") -> str:
    """Use the link up and return the token of a new session. Raises NotFound if unknown, used or expired."""
    owner = select(SignInLink.user_id).where(*_usable(token)).scalar_subquery()
    await db.execute(held(User.id == owner))
    # One statement: of two that open the same link at once, the second finds it used.
    used = (
        await db.execute(
            update(SignInLink)
            .where(*_usable(token))
            .values(used_at=func.now())
            .returning(SignInLink.user_id, SignInLink.vouched_by_id)
        )
    ).one_or_none()
    if used is None:
        raise NotFound("This sign-in link is unknown, used or expired.")
    await audit.note(db, "sign_in", used.user_id, {"by": "link"}, actor_id=used.user_id)
    by_admin = used.vouched_by_id is None
    return await new_session(db, used.user_id, device=device, vouched_by_id=used.vouched_by_id, is_proved=by_admin)


async def principal_of_session(db: AsyncSession, token: str) -> Principal | None:
    """Who is signed in by this session, and None once it is idle too long, over, signed out or its owner disabled."""
    owner = await _WHOSE_SESSION.first(db, digest=digest(token))
    if owner is None:
        return None
    if owner.used_long_ago:
        # Skipping a locked row: requests of one person must not wait for each other to record a visit.
        unlocked = select(SignInSession.token_digest).where(SignInSession.token_digest == digest(token))
        await db.execute(
            update(SignInSession)
            .where(SignInSession.token_digest.in_(unlocked.with_for_update(skip_locked=True)))
            .values(last_seen_at=func.now())
        )
    return owner.principal(token)


def held(*which: ColumnElement[bool]) -> Select[User]:
    """The account, whose ways in nobody ends until this transaction does. What was read of it before is to be looked at
    once more behind it.
    """
    return select(User).where(*which).with_for_update(read=True).execution_options(populate_existing=True)


async def held_session_of(db: AsyncSession, token: str) -> SignInSession:
    """The session with this token, which doesn't end before another way in was made by it. Raises NotSignedIn."""
    await db.execute(held(User.id == (await session_of(db, token)).user_id))
    return await session_of(db, token)


async def session_of(db: AsyncSession, token: str) -> SignInSession:
    """The session with this token, of somebody who is signed in. Raises NotSignedIn."""
    session = await db.scalar(select(SignInSession).where(SignInSession.token_digest == digest(token)))
    if session is None:
        raise NotSignedIn
    return session


async def has_way_in(db: AsyncSession, user_id: int) -> bool:
    """Whether somebody can sign in without a link: by a password or a passkey."""
    has_passkey = exists().where(Passkey.user_id == User.id)
    wanted = select(User.id).where(User.id == user_id, or_(User.password_hash.is_not(None), has_passkey))
    return await db.scalar(wanted) is not None


async def is_proved(db: AsyncSession, session_token: str) -> bool:
    """Whether it is the person themself who sits there, and not who found a browser open: they showed their password, a
    passkey or an admin's link some minutes ago, or have none to show. Raises NotSignedIn.
    """
    session = await session_of(db, session_token)
    recent = select(SignInSession.id).where(
        SignInSession.id == session.id, SignInSession.proved_at > func.now() - PROOF_LASTS
    )
    return await db.scalar(recent) is not None or not await has_way_in(db, session.user_id)


async def vouch_for_way_in(db: AsyncSession, held_by: bytes, vouched_by_id: int | None) -> None:
    """Have the session or token whose secret has this digest, and the password or passkey that opened the session, go
    back to another maker of links; what an admin vouches for stays as it is.
    """
    own = ApiToken.token_digest == held_by, ApiToken.vouched_by_id.is_not(None)
    await db.execute(update(ApiToken).where(*own).values(vouched_by_id=vouched_by_id))
    held = SignInSession.token_digest == held_by, SignInSession.vouched_by_id.is_not(None)
    session = await db.scalar(select(SignInSession).where(*held))
    if session is None:
        return
    session.vouched_by_id = vouched_by_id
    if session.by_password:
        owner = await db.get_one(User, session.user_id)
        owner.password_vouched_by_id = vouched_by_id
    await db.execute(update(Passkey).where(Passkey.id == session.passkey_id).values(vouched_by_id=vouched_by_id))
    await db.flush()


async def sign_out(db: AsyncSession, token: str) -> None:
    await db.execute(delete(SignInSession).where(SignInSession.token_digest == digest(token)))


async def create_api_token(
    db: AsyncSession,
    user_id: int,
    *,
    name: str,
    days: int = TOKEN_DAYS,
    scopes: Collection[Scope] = SCOPES,
    vouched_by_id: int | None = None,
    form_key: str = "",
) -> str:
    """The token itself, which is shown once and stored nowhere. `vouched_by_id` is that of the session in which it is
    made. The same `form_key` makes one token, however often it comes. Raises Invalid.
    """
    if days not in range(1, LONGEST_TOKEN_DAYS + 1):
        raise Invalid("A token works for 1 to %(days)s days.", days=LONGEST_TOKEN_DAYS)
    if not scopes or not set(scopes) <= set(SCOPES):
        raise Invalid("Say what the token is for: reading, judging, managing.")
    kept = [scope for scope in SCOPES if scope in scopes]
    token = new_api_token(of_form(form_key, "api token", user_id, name, days, kept))
    made = insert(ApiToken).values(
        user_id=user_id,
        name=checked_name(name),
        hint=token[:HINT_LENGTH],
        token_digest=digest(token),
        scopes=kept,
        vouched_by_id=vouched_by_id,
        expires_at=func.now() + timedelta(days=days),
    )
    await db.execute(made.on_conflict_do_nothing(index_elements=[ApiToken.token_digest]))
    return token


async def bearer_of(db: AsyncSession, token: str) -> Bearer | None:
    """Whose token this is and what it is for, and None once it is revoked, expired or its owner disabled."""
    owner = await _WHOSE_TOKEN.first(db, digest=digest(token))
    if owner is None:
        return None
    if owner.used_long_ago:
        await _record_use(db, token)
    return Bearer(owner.principal(token), frozenset(scope for scope in SCOPES if scope in owner.scopes))


async def _record_use(db: AsyncSession, token: str) -> None:
    """When it was used, and the first use of each day (UTC) in the log."""
    # Skipping a locked row: requests of one program must not wait for each other to record a use.
    unlocked = select(ApiToken.id).where(ApiToken.token_digest == digest(token)).with_for_update(skip_locked=True)
    today = func.date_trunc("day", func.now(), "UTC")
    before = aliased(ApiToken)
    used = (
        update(ApiToken)
        .where(ApiToken.id.in_(unlocked))
        .values(last_used_at=func.now())
        .returning(
            ApiToken.id,
            ApiToken.user_id,
            select(func.coalesce(before.last_used_at < today, True)).where(before.id == ApiToken.id).scalar_subquery(),
        )
    )
    for token_id, user_id, is_first_today in (await db.execute(used)).all():
        if is_first_today:
            await audit.note(db, "token_use", token_id, {"user_id": user_id}, actor_id=user_id)


def api_tokens_of(user_id: int) -> Select[ApiToken]:
    """The tokens that still work, newest first."""
    works = ApiToken.revoked_at.is_(None), ApiToken.expires_at > func.now()
    return select(ApiToken).where(ApiToken.user_id == user_id, *works).order_by(ApiToken.id.desc())


async def list_api_tokens(db: AsyncSession, user_id: int) -> list[ApiToken]:
    """The tokens that still work, newest first."""
    return list(await db.scalars(api_tokens_of(user_id)))


async def revoke_api_token(db: AsyncSession, actor: Principal, token_id: int) -> None:
    """One's own token, at once and for good. Raises NotFound for anybody else's."""
    revoked = await db.scalar(
        update(ApiToken)
        .where(ApiToken.id == token_id, ApiToken.user_id == actor.user_id, ApiToken.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(ApiToken.id)
    )
    if revoked is None:
        raise NotFound


async def new_session(
    db: AsyncSession,
    user_id: int,
    *,
    device: str = "",
    by_password: bool = False,
    passkey_id: int | None = None,
    vouched_by_id: int | None = None,
    is_proved: bool = False,
) -> str:
    """The token of a session that begins now; sessions of this person that are over are tidied away."""
    await db.execute(
        delete(SignInSession).where(
            SignInSession.user_id == user_id,
            or_(SignInSession.expires_at < func.now(), SignInSession.last_seen_at < func.now() - SESSION_IDLE),
        )
    )
    token = new_token()
    await _know(db, user_id, token)
    db.add(
        SignInSession(
            token_digest=digest(token),
            user_id=user_id,
            expires_at=func.now() + SESSION_LIFETIME,
            device=device[:DEVICE_LENGTH],
            by_password=by_password,
            passkey_id=passkey_id,
            vouched_by_id=vouched_by_id,
            proved_at=func.now() if is_proved else None,
        ),
    )
    await db.flush()
    return token


def browser_token(session_token: str) -> str:
    """The token by which a browser is known again after a session is over. It follows from the session's token, and
    tells nothing of that.
    """
    return digest(f"browser {session_token}").hex()


async def _know(db: AsyncSession, user_id: int, session_token: str) -> None:
    """Know the browser of this session again, and the person's oldest ones no more."""
    newest = (
        select(KnownBrowser.token_digest)
        .where(KnownBrowser.user_id == user_id)
        .order_by(KnownBrowser.created_at.desc(), KnownBrowser.token_digest)
        .limit(KNOWN_BROWSERS - 1)
    )
    too_many = KnownBrowser.user_id == user_id, KnownBrowser.token_digest.not_in(newest)
    await db.execute(delete(KnownBrowser).where(*too_many))
    db.add(KnownBrowser(token_digest=digest(browser_token(session_token)), user_id=user_id))


def _usable(token: str) -> tuple[ColumnElement[bool], ...]:
    enabled = exists().where(User.id == SignInLink.user_id, User.disabled_at.is_(None)).correlate(SignInLink)
    return (
        SignInLink.token_digest == digest(token),
        SignInLink.used_at.is_(None),
        SignInLink.expires_at > func.now(),
        enabled,
    )


def checked_name(name: str) -> str:
    """The name with single spaces. Raises Invalid."""
    name = " ".join(name.split())
    if not name or len(name) > 200 or not name.isprintable():
        raise Invalid("A name has 1 to 200 printable characters.")
    return name


def checked_email(email: str) -> str:
    """The address without the spaces around it. Raises Invalid."""
    email = email.strip()
    local, _, domain = email.rpartition("@")
    if not local or not domain or len(email) > 320 or not email.isprintable() or " " in email:
        raise Invalid("%(address)s is not an e-mail address.", address=repr(email))
    return email
