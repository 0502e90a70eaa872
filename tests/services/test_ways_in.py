"""The edges of coming in: what counts as a try, what a sign-in tidies up, what a secret opens and what it doesn't."""

import asyncio
from datetime import timedelta

import pytest
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import security
from app.db.session import SessionFactory
from app.db.tables import ApiToken, Attempts, SignInLink, SignInSession, User
from app.errors import Invalid, NotFound, NotSignedIn, TooMany
from app.services import accounts
from tests.factories import make_user, principal, principal_of_api_token
from tests.services.test_accounts import PASSWORD, ago, disable, make_ada, sign_in


async def counts(db: AsyncSession) -> dict[str, int]:
    """Tries by what they are counted for, in this window and, if it has just begun, the one before."""
    tries = func.sum(Attempts.count)
    rows = await db.execute(select(Attempts.subject, tries).group_by(Attempts.subject).having(tries > 0))
    await db.rollback()
    return {subject: count for subject, count in rows}  # noqa: C416 - rows are no pairs to a type checker


async def test_only_failures_are_left_on_the_account_and_the_address_that_they_came_from(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    await make_ada(db)
    for mistake in ({"password": "wrong"}, {"email": "eve@example.org"}, {"password": "wrong", "address": "192.0.2.9"}):
        with pytest.raises(NotSignedIn):
            await sign_in(sessions, **mistake)
    await sign_in(sessions, email=" ADA@example.org")
    assert await counts(db) == {
        "account:ada@example.org from 192.0.2.1": 1,
        "account:ada@example.org from 192.0.2.9": 1,
        "account:eve@example.org from 192.0.2.1": 1,
        "network:192.0.2.1": 2,
        "network:192.0.2.9": 1,
    }


async def test_the_tenth_try_may_still_be_right_and_is_forgiven(db: AsyncSession, sessions: SessionFactory) -> None:
    await make_ada(db)
    for _ in range(9):
        with pytest.raises(NotSignedIn):
            await sign_in(sessions, password="wrong")
    for _ in range(3):
        assert await sign_in(sessions)
    with pytest.raises(NotSignedIn):
        await sign_in(sessions, password="wrong")
    with pytest.raises(TooMany, match=r"Wait \d+ seconds"):
        await sign_in(sessions)
    assert await counts(db) == {
        "account:ada@example.org from 192.0.2.1": 11,  # one that is turned away is one, too
        "network:192.0.2.1": 11,
    }


async def test_a_disabled_account_reads_like_a_wrong_password(db: AsyncSession, sessions: SessionFactory) -> None:
    await disable(db, await make_ada(db))
    await db.commit()
    with pytest.raises(NotSignedIn, match="don't fit together"):
        await sign_in(sessions)
    assert set((await counts(db)).values()) == {1}


async def test_an_address_of_any_length_is_one_that_nobody_has(db: AsyncSession, sessions: SessionFactory) -> None:
    with pytest.raises(NotSignedIn):
        await sign_in(sessions, email="a" * 5_000 + "@example.org")
    assert max(map(len, await counts(db))) <= len("account: from 192.0.2.1") + 320


async def test_a_sign_in_sweeps_up_what_is_over_of_ones_own_and_tries_of_long_ago(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    ada, bob = await make_ada(db), await make_user(db)
    ends = {
        "over": (ago(seconds=1), ago(hours=1)),
        "idle": (ago(days=-5), ago(days=14.1)),
        "good": (ago(days=-5), ago(days=13.9)),
    }
    for owner in (ada, bob):
        db.add_all(
            SignInSession(
                token_digest=f"{kind} {owner.id}".encode(), user_id=owner.id, expires_at=end, last_seen_at=seen
            )
            for kind, (end, seen) in ends.items()
        )
    db.add(Attempts(subject="account:old", window_start=ago(days=1.1), count=3))
    db.add(Attempts(subject="account:new", window_start=ago(days=0.9), count=3))
    await db.commit()
    await sign_in(sessions)
    left = set(await db.scalars(select(SignInSession.token_digest).where(func.length(SignInSession.token_digest) < 20)))
    assert left == {f"good {ada.id}".encode(), *(f"{kind} {bob.id}".encode() for kind in ends)}
    assert set(await db.scalars(select(Attempts.subject).where(Attempts.count == 3))) == {"account:new"}


async def test_a_session_lives_for_thirty_days_and_a_link_for_as_long_as_it_was_made_for(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    ada = await make_ada(db)
    await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, ada.id, hours=0.5))
    session, link = (await db.scalars(select(SignInSession))).one(), (await db.scalars(select(SignInLink))).one()
    for row in (session, link):
        await db.refresh(row)
    assert session.expires_at - session.created_at == timedelta(days=30)
    assert link.expires_at - link.created_at == timedelta(minutes=30)
    assert link.used_at is not None


async def test_a_secret_of_one_kind_opens_nothing_of_another(db: AsyncSession) -> None:
    ada = await make_ada(db)
    link = await accounts.create_sign_in_link(db, ada.id)
    token = await accounts.create_api_token(db, ada.id, name="t")
    session = await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, ada.id))
    assert await accounts.principal_of_session(db, token) is None
    assert await accounts.principal_of_session(db, link) is None
    assert await principal_of_api_token(db, session) is None
    assert await principal_of_api_token(db, link) is None
    for wrong in (token, session, ""):
        with pytest.raises(NotFound):
            await accounts.use_sign_in_link(db, wrong)
    assert await principal_of_api_token(db, token) == principal(ada)


