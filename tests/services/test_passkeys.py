"""Two who change the passkeys of one account, or sign in by them, at once."""

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Passkey, SignInSession
from app.errors import Conflict, NotSignedIn
from app.security import Principal
from app.services import accounts
from app.services.people import account, passkeys
from app.services.people.ceremonies import RelyingParty
from tests.authenticator import Authenticator
from tests.factories import make_user, principal
from tests.waiting import somebody_waits_for_a_lock

HERE = RelyingParty("localhost", "http://localhost:8400")


async def with_passkeys(db: AsyncSession, *devices: Authenticator) -> tuple[Principal, str]:
    """Somebody who has one of each device, and a session of theirs. Committed."""
    bob = principal(await make_user(db))
    token = await accounts.new_session(db, bob.user_id)
    await db.commit()
    for device in devices:
        asked = await passkeys.ask_for_new(db, bob, HERE, session_token=token)
        await db.commit()
        await passkeys.add(db, bob, HERE, device.make(asked), name="A key", session_token=token)
        await db.commit()
    return bob, token


async def test_of_two_windows_that_remove_the_last_two_passkeys_at_once_the_second_is_refused(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    bob, token = await with_passkeys(db, Authenticator(), Authenticator())
    first, second = [key.id for key in await passkeys.of(db, bob)]
    async with sessions() as here, sessions() as there:
        await passkeys.remove(here, bob, first, session_token=token)
        other = asyncio.create_task(passkeys.remove(there, bob, second, session_token=token))
        await somebody_waits_for_a_lock(db)
        await here.commit()
        with pytest.raises(Conflict, match="only way in"):
            await other
    assert list(await db.scalars(select(Passkey.id))) == [second]


async def test_who_signs_in_by_a_passkey_while_it_is_removed_waits_and_is_refused(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    device = Authenticator()
    bob, token = await with_passkeys(db, Authenticator(), device)
    _, last = [key.id for key in await passkeys.of(db, bob)]
    asked = await passkeys.ask_to_sign_in(db, HERE, browser="a browser")
    await db.commit()
    async with sessions() as owner, sessions() as thief:
        await account.locked(owner, bob)
        entering = asyncio.create_task(
            passkeys.sign_in(thief, HERE, device.sign(asked), browser="a browser", address="192.0.2.1")
        )
        await somebody_waits_for_a_lock(db)
        await passkeys.remove(owner, bob, last, session_token=token)
        await owner.commit()
        with pytest.raises(NotSignedIn, match="was not accepted"):
            await entering
    assert len(list(await db.scalars(select(SignInSession.id)))) == 1
