"""Passkeys: added and removed by their person, and signed in with in place of a password."""

import hashlib

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from webauthn.helpers.structs import AuthenticationCredential

from app.db.base import Json
from app.db.tables import Passkey, User
from app.errors import Conflict, Forbidden, NotFound, NotSignedIn
from app.networks import network_of
from app.security import Principal
from app.services import accounts, attempts, audit
from app.services.people import account, ceremonies
from app.services.people.ceremonies import PasskeyRefused, RelyingParty

MOST = 20  # of one person
COPIED = "This passkey counts less than it did before, so there is a copy of it. Sign in another way and remove it."

log = structlog.get_logger(__name__)


async def of(db: AsyncSession, actor: Principal) -> list[Passkey]:
    """One's own passkeys, the first first."""
    return list(await db.scalars(select(Passkey).where(Passkey.user_id == actor.user_id).order_by(Passkey.id)))


async def ask_for_new(db: AsyncSession, actor: Principal, party: RelyingParty, *, session_token: str) -> Json:
    """What the browser is to make a passkey of. Raises Forbidden for who has to show first that it is them."""
    await _require_proof(db, session_token)
    user = await db.get_one(User, actor.user_id)
    known = [passkey.credential_id for passkey in await of(db, actor)]
    return await ceremonies.ask_for_key(db, party, user, known=known, browser=session_token)


async def add(
    db: AsyncSession, actor: Principal, party: RelyingParty, answer: str, *, name: str, session_token: str
) -> None:
    """Keep the passkey that was made. Whoever makes one is there themself, so that it counts as shown.

    Raises PasskeyRefused, Invalid for the name, Forbidden without proof, and Conflict for one that is kept already.
    """
    name = accounts.checked_name(name)
    made = await ceremonies.key_in(db, party, answer, browser=session_token)
    await account.locked(db, actor)
    await _require_proof(db, session_token)
    if len(await of(db, actor)) >= MOST:
        raise Conflict("You have %(most)s passkeys, and can't have more.", most=MOST)
    session = await accounts.session_of(db, session_token)
    passkey = Passkey(
        user_id=actor.user_id,
        name=name,
        credential_id=made.credential_id,
        public_key=made.credential_public_key,
        sign_count=made.sign_count,
        vouched_by_id=session.vouched_by_id,
    )
    try:
        async with db.begin_nested():
            db.add(passkey)
    except IntegrityError:
        raise Conflict("This passkey is in use already.") from None
    session.passkey_id = session.passkey_id or passkey.id
    session.proved_at = func.now()
    await db.flush()


async def rename(db: AsyncSession, actor: Principal, passkey_id: int, name: str) -> None:
    """Call one's own passkey something else. Raises NotFound for anybody else's, Invalid for the name."""
    renamed = await db.scalar(
        update(Passkey)
        .where(Passkey.id == passkey_id, Passkey.user_id == actor.user_id)
        .values(name=accounts.checked_name(name))
        .returning(Passkey.id)
    )
    if renamed is None:
        raise NotFound


async def remove(db: AsyncSession, actor: Principal, passkey_id: int, *, session_token: str) -> None:
    """Have a passkey open nothing any more. Every other session ends, as one of them may be a thief's.

    Raises NotFound for anybody else's, Forbidden without proof, and Conflict for the only way in that is left.
    """
    user = await account.locked(db, actor)
    await _require_proof(db, session_token)
    own = {passkey.id for passkey in await of(db, actor)}
    if passkey_id not in own:
        raise NotFound
    if own == {passkey_id} and (user.password_hash is None or user.email is None):
        raise Conflict("This is your only way in. Choose a password or add another passkey first.")
    await db.execute(delete(Passkey).where(Passkey.id == passkey_id))
    await account.end_other_sessions(db, actor, session_token=session_token)


