"""How old the last backup is, and what came of the last try."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Backup
from app.services.backups.places import place_at
from app.services.places.storage import SCHEMES
from app.settings import Settings

# After one that failed, unless the setting asks for more.
RETRY = timedelta(hours=1)
LATE = 2
"""How many times as old as wanted the last backup is when something is wrong."""


@dataclass(frozen=True)
class Standing:
    """`place` is where backups are scheduled to, None where nobody has; `age` that of the last one that is whole."""

    place: str | None
    last: Backup | None
    last_whole: Backup | None
    age: timedelta | None
    is_late: bool


async def standing(db: AsyncSession, settings: Settings) -> Standing:
    """How the scheduled backups stand; where none are scheduled, those that were made by hand."""
    place = scheduled_place(settings)
    tries = select(Backup).order_by(Backup.id.desc()).limit(1)
    if place is not None:
        tries = tries.where(Backup.place == place)
    whole = await db.scalar(tries.where(Backup.name.is_not(None)))
    age = await db.scalar(select(func.now() - whole.began_at)) if whole is not None else None
    wanted = timedelta(hours=settings.backup_hours)
    is_late = place is not None and (age is None or age > LATE * wanted)
    return Standing(place, await db.scalar(tries), whole, age, is_late)


async def latest(db: AsyncSession, *, limit: int) -> list[Backup]:
    """The last tries, newest first."""
    return list(await db.scalars(select(Backup).order_by(Backup.id.desc()).limit(limit)))


def scheduled_place(settings: Settings) -> str | None:
    """Where backups go by themselves, as people call it; what the worker needs for it isn't needed to say so."""
    address = settings.backup_to
    return address if address is None or address.startswith(SCHEMES) else place_at(address, of_many=True).called


async def is_due(db: AsyncSession, settings: Settings, place: str) -> bool:
    """Whether it is time for the next of the scheduled backups, by the database's clock."""
    hours = timedelta(hours=settings.backup_hours)
    tried = select(Backup.id).where(Backup.place == place)
    recent = tried.where(
        (Backup.name.is_not(None) & (Backup.began_at > func.now() - hours))
        | (Backup.ended_at > func.now() - min(RETRY, hours))
    )
    return await db.scalar(recent.limit(1)) is None
