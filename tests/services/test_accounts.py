"""Coming in: links that work once, passwords that can't be tried for ever, sessions and tokens that end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import ApiToken, Attempts, SignInLink, SignInSession, User
from app.errors import Conflict, Invalid, NotFound, NotSignedIn, TooMany
from app.security import Principal
from app.services import accounts, attempts, signing_in
from tests.factories import make_user, principal, principal_of_api_token

PASSWORD = "correct horse battery"


def ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


async def make_ada(db: AsyncSession) -> User:
    ada = await accounts.create_user(db, name="Ada", email="Ada@example.org", password=PASSWORD)
    await db.commit()
    return ada


async def sign_in(
    sessions: SessionFactory, *, email: str = "ada@example.org", password: str = PASSWORD, address: str = "192.0.2.1"
) -> str:
    """One request, in a transaction of its own."""
    async with sessions() as db, db.begin():
        return await signing_in.by_password(db, email=email, password=password, address=address)


async def disable(db: AsyncSession, user: User) -> None:
    user.disabled_at = ago(seconds=1)
    await db.flush()


async def test_a_password_opens_a_session_for_its_owner(db: AsyncSession, sessions: SessionFactory) -> None:
    ada = await make_ada(db)
    token = await sign_in(sessions, email=" ADA@EXAMPLE.ORG ")
    assert await accounts.principal_of_session(db, token) == Principal(ada.id, "Ada", is_admin=False)


@pytest.mark.parametrize("mistake", [{"password": "wrong"}, {"email": "bob@example.org"}])
async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(
    db: AsyncSession, sessions: SessionFactory, mistake: dict[str, str]
) -> None:
    await make_ada(db)
    with pytest.raises(NotSignedIn, match="don't fit together"):
        await sign_in(sessions, **mistake)


async def test_somebody_without_a_password_can_not_sign_in_with_an_empty_one(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    await accounts.create_user(db, name="Bob", email="bob@example.org")
    await db.commit()
    with pytest.raises(NotSignedIn):
        await sign_in(sessions, email="bob@example.org", password="")


async def test_tries_before_the_end_of_a_window_count_after_it(db: AsyncSession, sessions: SessionFactory) -> None:
    await make_ada(db)
    with pytest.raises(NotSignedIn):
        await sign_in(sessions, password="wrong")
    many = 10_000_000  # of which some count until the last moment of the window that follows
    await db.execute(update(Attempts).values(window_start=Attempts.window_start - attempts.WINDOW, count=many))
    await db.commit()
    with pytest.raises(TooMany):
        await sign_in(sessions)
    earlier = Attempts.window_start - attempts.WINDOW
    await db.execute(update(Attempts).where(Attempts.count == many).values(window_start=earlier))
    await db.commit()
    assert await sign_in(sessions)


async def test_tries_at_the_same_moment_are_counted_one_by_one(db: AsyncSession, sessions: SessionFactory) -> None:
    await make_ada(db)
    tries = (sign_in(sessions, password="wrong") for _ in range(15))
    outcomes = [type(outcome) for outcome in await asyncio.gather(*tries, return_exceptions=True)]
    assert (outcomes.count(NotSignedIn), outcomes.count(TooMany)) == (10, 5)


async def test_people_who_sign_in_well_from_one_address_are_never_too_many(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    await make_ada(db)
    for _ in range(12):
        await sign_in(sessions)
    assert set(await db.scalars(select(Attempts.count))) == {0}


async def test_a_link_signs_in_once(db: AsyncSession) -> None:
    ada = await make_ada(db)
    link = await accounts.create_sign_in_link(db, ada.id)
    assert await accounts.sign_in_link_name(db, link) == "Ada"
    assert await accounts.sign_in_link_name(db, link) == "Ada", "looking does not use it up"
    session = await accounts.use_sign_in_link(db, link)
    assert await accounts.principal_of_session(db, session) == principal(ada)
    for use in (accounts.sign_in_link_name, accounts.use_sign_in_link):
        with pytest.raises(NotFound, match="unknown, used or expired"):
            await use(db, link)


async def test_of_two_who_open_a_link_at_once_one_is_signed_in(db: AsyncSession, sessions: SessionFactory) -> None:
    ada = await make_ada(db)
    link = await accounts.create_sign_in_link(db, ada.id)
    await db.commit()

    async def open_link() -> str:
        async with sessions() as session, session.begin():
            return await accounts.use_sign_in_link(session, link)

    outcomes = await asyncio.gather(*(open_link() for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(NotFound) == 4
    assert await db.scalar(select(func.count()).select_from(SignInSession)) == 1


async def test_links_end_with_their_time_and_their_owner(db: AsyncSession) -> None:
    ada = await make_ada(db)
    late, disabled = [await accounts.create_sign_in_link(db, ada.id) for _ in range(2)]
    first = select(func.min(SignInLink.id)).scalar_subquery()
    await db.execute(update(SignInLink).where(SignInLink.id == first).values(expires_at=ago(seconds=1)))
    with pytest.raises(NotFound):
        await accounts.use_sign_in_link(db, late)
    await disable(db, ada)
    with pytest.raises(NotFound):
        await accounts.use_sign_in_link(db, disabled)


@pytest.mark.parametrize("end", [{"last_seen_at": {"days": 14.1}}, {"expires_at": {"seconds": 1}}])
async def test_a_session_ends_when_it_is_idle_or_old(
    db: AsyncSession, sessions: SessionFactory, end: dict[str, dict[str, float]]
) -> None:
    await make_ada(db)
    token = await sign_in(sessions)
    await db.execute(update(SignInSession).values({column: ago(**time) for column, time in end.items()}))
    assert await accounts.principal_of_session(db, token) is None


async def test_a_session_ends_with_signing_out_and_with_the_account(db: AsyncSession, sessions: SessionFactory) -> None:
    ada = await make_ada(db)
    one, other = await sign_in(sessions), await sign_in(sessions)
    await accounts.sign_out(db, one)
    assert await accounts.principal_of_session(db, one) is None
    assert await accounts.principal_of_session(db, other) is not None
    await disable(db, ada)
    assert await accounts.principal_of_session(db, other) is None
    assert await accounts.principal_of_session(db, "nonsense") is None


async def test_a_visit_is_recorded_once_a_minute_and_never_waited_for(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    await make_ada(db)
    token = await sign_in(sessions)
    seen = select(SignInSession.last_seen_at)
    at_first = await db.scalar(seen)
    await accounts.principal_of_session(db, token)
    assert await db.scalar(seen) == at_first
    await db.execute(update(SignInSession).values(last_seen_at=ago(minutes=2)))
    await db.commit()
    async with sessions() as slow, slow.begin():
        await accounts.principal_of_session(slow, token)
        assert await accounts.principal_of_session(db, token) is not None, "although another request holds the row"
        await db.commit()
    assert at_first is not None
    assert (await db.scalar(seen) or at_first) > ago(minutes=1)


async def test_an_api_token_works_until_it_is_revoked(db: AsyncSession) -> None:
    ada = await make_ada(db)
    token = await accounts.create_api_token(db, ada.id, name="nightly export")
    assert await principal_of_api_token(db, token) == principal(ada)
    (listed,) = await accounts.list_api_tokens(db, ada.id)
    await db.refresh(listed)
    assert (listed.name, token.startswith(listed.hint)) == ("nightly export", True)
    assert listed.last_used_at is not None
    with pytest.raises(NotFound):
        await accounts.revoke_api_token(db, principal(await make_user(db)), listed.id)
    await accounts.revoke_api_token(db, principal(ada), listed.id)
    assert await principal_of_api_token(db, token) is None
    assert await accounts.list_api_tokens(db, ada.id) == []


async def test_an_api_token_ends_with_its_time_and_its_owner(db: AsyncSession) -> None:
    ada = await make_ada(db)
    short, lasting = [await accounts.create_api_token(db, ada.id, name="t", days=days) for days in (1, 2)]
    assert await principal_of_api_token(db, short) is not None
    await db.execute(
        update(ApiToken).where(ApiToken.expires_at < func.now() + timedelta(days=1.5)).values(expires_at=ago(seconds=1))
    )
    assert await principal_of_api_token(db, short) is None
    assert await principal_of_api_token(db, lasting) is not None
    await disable(db, ada)
    assert await principal_of_api_token(db, lasting) is None


async def test_no_secret_is_stored(db: AsyncSession, sessions: SessionFactory) -> None:
    ada = await make_ada(db)
    secrets = [
        PASSWORD,
        await accounts.create_sign_in_link(db, ada.id),
        await accounts.create_api_token(db, ada.id, name="t"),
        await sign_in(sessions),
    ]
    stored = ""
    for table in (User, SignInLink, SignInSession, ApiToken):
        stored += str([tuple(row) for row in await db.execute(select(*table.__table__.columns))])
    assert not [secret for secret in secrets if secret in stored]
    assert (ada.password_hash or "").startswith("$argon2id$")


async def test_an_address_may_be_said_by_two_and_the_password_tells_which_is_meant(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    ada = await make_ada(db)
    other = await accounts.create_user(db, name="Other", email="aDA@example.org", password="another password")
    await db.commit()
    for user, password in ((ada, PASSWORD), (other, "another password")):
        token = await sign_in(sessions, password=password)
        assert await accounts.principal_of_session(db, token) == principal(user)
    with pytest.raises(Conflict, match=f"one of #{ada.id}, #{other.id}"):
        await accounts.find_user(db, "ada@example.org")
    assert (await accounts.find_user(db, f"#{other.id}")).id == other.id


@pytest.mark.parametrize(
    "mistake",
    [
        {"name": "  "},
        {"name": "a" * 201},
        {"name": "a\0b"},
        {"email": "nobody"},
        {"email": "a b@example.org"},
        {"password": "short"},
        {"password": "a" * 201},
    ],
)
async def test_people_need_a_name_and_what_they_give_must_be_usable(db: AsyncSession, mistake: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        await accounts.create_user(db, **{"name": "Ada", **mistake})


async def test_people_are_found_by_address_or_by_a_name_of_their_own(db: AsyncSession) -> None:
    ada = await make_ada(db)
    assert (await accounts.find_user(db, "ADA@example.org")).id == ada.id
    assert (await accounts.find_user(db, "Ada")).id == ada.id
    with pytest.raises(NotFound, match="Nobody"):
        await accounts.find_user(db, "Bob")
    await make_user(db, "Ada")
    with pytest.raises(Conflict, match="More than one"):
        await accounts.find_user(db, "Ada")