async def ask_to_sign_in(db: AsyncSession, party: RelyingParty, *, browser: str) -> Json:
    """What the browser is to have signed. It is the same for everybody: nobody says first who they are."""
    return await ceremonies.ask_for_signature(db, party, browser=browser)


async def sign_in(
    db: AsyncSession, party: RelyingParty, answer: str, *, browser: str, address: str, device: str = ""
) -> str:
    """The token of a new session. Raises TooMany after too many failures of a passkey or address, else NotSignedIn.

    Must be the first statement of its transaction, as `signing_in.by_password`. Tries by passwords from the same
    address of the network count apart, so that they don't keep this door shut.
    """
    network = network_of(address)
    by_address = f"passkeys from {network}"
    await attempts.count(db, by_address, limit=attempts.FROM_ONE_NETWORK)
    try:
        signed = ceremonies.signature_in(answer)
        by_passkey = f"passkey:{hashlib.sha256(signed.raw_id).hexdigest()} from {network}"
        await attempts.count(db, by_passkey)
        passkey, user = await _signer(db, party, signed, browser=browser)
        if signed.response.user_handle != ceremonies.handle_of(user) or user.disabled_at is not None:
            raise PasskeyRefused
    except PasskeyRefused as refusal:
        await audit.note_failure(db, None, by="passkey", network=network)
        raise NotSignedIn(refusal.template) from None
    await attempts.forgive(db, (by_address, by_passkey))
    await audit.note(db, "sign_in", user.id, {"by": "passkey"}, actor_id=user.id)
    return await accounts.new_session(
        db, user.id, device=device, passkey_id=passkey.id, vouched_by_id=passkey.vouched_by_id, is_proved=True
    )


async def ask_for_proof(db: AsyncSession, actor: Principal, party: RelyingParty, *, session_token: str) -> Json:
    """What a passkey of one's own is to sign, to show that it is oneself who sits there."""
    own = [passkey.credential_id for passkey in await of(db, actor)]
    return await ceremonies.ask_for_signature(db, party, browser=session_token, allowed=own)


async def prove(db: AsyncSession, actor: Principal, party: RelyingParty, answer: str, *, session_token: str) -> None:
    """Show by a passkey that it is oneself who sits there. Raises PasskeyRefused, and TooMany."""
    subject = f"proof:{actor.user_id}"
    await attempts.count(db, subject)
    _, user = await _signer(db, party, ceremonies.signature_in(answer), browser=session_token)
    if user.id != actor.user_id:
        raise PasskeyRefused
    await attempts.forgive(db, (subject,))
    await account.keep_proof(db, session_token)


async def _signer(
    db: AsyncSession, party: RelyingParty, signed: AuthenticationCredential, *, browser: str
) -> tuple[Passkey, User]:
    """The passkey that has signed, and whose it is. Raises PasskeyRefused.

    Two devices that have one key between them can't count together: where the count of one has gone on, that of the
    other is too low.
    """
    challenge = await ceremonies.use_challenge(db, signed, browser=browser)
    wanted = Passkey.credential_id == signed.raw_id
    # The person first, as whoever changes an account does: otherwise two of them would wait for each other.
    user = await db.scalar(accounts.held(User.id == select(Passkey.user_id).where(wanted).scalar_subquery()))
    passkey = await db.scalar(select(Passkey).where(wanted).with_for_update())
    if user is None or passkey is None:
        raise PasskeyRefused
    count = ceremonies.verified_count(party, signed, challenge=challenge, public_key=passkey.public_key)
    if (count or passkey.sign_count) and count <= passkey.sign_count:
        log.warning("passkey.copied", user_id=passkey.user_id, passkey_id=passkey.id)
        raise PasskeyRefused(COPIED)
    passkey.sign_count, passkey.last_used_at = count, func.now()
    await db.flush()
    return passkey, user


async def _require_proof(db: AsyncSession, session_token: str) -> None:
    if not await accounts.is_proved(db, session_token):
        raise Forbidden("Show first that it is you: by your password or a passkey.")