async def test_tokens_are_listed_newest_first_without_those_that_ended_and_revoked_once(db: AsyncSession) -> None:
    ada = await make_ada(db)
    for name, days in (("first", 90), ("over", 1), ("last", 30)):
        await accounts.create_api_token(db, ada.id, name=f"  {name}\t token ", days=days)
    await db.execute(update(ApiToken).where(ApiToken.name == "over token").values(expires_at=ago(seconds=1)))
    listed = await accounts.list_api_tokens(db, ada.id)
    assert [token.name for token in listed] == ["last token", "first token"]
    assert all(token.hint.startswith("plumb_") and len(token.hint) == 10 for token in listed)
    await accounts.revoke_api_token(db, principal(ada), listed[0].id)
    with pytest.raises(NotFound):
        await accounts.revoke_api_token(db, principal(ada), listed[0].id)
    with pytest.raises(Invalid):
        await accounts.create_api_token(db, ada.id, name=" ")


async def test_a_use_of_a_token_is_recorded_once_a_minute_and_never_waited_for(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    ada = await make_ada(db)
    token = await accounts.create_api_token(db, ada.id, name="t")
    used = select(ApiToken.last_used_at)
    await principal_of_api_token(db, token)
    at_first = await db.scalar(used)
    assert at_first is not None
    await db.commit()
    await principal_of_api_token(db, token)
    assert await db.scalar(used) == at_first
    await db.execute(update(ApiToken).values(last_used_at=ago(minutes=2)))
    await db.commit()
    async with sessions() as slow, slow.begin():
        await principal_of_api_token(slow, token)
        async with asyncio.timeout(5):
            assert await principal_of_api_token(db, token) == principal(ada), "another holds the row"
        await db.commit()
    assert (await db.scalar(used) or at_first) > ago(minutes=1)


async def test_names_and_addresses_are_kept_as_people_mean_them(db: AsyncSession) -> None:
    ada = await accounts.create_user(db, name="  Ada \n Lovelace ", email=" Ada@Example.org ")
    assert (ada.name, ada.email) == ("Ada Lovelace", "Ada@Example.org")
    for email in ("@example.org", "ada@", "a" * 309 + "@example.org", "a\n@example.org"):
        with pytest.raises(Invalid, match="not an e-mail address"):
            await accounts.create_user(db, name="Bob", email=email)
    assert (await accounts.create_user(db, name="a" * 200, email="a" * 308 + "@example.org")).id
    # Of somebody whose name is another's address, the one with the address is meant.
    await make_user(db, "ada@example.org")
    assert (await accounts.find_user(db, " ada@EXAMPLE.org ")).id == ada.id


@pytest.mark.parametrize(("length", "is_good"), [(7, False), (8, True), (200, True), (201, False)])
async def test_a_password_has_eight_to_two_hundred_characters(db: AsyncSession, length: int, is_good: bool) -> None:
    password = "pä" * (length // 2) + "x" * (length % 2)
    if not is_good:
        with pytest.raises(Invalid, match="8 to 200 characters"):
            await accounts.create_user(db, name="Ada", password=password)
        return
    ada: User = await accounts.create_user(db, name="Ada", password=password)
    assert await security.password_matches(password, ada.password_hash)
    assert not await security.password_matches(password[:-1], ada.password_hash)


async def test_two_hashes_of_one_password_differ_and_nobodys_matches_nothing() -> None:
    one, other = await security.hash_password(PASSWORD), await security.hash_password(PASSWORD)
    assert one != other
    assert await security.password_matches(PASSWORD, other)
    assert not await security.password_matches(PASSWORD, None)
    assert not await security.password_matches("", None)


async def test_a_password_opens_though_hashes_are_made_with_other_parameters_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = await security.hash_password(PASSWORD)
    dearer = Argon2Hasher(time_cost=3, memory_cost=64, parallelism=2)
    monkeypatch.setattr(security, "_hasher", lambda: dearer)
    beside = await security.hash_password("another one entirely", beside=kept)
    assert await security.matching_hash(PASSWORD, [beside, kept]) == kept
    assert await security.matching_hash("another one entirely", [kept, beside]) == beside
    assert not await security.password_matches("wrong", kept)


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = [make() for make in (security.new_token, security.new_api_token) for _ in range(200)]
    assert len(set(tokens)) == 400
    assert all(len(token.removeprefix(security.TOKEN_PREFIX)) >= 43 for token in tokens)
    assert all(token.removeprefix("plumb_").isalnum() for token in tokens[200:])
    assert security.digest("abc").hex().startswith("ba7816bf8f01cfea414140de5dae2223"), "SHA-256's own test vector"
