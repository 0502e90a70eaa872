"""Tries to come in, counted in the database so that nobody can try for ever."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.db.session import apart
from app.db.tables import Attempts
from app.errors import TooMany

WINDOW = timedelta(minutes=5)
LIMIT = 10
KEPT = timedelta(days=1)


async def count(db: AsyncSession, subject: str) -> None:
    """One more try at `subject`, in a transaction of its own. Raises TooMany.

    Counted before a secret is compared, so that a burst of tries gets no further than one after the other. Of the
    window before, the share counts that is less than a window's length ago: nobody gets twice as many tries by waiting
    for a window's end.
    """
    before = aliased(Attempts)
    gone = func.extract("epoch", func.now() - _window()) / WINDOW.total_seconds()
    still_counts = (
        select(func.ceil(before.count * (1 - gone)))
        .where(before.subject == subject, before.window_start == _window() - WINDOW)
        .scalar_subquery()
    )
    counted = (
        insert(Attempts)
        .values(subject=subject, window_start=_window())
        .on_conflict_do_update(index_elements=["subject", "window_start"], set_={"count": Attempts.count + 1})
        .returning(Attempts.count + func.coalesce(still_counts, 0))
    )
    async with apart(db) as connection:
        tries = await connection.scalar(counted)
    assert tries is not None
    if tries > LIMIT:
        raise TooMany("Too many tries to sign in. Wait five minutes and try again.")


async def forgive(db: AsyncSession, subjects: tuple[str, ...]) -> None:
    """Take back the last try at each of `subjects`: only failures count in the end, as many people may sign in from one
    address.
    """
    same = aliased(Attempts)  # the window may have ended since the try was counted
    latest = select(func.max(same.window_start)).where(same.subject == Attempts.subject).scalar_subquery()
    await db.execute(
        update(Attempts)
        .where(Attempts.subject.in_(subjects), Attempts.window_start == latest, Attempts.count > 0)
        .values(count=Attempts.count - 1)
    )
    await db.execute(delete(Attempts).where(Attempts.window_start < func.now() - KEPT))


def _window() -> ColumnElement[datetime]:
    return func.date_bin(WINDOW, func.now(), datetime(2000, 1, 1, tzinfo=UTC))
