"""Reports: computed by a worker from one snapshot, asked for once by any number of pages, never in a circle."""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import Project, Task, WrittenReport
from app.jobs import reaper
from app.jobs.transactions import Database, at_length
from app.services import audit
from app.services.reports import reports
from app.services.reports.registry import REPORTS
from app.services.reports.report import Report
from app.services.reports.reports import Latest
from tests.factories import make_project, make_task
from tests.jobs.loop import Loop

JOBS = text("SELECT count(*) FROM procrastinate_jobs WHERE queueing_lock LIKE 'report:%'")


@dataclass(frozen=True)
class Counted:
    tasks: int


async def count(db: AsyncSession, project: Project) -> Counted:
    return Counted(len((await db.scalars(select(Task.id).where(Task.project_id == project.id))).all()))


TASKS = Report("tasks", "Tasks", Counted, count)


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REPORTS, "tasks", TASKS)


@pytest.fixture
async def project(sessions: SessionFactory) -> Project:
    async with transaction(sessions) as db:
        project = await make_project(db)
        await make_task(db, project)
        return project


@dataclass(frozen=True)
class Desk:
    """A project's page and its worker, each in transactions of its own."""

    sessions: SessionFactory
    project: Project

    async def look(self, report: Report[Any] = TASKS) -> Latest[Any]:
        async with transaction(self.sessions) as db:
            return await reports.current(db, self.project, report)

    async def write(self) -> None:
        async with transaction(self.sessions) as db:
            await db.execute(text("DELETE FROM procrastinate_jobs"))
        await Database(self.sessions, stopping=asyncio.Event()).once(
            at_length(lambda db: reports.write(db, self.project.id, "tasks"))
        )

    async def jobs(self) -> int:
        async with transaction(self.sessions) as db:
            return int(await db.scalar(JOBS) or 0)

    async def change(self) -> None:
        async with transaction(self.sessions) as db:
            await make_task(db, self.project)
            await audit.note(db, "export", "tasks", {}, project_id=self.project.id)

    async def rest(self) -> None:
        """A minute passes."""
        async with transaction(self.sessions) as db:
            minute = timedelta(seconds=61)
            await db.execute(
                update(WrittenReport).values(
                    tried_at=WrittenReport.tried_at - minute, asked_at=WrittenReport.asked_at - minute
                )
            )


@pytest.fixture
def desk(sessions: SessionFactory, project: Project) -> Desk:
    return Desk(sessions, project)


async def test_a_report_is_asked_for_once_written_once_and_again_only_after_a_change_and_a_minute(desk: Desk) -> None:
    first = await desk.look()
    assert (first.content, first.written_at, first.is_awaited) == (None, None, True)
    assert (await desk.look()).is_awaited
    assert await desk.jobs() == 1, "who comes second finds it asked for"
    await desk.write()
    seen = await desk.look()
    assert (seen.content, seen.is_awaited, seen.problem) == (Counted(1), False, None)
    assert seen.written_at is not None

    await desk.change()
    assert not (await desk.look()).is_awaited, "not within a minute"
    await desk.rest()
    again = await desk.look()
    assert (again.content, again.is_awaited) == (Counted(1), True), "what is known is shown meanwhile"
    await desk.write()
    assert (await desk.look()).content == Counted(2)
    await desk.rest()
    assert not (await desk.look()).is_awaited, "nothing has changed"
    assert await desk.jobs() == 0


async def test_a_report_that_took_long_rests_ten_times_as_long(desk: Desk, sessions: SessionFactory) -> None:
    await desk.look()
    await desk.write()
    await desk.change()

    async def ended(seconds_ago: int, *, took_seconds: int) -> None:
        end = func.now() - timedelta(seconds=seconds_ago)
        moments = {"tried_at": end, "written_at": end - timedelta(seconds=took_seconds)}
        async with transaction(sessions) as db:
            await db.execute(update(WrittenReport).values(moments))

    for seconds_ago, took_seconds in ((295, 30), (3590, 600)):
        await ended(seconds_ago, took_seconds=took_seconds)
        assert not (await desk.look()).is_awaited, took_seconds
    await ended(3610, took_seconds=600)
    assert (await desk.look()).is_awaited, "after an hour in any case"


async def test_two_that_ask_at_once_make_one_job_and_neither_waits_for_who_computes(
    desk: Desk, sessions: SessionFactory
) -> None:
    await asyncio.gather(*(desk.look() for _ in range(4)))
    assert await desk.jobs() == 1
    await desk.write()
    await desk.change()
    await desk.rest()
    async with transaction(sessions) as asking:
        assert (await reports.current(asking, desk.project, TASKS)).is_awaited
        other = await asyncio.wait_for(desk.look(), timeout=5)
        assert other.is_awaited, "it finds the row locked by who asks, and passes on"
    assert await desk.jobs() == 1
    # Two workers that got a job each, as after a false alarm of the reaper's: one computes.
    async with transaction(sessions) as computing:
        row = select(WrittenReport).with_for_update()
        await computing.execute(row)
        await asyncio.wait_for(desk.write(), timeout=5)
        await asyncio.wait_for(desk.look(), timeout=5)
    assert (await desk.look()).content == Counted(1), "the second one left it to the first"
    await desk.write()
    assert (await desk.look()).content == Counted(2)


async def test_what_is_computed_is_one_snapshot(
    desk: Desk, sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(db: AsyncSession, project: Project) -> Counted:
        before = await count(db, project)
        await desk.change()
        assert await count(db, project) == before
        return before

    monkeypatch.setitem(REPORTS, "tasks", replace(TASKS, compute=slowly))
    await desk.look()
    await desk.write()
    assert (await desk.look()).content == Counted(1)
    await desk.rest()
    assert (await desk.look()).is_awaited, "what came meanwhile is a change"


async def test_a_report_that_fails_says_so_keeps_what_was_known_and_is_not_tried_again_before_a_change(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(db: AsyncSession, project: Project) -> Counted:
        await db.execute(text("SELECT 1 / 0"))
        raise AssertionError

    await desk.look()
    await desk.write()
    with monkeypatch.context() as patch:
        patch.setitem(REPORTS, "tasks", replace(TASKS, compute=broken))
        await desk.change()
        await desk.rest()
        await desk.look()
        await desk.write()
    failed = await desk.look()
    assert (failed.content, failed.problem, failed.is_awaited) == (Counted(1), reports.FAILED, False)
    await desk.rest()
    assert not (await desk.look()).is_awaited
    await desk.change()
    assert (await desk.look()).is_awaited
    await desk.write()
    mended = await desk.look()
    assert (mended.content, mended.problem) == (Counted(3), None)


async def test_a_document_of_another_version_is_none_and_is_written_anew(desk: Desk, db: AsyncSession) -> None:
    await desk.look()
    await desk.write()
    await db.execute(update(WrittenReport).values(content={"counted": 7}))
    await db.commit()
    assert (await desk.look()).content is None
    await desk.rest()
    assert (await desk.look()).is_awaited
    await desk.write()
    assert (await desk.look()).content == Counted(1)


async def test_a_report_whose_worker_was_lost_gets_another_job(desk: Desk, loop: Loop, db: AsyncSession) -> None:
    await desk.look()
    await db.execute(text("DELETE FROM procrastinate_jobs"))
    await db.commit()
    await reaper.look_around(loop.context)
    assert await desk.jobs() == 0, "it may be on its way"
    await desk.rest()
    await reaper.look_around(loop.context)
    await reaper.look_around(loop.context)
    assert await desk.jobs() == 1
    await desk.write()
    await reaper.look_around(loop.context)
    assert await desk.jobs() == 0
