"""How the site is, by checks that cost next to nothing: for probes, and for admins with what to do about it.

Nothing here reads what grows: the files of models in use are read by a worker, which notes what it finds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import migrate
from app.db.session import SessionFactory, look_up
from app.db.tables import ModelVersion, Run
from app.phrases import phrase
from app.services import cluster, disk
from app.services.loop.gates.written import beside
from app.services.published import standing

Name = Literal["database", "migrations", "queue", "disk", "artifacts", "storage", "cluster"]
State = Literal["ok", "failing", "unknown"]

# A probe that waits for longer is as good as refused.
LOOK_SECONDS = 2.0
# A worker reports every 10 s, and takes what waits at once.
SILENT_SECONDS = 60
WAITING_SECONDS = 120


@dataclass(frozen=True)
class Place:
    """What is looked at."""

    sessions: SessionFactory
    home: Path
    reserve_bytes: int
    ray_url: str | None = None


@dataclass(frozen=True)
class Finding:
    """What a check found: `sentence` with what is `named` in it says it for admins, not for the public."""

    name: Name
    state: State
    sentence: str
    named: Mapping[str, object] = field(default_factory=dict)


Check = Callable[[AsyncSession], Awaitable[Finding]]


async def examine(place: Place) -> tuple[Finding, ...]:
    """Every check once, in no more than some seconds, whatever is broken."""
    others = asyncio.gather(asyncio.to_thread(_disk, place), _storage(), *_of_cluster(place.ray_url))
    found = (*await _of_database(place.sessions), *await others)
    return tuple(finding for finding in found if finding is not None)


def _of_cluster(url: str | None) -> list[Awaitable[Finding]]:
    return [] if url is None else [_cluster(url)]


async def _of_database(sessions: SessionFactory) -> list[Finding]:
    try:
        async with asyncio.timeout(LOOK_SECONDS), look_up(sessions) as db:
            is_read_only = await db.scalar(text("SHOW transaction_read_only")) == "on"
            answers = Finding("database", "ok", phrase("The database answers."))
            if is_read_only:
                said = phrase("The database answers, and takes no writes: is it a standby, or set to be read only?")
                answers = Finding("database", "failing", said)
            return [answers, *[await check(db) for check in (_migrations, _queue, _artifacts)]]
    except Exception:  # noqa: BLE001 - whatever keeps the database away, the finding is the same
        away = Finding("database", "failing", phrase("The database doesn't answer."))
        untold = phrase("Not known while the database doesn't answer.")
        return [away, *[Finding(name, "unknown", untold) for name in ("migrations", "queue", "artifacts")]]


async def _migrations(db: AsyncSession) -> Finding:
    found, wanted = await db.scalar(text("SELECT version_num FROM alembic_version")), migrate.head_revision()
    if found == wanted:
        return Finding("migrations", "ok", phrase("The tables are those of this version."))
    sentence = phrase(
        "The database is at revision %(found)s, this version needs %(wanted)s: run “plumbline db upgrade”."
    )
    return Finding("migrations", "failing", sentence, {"found": found or "–", "wanted": wanted})


async def _queue(db: AsyncSession) -> Finding:
    """What waits for its time, or behind other runs, is no fault; that nobody is there to take it is one."""
    due = (Run.state == "queued") & (Run.retry_at.is_(None) | (Run.retry_at <= func.now()))
    since = func.extract("epoch", func.now() - func.coalesce(Run.retry_at, Run.queued_at))
    count, seconds = (await db.execute(select(func.count(), func.max(since)).where(due))).one()
    beat = "SELECT extract(epoch FROM now() - max(last_heartbeat)) FROM procrastinate_workers"
    silent_seconds = await db.scalar(text(beat))
    is_alone = silent_seconds is None or silent_seconds > SILENT_SECONDS
    named = {"count": count, "minutes": round(float(seconds or 0) / 60)}
    if is_alone and count and seconds > WAITING_SECONDS:
        said = phrase(
            "No worker has reported. Waiting runs: %(count)s, the oldest for %(minutes)s min. Start a worker."
        )
        return Finding("queue", "failing", said, named)
    if is_alone:
        return Finding("queue", "ok", phrase("Nothing waits for long. No worker has reported."))
    if count:
        return Finding("queue", "ok", phrase("Waiting runs: %(count)s, the oldest for %(minutes)s min."), named)
    return Finding("queue", "ok", phrase("Nothing waits."))


async def _artifacts(db: AsyncSession) -> Finding:
    broken = ModelVersion.fault.is_not(None)
    count, first = (
        await db.execute(
            select(func.count(), func.min(ModelVersion.fault)).where(ModelVersion.state == "promoted", broken)
        )
    ).one()
    if not count:
        return Finding("artifacts", "ok", phrase("The models in use are the ones that were registered."))
    said = phrase(
        "Models in use whose files were changed or are gone: %(count)s. %(first)s Put the files back, or roll back."
    )
    return Finding("artifacts", "failing", said, {"count": count, "first": first})


def _disk(place: Place) -> Finding:
    try:
        room = disk.look(place.home, place.reserve_bytes)
    except OSError as error:
        said = phrase("The disk of the home folder can't be looked at: %(reason)s.")
        return Finding("disk", "failing", said, {"reason": error.strerror})
    named = {
        "free": beside(room.free_bytes / 1e9, room.reserve_bytes / 1e9, decimals=1),
        "reserve": _gigabytes(room.reserve_bytes),
    }
    if room.is_short:
        said = phrase("%(free)s GB are free, less than the %(reserve)s GB that are kept: training and imports wait.")
        return Finding("disk", "failing", said, named)
    return Finding("disk", "ok", phrase("%(free)s GB are free; %(reserve)s GB are kept."), named)


async def _storage() -> Finding | None:
    """None where models stay in the home alone."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            found = await asyncio.to_thread(standing.look)
    except TimeoutError:
        return Finding("storage", "failing", _STORAGE_SILENT)
    if found is None:
        return None
    if found.state == "ok":
        return Finding("storage", "ok", phrase("The storage answers: %(called)s."), {"called": found.called})
    if found.state == "disobedient":
        return Finding("storage", "failing", _STORAGE_DISOBEYS, {"called": found.called})
    said = phrase(
        "The storage %(called)s can't be used: %(reason)s. Models that aren't in the home wait for it, and runs with "
        "them; they go on by themselves."
    )
    return Finding("storage", "failing", said, {"called": found.called, "reason": found.reason})


_STORAGE_SILENT = phrase("The storage of models and datasets doesn't answer in time.")
_STORAGE_DISOBEYS = phrase(
    "The storage %(called)s doesn't obey If-None-Match, so nothing is put into it: take another one, or unset "
    "PLUMBLINE_STORAGE_URL."
)


async def _cluster(url: str) -> Finding:
    """Seen from here, which a worker's own view may differ from."""
    found = await cluster.standing(url)
    if found == "open":
        said = phrase(
            "The Ray cluster answers without a token: anybody who reaches it can run programs there. Runs wait until "
            "token authentication is on."
        )
        return Finding("cluster", "failing", said)
    if found == "away":
        return Finding("cluster", "failing", phrase("The Ray cluster doesn't answer: runs wait for it."))
    return Finding("cluster", "ok", phrase("The Ray cluster answers, and asks for its token."))


def _gigabytes(size_bytes: int) -> str:
    whole, _, decimals = f"{size_bytes / 1e9:.9f}".partition(".")
    return f"{whole}.{decimals.rstrip('0') or '0'}"
