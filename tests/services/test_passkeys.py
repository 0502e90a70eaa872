"""Two windows that take away the last two ways into an account at once."""

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Passkey
from app.errors import Conflict
from app.services import accounts
from app.services.people import passkeys
from tests.factories import make_user, principal
from tests.waiting import somebody_waits_for_a_lock


async def test_of_two_windows_that_remove_the_last_two_passkeys_at_once_the_second_is_refused(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    bob = await make_user(db)
    keys = [Passkey(user_id=bob.id, name=n, credential_id=n.encode(), public_key=b"", sign_count=0) for n in "ab"]
    db.add_all(keys)
    token = await accounts.new_session(db, bob.id, is_proved=True)
    await db.commit()
    first, second = (key.id for key in keys)
    async with sessions() as here, sessions() as there:
        await passkeys.remove(here, principal(bob), first, session_token=token)
        other = asyncio.create_task(passkeys.remove(there, principal(bob), second, session_token=token))
        await somebody_waits_for_a_lock(db)
        await here.commit()
        with pytest.raises(Conflict, match="only way in"):
            await other
    assert list(await db.scalars(select(Passkey.id))) == [second]
