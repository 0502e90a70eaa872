"""The log of changes: what happened without changing a row is noted here, and all of it is found again here."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_network

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import acting
from app.db.base import Json
from app.db.session import SessionFactory, look_up
from app.db.tables import AuditEntry, Project, User

EXPORT_BATCH = 1_000
# Columns that hold a person's id, so that the log can say who is meant.
PEOPLE_COLUMNS = frozenset(
    {"user_id", "actor_id", "author_id", "started_by_id", "created_by_id", "accepted_by_id", "vouched_by_id"}
)


@dataclass(frozen=True)
class Search:
    """Which entries are wanted; what is unset leaves none out. `text` are beginnings of words of the changed values."""

    project_id: int | None = None
    actor_ids: tuple[int, ...] | None = None
    kind: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""


async def note(
    db: AsyncSession,
    kind: str,
    subject: object,
    details: Json | None = None,
    *,
    project_id: int | None = None,
    actor_id: int | None = None,
) -> None:
    """Write down what changed no row: an export, somebody signed in. `actor_id` only where no edge knows who acts."""
    actor = acting.current()
    db.add(
        AuditEntry(
            actor_id=actor_id or (actor.user_id if actor else None),
            door=actor.door if actor else "database",
            request_id=actor.request_id if actor else None,
            project_id=project_id,
            kind=kind,
            subject=str(subject),
            action="done",
            after=details,
        )
    )
    await db.flush()


async def note_failure(db: AsyncSession, user_id: int | None, *, by: str, network: str) -> None:
    """Write down that somebody was refused who wanted to sign in: as whom, if that is known, and from where, cut to a
    part of the network, since it may be somebody's home.
    """
    await note(db, "sign_in_failed", user_id or "unknown", {"by": by, "from": _part(network)})


def found(search: Search) -> Select[AuditEntry]:
    """The entries that are wanted, in no order."""
    wanted = select(AuditEntry)
    if search.project_id is not None:
        wanted = wanted.where(AuditEntry.project_id == search.project_id)
    if search.actor_ids is not None:
        wanted = wanted.where(AuditEntry.actor_id.in_(search.actor_ids))
    if search.kind is not None:
        wanted = wanted.where(AuditEntry.kind == search.kind)
    if search.since is not None:
        wanted = wanted.where(AuditEntry.at >= search.since)
    if search.until is not None:
        wanted = wanted.where(AuditEntry.at < search.until)
    words = [_beginning(word) for word in search.text.replace("\0", "").split()]
    if words:
        wanted = wanted.where(AuditEntry.words.bool_op("@@")(func.to_tsquery("simple", " & ".join(words))))
    return wanted


async def page(db: AsyncSession, search: Search, *, size: int, before: int | None = None) -> list[AuditEntry]:
    """The newest entries that are wanted, those before the entry `before` if it is given."""
    wanted = found(search)
    if before is not None:
        wanted = wanted.where(AuditEntry.id < before)
    return list(await db.scalars(wanted.order_by(AuditEntry.id.desc()).limit(size)))


async def all_of(sessions: SessionFactory, search: Search) -> AsyncIterator[list[AuditEntry]]:
    """Everything that is wanted, newest first and a batch at a time; no connection is held in between."""
    before = None
    while True:
        async with look_up(sessions) as db:
            batch = await page(db, search, size=EXPORT_BATCH, before=before)
        if batch:
            yield batch
        if len(batch) < EXPORT_BATCH:
            return
        before = batch[-1].id


async def kinds(db: AsyncSession, search: Search) -> list[str]:
    """Kinds of things that the log tells of, each found by one step through the index of its newest entries."""
    wanted = found(replace(search, kind=None, actor_ids=None, since=None, until=None, text=""))
    newest = wanted.order_by(AuditEntry.id.desc()).limit(EXPORT_BATCH).subquery()
    return list(await db.scalars(select(newest.c.kind).distinct().order_by(newest.c.kind)))


async def called(db: AsyncSession, name_or_email: str) -> tuple[int, ...]:
    """Everybody who has this name or e-mail address, whatever its case."""
    wanted = func.lower(name_or_email.strip())
    return tuple(
        await db.scalars(select(User.id).where((func.lower(User.email) == wanted) | (func.lower(User.name) == wanted)))
    )


async def names(db: AsyncSession, entries: list[AuditEntry]) -> dict[int, str]:
    """What the people are called now of whom the entries tell. The log itself holds no name."""
    meant = {number for entry in entries for number in _people_in(entry)}
    if not meant:
        return {}
    rows = await db.execute(select(User.id, User.name).where(User.id.in_(meant)))
    return {row.id: row.name for row in rows}


async def slugs(db: AsyncSession, entries: list[AuditEntry]) -> dict[int, str]:
    """The short names of the projects of which the entries tell, as far as they are still there."""
    meant = {entry.project_id for entry in entries if entry.project_id is not None}
    if not meant:
        return {}
    rows = await db.execute(select(Project.id, Project.slug).where(Project.id.in_(meant)))
    return {row.id: row.slug for row in rows}


def person_in(entry: AuditEntry) -> int | None:
    """The person whom the entry is about, if it is about one."""
    if entry.kind in {"users", "sign_in", "sign_in_failed", "sign_out", "erasure"} and entry.subject.isdigit():
        return int(entry.subject)
    if entry.kind in {"members", "group_members"}:
        return int(entry.subject.partition("/")[2])
    return next((told["user_id"] for told in (entry.after, entry.before) if told and "user_id" in told), None)


def _people_in(entry: AuditEntry) -> set[int]:
    told: Json = {**(entry.before or {}), **(entry.after or {})}
    meant = {told[column] for column in PEOPLE_COLUMNS & told.keys()}
    return {number for number in {entry.actor_id, person_in(entry), *meant} if isinstance(number, int)}


def _part(network: str) -> str:
    """`198.51.100.7` → `198.51.100.0/24`; `2001:db8:1:2::/64` → `2001:db8:1::/48`."""
    try:
        known = ip_network(network)
    except ValueError:
        return "unknown"
    return str(ip_network((known.network_address, 24 if known.version == 4 else 48), strict=False))


def _beginning(word: str) -> str:
    quoted = word.replace("\\", "\\\\").replace("'", "''")
    return f"'{quoted}':*"
