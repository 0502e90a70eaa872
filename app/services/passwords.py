"""Passwords: chosen, and compared with who says an address.

An e-mail address is what somebody says of themself: any number of accounts may say the same one, and the password tells
which is meant. So no answer tells that an address has an account. Hashes of one address share their salt, so that to
compare takes as long for any number of them.
"""

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import User
from app.errors import Invalid
from app.security import hash_password, matching_hash, password_matches
from app.services import attempts

LENGTH = range(8, 201)


async def hash_for(db: AsyncSession, password: str, *, email: str | None) -> str:
    """What to keep of the password of an account with this address. Raises Invalid for one that can't be used."""
    alike = await db.scalar(_that_say(email).limit(1)) if email else None
    return await hash_password(checked(password), beside=alike.password_hash if alike else None)


async def whose(db: AsyncSession, *, email: str, password: str, user_id: int | None = None) -> tuple[User | None, bool]:
    """Who says this address and has this password, else whoever says the address; and whether the password is theirs.

    With `user_id` no other account is meant.
    """
    wanted = _that_say(email) if user_id is None else _that_say(email).where(User.id == user_id)
    known = list(await db.scalars(wanted))
    found = await matching_hash(password, [user.password_hash for user in known if user.password_hash])
    owner = next((user for user in known if user.password_hash == found), None) if found else None
    return (owner, True) if owner else (known[0] if known else None, False)


async def require(db: AsyncSession, user: User, password: str) -> None:
    """Raises Invalid unless this is the password that the person has, TooMany after too many wrong ones."""
    subject = f"password:{user.id}"
    await attempts.count(db, subject)
    if not await password_matches(password, user.password_hash):
        raise Invalid("That is not your password.")
    await attempts.forgive(db, (subject,))


def checked(password: str) -> str:
    """Raises Invalid for one that is too short or too long."""
    if len(password) not in LENGTH:
        shortest, longest = LENGTH.start, LENGTH.stop - 1
        raise Invalid("A password has %(shortest)s to %(longest)s characters.", shortest=shortest, longest=longest)
    return password


def _that_say(email: str) -> Select[User]:
    """Accounts with this address and a password, those that are shut out last, the oldest first."""
    said = func.lower(User.email) == func.lower(email), User.password_hash.is_not(None)
    return select(User).where(*said).order_by(User.disabled_at.is_not(None), User.id)
