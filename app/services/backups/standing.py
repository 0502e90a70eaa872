"""How old the last backup is, and what came of the last try."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Float, Select, func, select
from sqlalchemy.dialects.postgresql import psycopg
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
    seconds = await db.scalar(_age_seconds(place))
    age = None if seconds is None else timedelta(seconds=seconds)
    wanted = timedelta(hours=settings.backup_hours)
    is_late = place is not None and (age is None or age > LATE * wanted)
    return Standing(place, await db.scalar(tries), whole, age, is_late)


def _age_seconds(place: str | None) -> Select[float | None]:
    age = func.extract("epoch", func.now() - func.max(Backup.began_at)).cast(Float)
    whole = select(age).where(Backup.name.is_not(None))
    return whole if place is None else whole.where(Backup.place == place)


def age_statement(place: str | None) -> tuple[str, dict[str, object]]:
    """Seconds since the last whole backup began, in `place` or anywhere, as psycopg takes a statement and its values:
    for whoever has a connection and no session. Null where there is none."""
    compiled = _age_seconds(place).compile(dialect=psycopg.dialect())  # type: ignore[no-untyped-call]
    return str(compiled), dict(compiled.params)


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
