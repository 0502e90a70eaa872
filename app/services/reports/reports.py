"""Reports as they stand: read by pages, asked for when they are out of date, written by workers.

A row says what was asked and what came of it; a job only says that somebody should look at the row. Who asks never
waits for who computes: the row is locked for as long as that takes, and every other passes it over.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic

import structlog
from sqlalchemy import Select, case, func, or_, select, text, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import AuditEntry, Judgement, Project, WrittenReport
from app.errors import DomainError
from app.phrases import phrase
from app.services import dispatch, events
from app.services.reports.registry import report_named
from app.services.reports.report import Content, Report

REST = timedelta(seconds=60)
"""From one computation to the next, at least; and the time after which a job that was not heard of is lost."""
REST_FACTOR = 10
LONGEST_REST = timedelta(hours=1)
"""A report that takes long rests so many times as long as it took, up to this: a worker has other work."""
FAILED = phrase("This could not be computed. The worker’s log says why.")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Latest(Generic[Content]):
    """The newest content there is, as of `written_at`; None before there is any.

    `is_awaited`: a newer one is on its way. `problem` is a phrase that says why there is none.
    """

    content: Content | None
    written_at: datetime | None
    is_awaited: bool
    problem: str | None


async def current(db: AsyncSession, project: Project, report: Report[Content]) -> Latest[Content]:
    """What is known, at once. A newer one is asked for where there is none, or where something has changed since the
    last, which has rested: a judgement, or what the log tells of (files, runs, models, changes of many rows).
    """
    seen = _known(project.id).subquery()
    is_changed = or_(
        WrittenReport.up_to.is_distinct_from(seen.c.judgement),
        WrittenReport.up_to_change.is_distinct_from(seen.c.entry),
    )
    # One that could not be computed stands as it was written before that.
    took = case((WrittenReport.problem.is_(None), WrittenReport.tried_at - WrittenReport.written_at), else_=timedelta())
    rest_seconds = func.greatest(
        REST.total_seconds(), func.least(REST_FACTOR * func.extract("epoch", took), LONGEST_REST.total_seconds())
    )
    has_rested = func.extract("epoch", func.now() - WrittenReport.tried_at) > rest_seconds
    found = (
        await db.execute(
            select(
                WrittenReport.content,
                WrittenReport.written_at,
                WrittenReport.problem,
                WrittenReport.asked_at.is_not(None).label("is_asked"),
                WrittenReport.tried_at.is_(None).label("is_first"),
                is_changed.label("is_changed"),
                has_rested.label("has_rested"),
            )
            .join_from(WrittenReport, seen, onclause=true())
            .where(WrittenReport.project_id == project.id, WrittenReport.name == report.name)
        )
    ).one_or_none()
    if found is None:
        await db.execute(insert(WrittenReport).values(project_id=project.id, name=report.name).on_conflict_do_nothing())
        await _ask(db, project.id, report.name)
        return Latest(None, None, is_awaited=True, problem=None)
    content = report.read(found.content)
    is_unreadable = content is None and found.content is not None
    is_old = is_unreadable or (found.is_changed and not (report.lasts and content is not None))
    is_due = found.is_first or (found.has_rested and is_old)
    if is_due and not found.is_asked:
        await _ask(db, project.id, report.name)
    written_at = found.written_at if content is not None else None
    return Latest(content, written_at, is_awaited=is_due or found.is_asked, problem=found.problem)


async def one_snapshot(db: AsyncSession) -> None:
    """Have the transaction, whose first query this is, see one state of the database, so that figures fit together."""
    await db.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


async def fresh(db: AsyncSession, project: Project, report: Report[Content]) -> Latest[Content]:
    """What holds now, for whoever can wait: computed here, and not stored."""
    content = await report.compute(db, project)
    return Latest(content, await db.scalar(select(func.now())), is_awaited=False, problem=None)


async def write(db: AsyncSession, project_id: int, name: str) -> None:
    """Compute and store a report that is asked for, as the first thing in a transaction; nothing to do where it was
    answered already or is being computed elsewhere.

    All of it is read from one snapshot. What goes wrong is told on the page, and not tried again before something
    changes.
    """
    await one_snapshot(db)
    row = await db.scalar(
        select(WrittenReport)
        .where(WrittenReport.project_id == project_id, WrittenReport.name == name, WrittenReport.asked_at.is_not(None))
        .with_for_update(skip_locked=True)
    )
    if row is None:
        return
    known = (await db.execute(_known(project_id))).one()
    project = await db.get_one(Project, project_id)
    try:
        report = report_named(name)
        async with db.begin_nested():
            content = report.to_json(await report.compute(db, project))
    except Exception as error:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise  # the database is away; the worker waits for it
        log.exception("report_failed", project_id=project_id, report=name)
        row.problem = str(error) if isinstance(error, DomainError) else FAILED
    else:
        row.content, row.written_at, row.problem = content, func.now(), None
    row.asked_at, row.tried_at = None, func.clock_timestamp()
    row.up_to, row.up_to_change = known.judgement, known.entry
    await db.flush()
    await events.notify(db, project_id=project_id)


async def ask_again(db: AsyncSession) -> None:
    """Give a job to every report that was asked for and is not being computed, as when a worker was lost with it."""
    lost = await db.scalars(
        select(WrittenReport).where(WrittenReport.asked_at < func.now() - REST).with_for_update(skip_locked=True)
    )
    for row in lost:
        await dispatch.defer_report(db, row.project_id, row.name)


async def _ask(db: AsyncSession, project_id: int, name: str) -> None:
    """Of any number that ask at once, one does: the others find it asked, or locked by who asks or computes."""
    row = await db.scalar(
        select(WrittenReport)
        .where(WrittenReport.project_id == project_id, WrittenReport.name == name, WrittenReport.asked_at.is_(None))
        .with_for_update(skip_locked=True)
    )
    if row is not None:
        row.asked_at = func.now()
        await db.flush()
        await dispatch.defer_report(db, project_id, name)


def _known(project_id: int) -> Select[tuple[int | None, int | None]]:
    """The newest judgement and the newest entry of the log, each by one look into an index."""
    judgement = select(func.max(Judgement.id)).where(
        Judgement.project_id == project_id, Judgement.superseded_by.is_(None)
    )
    entry = select(func.max(AuditEntry.id)).where(AuditEntry.project_id == project_id)
    return select(judgement.scalar_subquery().label("judgement"), entry.scalar_subquery().label("entry"))
