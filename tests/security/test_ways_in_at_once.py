"""Somebody comes in while ways into the account end: they are before it and end with the others, or after it and late.

Each would otherwise stay by trying again and again, since one try is always under way.
"""

import asyncio

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import ApiToken, Invitation, Member, Project, SignInSession, User
from app.errors import NotSignedIn
from app.security import new_token
from app.services import accounts, signing_in
from app.services.people import account, directory, members
from tests.factories import make_member, make_project, make_user, principal
from tests.waiting import somebody_waits_for_a_lock
from tests.web.conftest import SignIn, app, client, sign_in

__all__ = ["app", "client", "sign_in"]

OLD, NEW = "correct horse battery", "another horse battery"


async def reached(db: AsyncSession, task: "asyncio.Task[httpx.Response]") -> None:
    """Give a request the time to come as far as it gets: to its end, or to a lock."""
    waiting = asyncio.create_task(somebody_waits_for_a_lock(db))
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def test_who_knows_the_old_password_and_comes_in_while_it_changes_is_not_in_afterwards(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    ada = principal(await accounts.create_user(db, name="Ada", email="ada@example.org", password=OLD))
    own = await accounts.new_session(db, ada.user_id, is_proved=True)
    await db.commit()
    async with sessions() as owner, sessions() as thief:
        await account.locked(owner, ada)
        entering = asyncio.create_task(
            signing_in.by_password(thief, email="ada@example.org", password=OLD, address="192.0.2.1")
        )
        await somebody_waits_for_a_lock(db)
        await account.set_password(owner, ada, NEW, session_token=own)
        await owner.commit()
        with pytest.raises(NotSignedIn):
            await entering
    assert await db.scalar(select(func.count()).select_from(SignInSession)) == 1


async def test_who_opens_an_owners_link_while_the_account_comes_to_another_project_is_not_in_afterwards(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    tea, coffee = await make_project(db, "tea"), await make_project(db, "coffee")
    attacker, ada = await make_member(db, tea, "owner"), await make_user(db, "Ada")
    link = await accounts.create_sign_in_link(db, ada.id, vouched_by_id=attacker.user_id)
    await db.commit()
    async with sessions() as thief, sessions() as admin:
        taken = await accounts.use_sign_in_link(thief, link)
        adding = asyncio.create_task(members.put(admin, await admin.get_one(Project, coffee.id), ada.id, "annotator"))
        await somebody_waits_for_a_lock(db)
        await thief.commit()
        await adding
        await admin.commit()
    assert await accounts.principal_of_session(db, taken) is None


async def test_an_owner_makes_no_link_for_an_account_that_is_coming_to_another_project(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn
) -> None:
    tea, coffee = await make_project(db, "tea"), await make_project(db, "coffee")
    attacker, ada = await make_member(db, tea, "owner"), await make_member(db, tea)
    browser = await sign_in(attacker)
    async with sessions() as admin:
        await members.put(admin, await admin.get_one(Project, coffee.id), ada.user_id, "annotator")
        making = asyncio.create_task(browser.post(f"/projects/tea/people/{ada.user_id}/link"))
        await reached(db, making)
        await admin.commit()
        assert (await making).status_code == 403


async def test_a_token_that_is_made_while_its_person_is_signed_out_everywhere_opens_nothing(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn
) -> None:
    ada = principal(await make_user(db, "Ada"))
    await db.commit()
    browser = await sign_in(ada)
    async with sessions() as admin:
        await directory.end_ways_in(admin, await directory.get(admin, ada.user_id))
        making = asyncio.create_task(browser.post("/tokens", data={"name": "kept", "scopes": ["read"]}))
        await reached(db, making)
        await admin.commit()
        assert (await making).status_code == 401
    assert await db.scalar(select(func.count()).select_from(ApiToken)) == 0


@pytest.mark.parametrize("gives", ["invitation", "role"])
@pytest.mark.parametrize("is_admin", [False, True], ids=["owner", "admin"])
async def test_who_is_put_out_gives_nobody_a_right_in_that_moment(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn, is_admin: bool, gives: str
) -> None:
    tea = await make_project(db, "tea")
    await make_member(db, tea, "owner")
    await make_user(db, "Root", is_admin=True)
    friend = await make_member(db, tea)
    person = await make_user(db, "Mallory", is_admin=is_admin)
    if not is_admin:
        await members.put(db, tea, person.id, "owner")
    await db.commit()
    browser = await sign_in(principal(person))
    form = {"people": "A friend", "role": "owner", "days": "30", "key": new_token(), "is_admin": "true"}
    place = "/projects/tea/people/invitations"
    if gives == "role":
        place = f"/people/{friend.user_id}/admin" if is_admin else f"/projects/tea/people/{friend.user_id}/role"
    async with sessions() as admin:
        if is_admin:
            await directory.set_admin(admin, await admin.get_one(User, person.id), is_admin=False)
        else:
            await members.remove(admin, None, await admin.get_one(Project, tea.id), person.id)
        making = asyncio.create_task(browser.post(place, data=form))
        await reached(db, making)
        await admin.commit()
        assert (await making).status_code == 403
    assert await db.scalar(select(func.count()).where(Invitation.revoked_at.is_(None))) == 0
    assert await db.scalar(select(func.count()).where(User.id == friend.user_id, User.is_admin)) == 0
    owners = select(func.count()).where(Member.user_id == friend.user_id, Member.role == "owner")
    assert await db.scalar(owners) == 0
