"""Statements that the driver sends itself: the same transaction, the same errors, the same values as the session's."""

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import BigInteger, bindparam, func, insert, literal, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.prepared import Prepared
from app.db.session import SessionFactory, driver_url, look_up, transaction
from app.db.tables import Project, User
from tests.factories import make_user


@dataclass(frozen=True)
class Named:
    id: int
    name: str


@dataclass(frozen=True)
class Kept:
    kept: Any


FROM = Prepared(
    Named, select(User.id, User.name).where(User.id >= bindparam("first", type_=BigInteger)).order_by(User.id)
)
KEEP = Prepared(
    Kept,
    insert(Project)
    .values(slug=bindparam("slug"), name="P", round_settings=bindparam("settings", type_=JSONB))
    .returning(Project.round_settings.label("kept")),
)
FIXED = Prepared(Kept, select((literal(40) + bindparam("more", type_=BigInteger)).label("kept")))


async def test_it_sees_what_the_session_has_not_sent_yet_and_is_rolled_back_with_it(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    db.add(User(name="Ada"))
    ada = await FROM.first(db, first=0)
    assert ada is not None
    assert ada.name == "Ada"
    row = await db.get_one(User, ada.id)
    row.name = "Eve"
    assert [one.name for one in await FROM.all(db, first=ada.id)] == ["Eve"], "what was changed, too"
    await make_user(db, "Bob")
    assert [one.name for one in await FROM.all(db, first=0)] == ["Eve", "Bob"]
    assert await FROM.first(db, first=10**18) is None
    async with sessions() as other:
        assert await FROM.all(other, first=0) == [], "nobody else sees it before the commit"
    await db.rollback()
    assert await FROM.all(db, first=0) == []


@pytest.mark.parametrize("kept", [{}, {"a": [1, None, "ä\u2028"], "b": {"c": 1.5}}, {"%s": "%(slug)s"}])
async def test_values_arrive_as_they_are(db: AsyncSession, kept: dict[str, Any]) -> None:
    assert await KEEP.first(db, slug="p", settings=kept) == Kept(kept)
    for _ in range(7):  # past the number of times after which the server prepares it
        assert await FIXED.first(db, more=2) == Kept(42)


async def test_what_the_database_refuses_is_the_error_that_a_session_would_raise(db: AsyncSession) -> None:
    await KEEP.first(db, slug="p", settings={})
    with pytest.raises(IntegrityError, match="slug"):
        await KEEP.first(db, slug="p", settings={})
    await db.rollback()
    with pytest.raises(DBAPIError):
        await FROM.first(db, first=2**63)
    await db.rollback()
    assert await FROM.all(db, first=0) == [], "and the session goes on"


async def test_a_transaction_is_kept_whole_or_not_at_all_and_a_look_up_needs_none(sessions: SessionFactory) -> None:
    async with transaction(sessions) as db:
        db.add(User(name="Ada"))
    with pytest.raises(ZeroDivisionError):
        await break_off(sessions)
    async with look_up(sessions) as db:
        assert list(await db.scalars(select(User.name))) == ["Ada"]
        # Each statement by itself: times differ, and a mistake ends nothing.
        first, second = [await db.scalar(select(func.now())) for _ in range(2)]
        assert first != second
        with pytest.raises(DBAPIError):
            await db.execute(text("SELECT 1 / 0"))
        assert await db.scalar(select(func.count()).select_from(User)) == 1


async def break_off(sessions: SessionFactory) -> None:
    async with transaction(sessions) as db:
        db.add(User(name="Bob"))
        await db.flush()
        raise ZeroDivisionError


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg"])
def test_any_form_of_address_leads_to_the_one_driver(scheme: str) -> None:
    url = driver_url(f"{scheme}://me:p%40ss@host:5433/name?sslmode=require")
    assert (url.drivername, url.host, url.port, url.database) == ("postgresql+psycopg", "host", 5433, "name")
    assert (url.password, dict(url.query)) == ("p@ss", {"sslmode": "require"})
