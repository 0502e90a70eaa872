"""Signing in by an address and a password, within limits that meet whoever guesses and not whoever is meant."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import apart
from app.db.tables import KnownBrowser, User
from app.errors import NotSignedIn
from app.networks import network_of
from app.security import digest
from app.services import accounts, attempts, audit, passwords

WRONG_SIGN_IN = "This e-mail address and password don't fit together."


async def by_password(
    db: AsyncSession, *, email: str, password: str, address: str, device: str = "", known_browser: str = ""
) -> str:
    """The token of a new session. Raises TooMany after too many failures, else NotSignedIn.

    Failures are counted for an address of the network and an account together, and for that address; those of a
    browser in which this account was signed in before for that browser alone, whatever others do. Must be the first
    statement of its transaction: tries are counted in transactions of their own. A refusal is written into the log, so
    commit then, too.
    """
    email = email.strip().lower()[:320]
    network = network_of(address)
    known_as = await _known_as(db, email, known_browser)
    subjects = _counted_for(email, network, known_browser if known_as else "")
    for subject, limit in subjects.items():
        await attempts.count(db, subject, limit=limit)
    user, matches = await passwords.whose(db, email=email, password=password, user_id=known_as)
    if user is None or not matches or not await _is_still(db, user):
        await audit.note_failure(db, user.id if user else None, by="password", network=network)
        raise NotSignedIn(WRONG_SIGN_IN)
    await attempts.forgive(db, tuple(subjects))
    await audit.note(db, "sign_in", user.id, {"by": "password"}, actor_id=user.id)
    return await accounts.new_session(
        db, user.id, device=device, by_password=True, vouched_by_id=user.password_vouched_by_id, is_proved=True
    )


async def _is_still(db: AsyncSession, user: User) -> bool:
    """Whether what was compared is the password by now, too: comparing takes long."""
    compared = user.password_hash
    await db.execute(accounts.held(User.id == user.id))
    return user.password_hash == compared and user.disabled_at is None


async def _known_as(db: AsyncSession, email: str, browser: str) -> int | None:
    """The one account, of those that say the address, that was signed in in this browser last: no other can be tried
    there without being counted as anywhere else.
    """
    known = select(KnownBrowser.user_id).join(User, User.id == KnownBrowser.user_id)
    is_own = KnownBrowser.token_digest == digest(browser), func.lower(User.email) == email
    async with apart(db) as connection:
        return await connection.scalar(known.where(*is_own))


def _counted_for(email: str, network: str, known_browser: str) -> dict[str, int]:
    """What a try is counted for, and how many failures each may have."""
    if known_browser:
        return {f"browser:{digest(known_browser).hex()}": attempts.LIMIT}
    # The wider one first: what it turns away isn't counted against anybody's account.
    return {f"network:{network}": attempts.FROM_ONE_NETWORK, f"account:{email} from {network}": attempts.LIMIT}
