"""Tries to come in, counted in the database so that nobody can try for ever, whichever process they reach."""

import math
from dataclasses import dataclass
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
FROM_ONE_NETWORK = 30  # an office has one address
KEPT = timedelta(days=1)


@dataclass(frozen=True)
class _Counted:
    """Tries of this window and of the one before, and which part of this one is over."""

    now: int
    before: int
    gone: float

    @property
    def still(self) -> int:
        """Of the window before, the share counts that is less than a window's length ago: nobody gets twice as many
        tries by waiting for a window's end.
        """
        return math.ceil(self.before * (1 - self.gone))

    def wait_seconds(self, limit: int) -> float:
        """How long until another try is within the limit, if there is none until then."""
        left = WINDOW.total_seconds() * (1 - self.gone)
        if self.now < limit:
            return WINDOW.total_seconds() * (1 - self.gone - (limit - 1 - self.now) / self.before)
        return left + WINDOW.total_seconds() * (1 - (limit - 1) / self.now)


async def count(db: AsyncSession, subject: str, *, limit: int = LIMIT) -> None:
    """One more try at `subject`, in a transaction of its own. Raises TooMany.

    Counted before a secret is compared, so that a burst of tries gets no further than one after the other.
    """
    before = aliased(Attempts)
    earlier = (
        select(before.count)
        .where(before.subject == subject, before.window_start == _window() - WINDOW)
        .scalar_subquery()
    )
    gone = func.extract("epoch", func.now() - _window()) / WINDOW.total_seconds()
    counted = (
        insert(Attempts)
        .values(subject=subject, window_start=_window())
        .on_conflict_do_update(index_elements=["subject", "window_start"], set_={"count": Attempts.count + 1})
        .returning(Attempts.count, func.coalesce(earlier, 0), gone)
    )
    async with apart(db) as connection:
        now, then, over = (await connection.execute(counted)).one()
    tries = _Counted(now, then, float(over))
    if tries.now + tries.still > limit:
        wait = max(1, math.ceil(tries.wait_seconds(limit)))
        raise TooMany(
            "Too many tries to sign in. Wait %(seconds)s seconds and try again, or come in another way.",
            retry_after_seconds=wait,
            seconds=wait,
        )


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
